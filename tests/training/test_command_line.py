"""From a command line to a config: options, their order, and errors before anything starts."""

import argparse
import io
import sys

import pytest
from mmengine.config import Config

from fastervit_mm.config.host import check_host_library
from fastervit_mm.config.reading import (
    add_common_options,
    apply_options,
    check_checkpoint,
    load_config,
    read_config,
)
from fastervit_mm.errors import ArgumentError, FileError
from fastervit_mm.tasks.use_folder import evaluate_on, train_on
from fastervit_mm.training.processes import say
from fastervit_mm.training.runner import (
    request_amp,
    request_tensorboard,
)

CONFIG = """
default_scope = 'mmdet'
train_dataloader = dict(batch_size=8, dataset=dict(type='D', data_root='data/coco/'))
"""


def parse(*arguments):
    parser = argparse.ArgumentParser()
    parser.add_argument('config')
    add_common_options(parser)
    return parser.parse_args([str(a) for a in arguments])


@pytest.fixture
def config(tmp_path):
    """A config file of a few lines."""
    path = tmp_path / 'mine.py'
    path.write_text(CONFIG)
    return path


def test_options_by_default(config):
    args = parse(config)
    assert vars(args) == dict(
        config=str(config),
        work_dir=None,
        data=None,
        ignore_zero=None,
        cfg_options=None,
        trust_checkpoint=False,
        launcher='none',
        local_rank=0,
    )
    cfg = load_config(args)
    assert cfg.launcher == 'none' and cfg.train_dataloader.batch_size == 8
    assert cfg.train_dataloader.dataset.data_root == 'data/coco/'


def test_options_as_the_help_shows_them(capsys):
    with pytest.raises(SystemExit):
        parse('--help')
    text = capsys.readouterr().out
    for option in (
        '--work-dir WORK_DIR',
        '--data FOLDER',
        '--ignore-zero',
        '--cfg-options KEY=VALUE [KEY=VALUE ...]',
        '--launcher {none,pytorch,slurm,mpi}',
    ):
        assert option in text
    assert 'local' not in text


@pytest.mark.parametrize('option', ['--local_rank', '--local-rank'])
def test_older_launchers_give_a_rank(option, config):
    assert parse(config, f'{option}=3').local_rank == 3


@pytest.mark.parametrize('launcher', ['none', 'pytorch', 'slurm', 'mpi'])
def test_launchers(launcher, config):
    assert load_config(parse(config, '--launcher', launcher)).launcher == launcher


def test_an_unknown_launcher_is_refused(config, capsys):
    with pytest.raises(SystemExit):
        parse(config, '--launcher', 'ray')
    assert 'invalid choice' in capsys.readouterr().err


def test_the_work_dir_is_the_options_then_the_configs_then_named_after_it(config):
    assert load_config(parse(config)).work_dir == 'work_dirs/mine'
    config.write_text(CONFIG + "work_dir = 'from/config'\n")
    assert load_config(parse(config)).work_dir == 'from/config'
    assert load_config(parse(config, '--work-dir', 'given')).work_dir == 'given'
    overridden = parse(config, '--work-dir', 'given', '--cfg-options', 'work_dir=last')
    assert load_config(overridden).work_dir == 'last'


def test_options_come_after_the_folder(config, tmp_path):
    """They are applied twice: what is fitted sees them, and they have the last word."""
    options = ['--cfg-options', 'train_dataloader.batch_size=2', 'a.b=[1,2]']
    args = parse(config, '--data', tmp_path, '--work-dir', 'w', *options)
    assert args.data == str(tmp_path)
    cfg = load_config(args)
    loader = dict(batch_size=2, dataset=dict(type='D', data_root='data/coco/'))
    assert (cfg.train_dataloader, cfg.work_dir, cfg.a.b) == (loader, 'w', [1, 2])
    cfg.train_dataloader.batch_size = 5
    cfg.train_dataloader.dataset.data_root = 'folder'
    apply_options(cfg, args)
    assert cfg.train_dataloader == dict(batch_size=2, dataset=dict(type='D', data_root='folder'))
    assert cfg.a.b == [1, 2]
    before = cfg.to_dict()
    apply_options(cfg, parse(config))
    assert cfg.to_dict() == before
    with pytest.raises(ArgumentError, match='^default_scope of the config is'):
        apply_options(cfg, parse(config, '--cfg-options', 'default_scope=mmpose'))


@pytest.mark.parametrize('use', [train_on, evaluate_on])
def test_a_folder_that_is_none(use, config, tmp_path):
    """Its use is tested in tests/tasks."""
    cfg = load_config(parse(config, '--data', 'nowhere'))
    (tmp_path / 'file').write_text('')
    for name in ('none', 'file'):
        with pytest.raises(FileError) as caught:
            use(cfg, tmp_path / name)
        assert str(caught.value) == f'--data {tmp_path / name} is not a folder'


@pytest.mark.parametrize('scope', ['mmpose', None])
def test_only_two_libraries_are_hosts(scope, config):
    message = f'^default_scope of the config is {scope!r}; allowed: mmdet, mmseg$'
    with pytest.raises(ArgumentError, match=message):
        check_host_library(Config({} if scope is None else dict(default_scope=scope)))
    config.write_text(f'default_scope = {scope!r}\n')
    with pytest.raises(ArgumentError, match=message):
        load_config(parse(config))
    config.write_text(CONFIG)
    with pytest.raises(ArgumentError, match=message):
        load_config(parse(config, '--cfg-options', f'default_scope={scope}'))


@pytest.mark.parametrize('scope, package', [('mmdet', 'detection'), ('mmseg', 'segmentation')])
def test_a_missing_library_is_named_with_its_package(scope, package, monkeypatch):
    check_host_library(Config(dict(default_scope=scope)))
    monkeypatch.setitem(sys.modules, scope, None)
    message = rf'^the config needs {scope} \(.*\); install onedl-mm{package} \(or {scope}'
    with pytest.raises(ArgumentError, match=message):
        check_host_library(Config(dict(default_scope=scope)))


def test_a_config_that_is_not_there_suggests_the_nearest(tmp_path):
    for name in (
        'cascade_a_3x.py',
        'cascade_b_3x.py',
        'cascade_c_3x.py',
        'cascade_d_3x.py',
        'z.py',
    ):
        (tmp_path / name).touch()
    with pytest.raises(FileError) as error:
        read_config(str(tmp_path / 'cascade_a_2x.py'))
    text = str(error.value)
    assert text.startswith(f'config {tmp_path}/cascade_a_2x.py does not exist; did you mean casc')
    assert text.split('mean ')[1].split(' or ')[0] == 'cascade_a_3x.py'
    assert text.count('cascade_') == 4 and text.count(' or ') == 2 and text.endswith('.py?')


@pytest.mark.parametrize('name', ['nothing_like_it.py', 'no_folder/cascade.py'])
def test_without_a_near_name_the_folder_of_configs_is_told(name, tmp_path):
    (tmp_path / 'cascade.py').touch()
    (tmp_path / 'nothing_like_it.txt').touch()
    with pytest.raises(FileError, match='does not exist; configs lie under configs/$'):
        read_config(str(tmp_path / name))
    with pytest.raises(FileError, match='does not exist'):
        read_config(str(tmp_path))  # a folder


@pytest.mark.parametrize('url', ['https://a.b/c.pth', 'http://a.b/c.pth', 's3://bucket/c.pth'])
def test_checkpoints_elsewhere_are_taken_as_they_are(url):
    assert check_checkpoint(url) == url


@pytest.mark.parametrize(
    'path',
    [
        'none.pth',
        'run/none.pth',
        'file://none.pth',
        'file:///none.pth',
        'c:none.pth',
        '://none.pth',
    ],
)
def test_checkpoints_here_must_exist(path):
    with pytest.raises(FileError, match=f'^checkpoint {path} does not exist; training writes'):
        check_checkpoint(path)


def test_a_checkpoint_that_exists(tmp_path):
    (tmp_path / 'c.pth').touch()
    assert check_checkpoint(str(tmp_path / 'c.pth')) == str(tmp_path / 'c.pth')
    with pytest.raises(FileError):
        check_checkpoint(str(tmp_path))


@pytest.mark.parametrize(
    'before, after',
    [
        (dict(optimizer=1), dict(optimizer=1, type='AmpOptimWrapper', loss_scale='dynamic')),
        (dict(type='OptimWrapper'), dict(type='AmpOptimWrapper', loss_scale='dynamic')),
        (
            dict(type='OptimWrapper', loss_scale=512),
            dict(type='AmpOptimWrapper', loss_scale=512),
        ),
        (dict(type='AmpOptimWrapper', dtype='bfloat16'),) * 2,
        (dict(type='DeepSpeedOptimWrapper'),) * 2,
    ],
)
def test_mixed_precision(before, after):
    cfg = Config(dict(optim_wrapper=before))
    request_amp(cfg)
    assert cfg.optim_wrapper == after


def test_tensorboard_writes_beside_the_log(monkeypatch):
    asked = []
    monkeypatch.setattr('importlib.util.find_spec', lambda name: asked.append(name) or 'found')
    cfg = Config(dict(visualizer=dict(type='V', vis_backends=[dict(type='LocalVisBackend')])))
    request_tensorboard(cfg)
    assert asked == ['tensorboard']
    assert cfg.visualizer == dict(
        type='V', vis_backends=[dict(type='LocalVisBackend'), dict(type='TensorboardVisBackend')]
    )
    monkeypatch.setattr('importlib.util.find_spec', lambda name: None)
    with pytest.raises(ArgumentError, match='^--tensorboard needs the package tensorboard: pip'):
        request_tensorboard(cfg)


@pytest.mark.parametrize('rank, printed', [(None, 'text\n'), (0, 'text\n'), (1, ''), (2, '')])
def test_one_process_of_several_speaks(rank, printed, monkeypatch, capsys):
    if rank is not None:
        monkeypatch.setattr('mmengine.dist.utils.get_rank', lambda group: rank)
    say('text')
    assert capsys.readouterr().out == printed


def test_what_is_said_is_seen_at_once(monkeypatch):
    class Out(io.StringIO):
        seen = ''

        def flush(self):
            self.seen = self.getvalue()

    monkeypatch.setattr(sys, 'stdout', Out())
    say('text')
    assert sys.stdout.seen == 'text\n'
