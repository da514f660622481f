"""Errors that a user can fix end with one line and status 1, without a traceback."""

import json
import logging
import os
import re
import zipfile
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from fastervit_mm.config.host import building
from fastervit_mm.config.settings import check_settings
from tests.helpers import ROOT, call_tool, few, run_tool
from tests.training.toy_run import write_config

SHAPES = 'configs/detection/cascade_fastervit_shapes.py'


@pytest.fixture(scope='module')
def shapes(shapes) -> Path:
    """The drawn scenes in COCO's layout."""
    return shapes / 'coco'


@pytest.fixture(scope='module')
def other_classes(shapes, tmp_path_factory) -> Path:
    """The same scenes with a fourth category."""
    folder = tmp_path_factory.mktemp('four')
    for split in ('train2017', 'val2017'):
        (folder / split).symlink_to(shapes / split)
        content = json.loads((shapes / f'annotations/instances_{split}.json').read_text())
        content['categories'].append(dict(id=4, name='star'))
        (folder / 'annotations').mkdir(exist_ok=True)
        (folder / f'annotations/instances_{split}.json').write_text(json.dumps(content))
    return folder


def one_line(output: str) -> str:
    """The error line of a tool that failed as it should."""
    assert 'Traceback' not in output
    lines = [line for line in output.splitlines() if line.startswith('error: ')]
    assert len(lines) == 1
    return lines[0]


@pytest.mark.parametrize(
    'arguments, expected',
    [
        (
            ['configs/detection/cascade_fastervit_9_3x.py'],
            'config .*cascade_fastervit_9_3x.py does not exist; did you mean cascade_fastervit_',
        ),
        ([SHAPES, '--data', 'nowhere'], '--data nowhere is not a folder'),
        (
            ['configs/detection/cascade_fastervit_2_3x.py'],
            'data folder data/coco.* does not exist .*cocodataset.org.*--data FOLDER',
        ),
        (
            [SHAPES, '--data', '{empty}'],
            'has no annotation file in COCO format',
        ),
        ([SHAPES, '--data', '{shapes}', '--resume', 'no.pth'], 'checkpoint no.pth does not exist'),
        (
            [
                SHAPES,
                '--cfg-options',
                'train_dataloader.dataset.data_root={four}',
                'val_dataloader.dataset.data_root={four}',
            ],
            '3 classes, .* has 4 categories.* star',
        ),
        (
            [
                SHAPES,
                '--data',
                '{shapes}',
                '--cfg-options',
                'model.roi_head.mask_head.num_classes=5',
            ],
            r'num_classes .* \[3, 5\], but .* has 3 categories',
        ),
        (
            [SHAPES, '--data', '{shapes}', '--cfg-options', 'default_scope=mmfoo'],
            "default_scope of the config is 'mmfoo'; allowed: mmdet, mmseg",
        ),
        (
            [
                SHAPES,
                '--data',
                '{shapes}',
                '--work-dir',
                '{empty}',
                '--cfg-options',
                'model.backbone.init_cfg.type=Pretrained',
                'model.backbone.init_cfg.checkpoint=no.pth',
            ],
            'checkpoint no.pth does not exist',
        ),
    ],
)
def test_bad_inputs_end_with_one_line(arguments, expected, shapes, other_classes, tmp_path):
    filled = [a.format(shapes=shapes, four=other_classes, empty=tmp_path) for a in arguments]
    filled[1:1] = ['--work-dir', f'{tmp_path}_run']
    assert re.search(expected, one_line(call_tool('train.py', *filled, expect=1)))


def test_a_missing_checkpoint_to_test(shapes):
    given = [SHAPES, 'none.pth', '--data', shapes, '--work-dir', shapes / 'none']
    line = one_line(call_tool('test.py', *given, expect=1))
    assert 'checkpoint none.pth does not exist' in line


def test_broken_annotations_are_named(shapes, tmp_path):
    (tmp_path / 'annotations').mkdir()
    for split in ('train2017', 'val2017'):
        (tmp_path / split).mkdir()
        (tmp_path / f'annotations/instances_{split}.json').write_text('{"images": []}')
    given = [SHAPES, '--data', tmp_path, '--work-dir', tmp_path / 'run']
    line = one_line(call_tool('train.py', *given, expect=1))
    assert 'is not in COCO format' in line


def test_a_process_of_its_own_ends_the_same(tmp_path):
    given = ('train.py', SHAPES, '--data', 'nowhere', '--work-dir', tmp_path / 'run')
    assert one_line(run_tool(*given, expect=1)) == one_line(call_tool(*given, expect=1))


@pytest.fixture(scope='module')
def place(shapes, tmp_path_factory) -> Path:
    """Files that are not what tools want, by their names."""
    folder = tmp_path_factory.mktemp('place')
    (folder / 'file').write_text('hello')
    (folder / 'empty.pth').touch()
    (folder / 'folder.pth').mkdir()
    with zipfile.ZipFile(folder / 'zip.pth', 'w') as archive:
        archive.writestr('a.txt', 'x')
    torch.save([1, 2], folder / 'list.pth')
    torch.save(dict(state_dict=3), folder / 'no_dict.pth')
    torch.save(dict(state_dict={3: torch.ones(1)}), folder / 'nameless.pth')
    content = (folder / 'list.pth').read_bytes()
    (folder / 'torn.pth').write_bytes(content[: len(content) // 2])
    (folder / 'text.safetensors').write_text('hello')
    based = f"_base_ = ['{ROOT / SHAPES}']\n"
    configs = {
        'syntax.py': 'a = 1\nb = (\n',
        'base.py': "_base_ = ['missing.py']\n",
        'raises.py': '1 / 0\n',
        'text.txt': 'hello',
        'torn.json': '{"a": ',
        'list.json': '[1]',
        'torn.yaml': 'a: [1',
        'latin.py': b'# \xe9\na = 1\n',
        'scope_alone.py': "default_scope = 'mmdet'\n",
        'nope.py': based + "model = dict(backbone=dict(type='Nope'))\n",
        'number.py': based + 'train_dataloader = 3\n',
    }
    for name, text in configs.items():
        (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    (folder / 'folder.py').mkdir()
    return folder


CONFIGS = {
    'syntax.py': r"SyntaxError: '\(' was never closed, line 2",
    'base.py': r'FileNotFoundError: .*missing\.py',
    'raises.py': r'ZeroDivisionError: division by zero \(raises\.py, line 1\)',
    'text.txt': 'Only py/yml/yaml/json type are supported',
    'torn.json': 'JSONDecodeError: Expecting value',
    'list.json': "'list' object has no attribute",
    'torn.yaml': 'ParserError: ',
    'latin.py': 'UnicodeDecodeError: ',
    'folder.py': 'does not exist',
}


@pytest.mark.parametrize('name', CONFIGS)
@pytest.mark.parametrize('tool', ['train.py', 'test.py', 'predict.py', 'zoo.py', 'report.py'])
def test_configs_that_are_none(tool, name, place, shapes, tmp_path):
    path = place / name
    given = {
        'train.py': [path],
        'test.py': [path, place / 'list.pth'],
        'predict.py': [
            shapes,
            '--config',
            path,
            '--weights',
            place / 'list.pth',
            '--out',
            tmp_path,
        ],
        'zoo.py': [path],
    }.get(tool)
    if tool == 'report.py':
        if path.suffix != '.py' or path.is_dir():
            pytest.skip('a work dir holds Python files')
        (tmp_path / 'raises.py').write_bytes(path.read_bytes())
        given = [tmp_path]
    line = one_line(call_tool(tool, *given, expect=1))
    assert line.startswith('error: config ') and re.search(CONFIGS[name], line)


CHECKPOINTS = {
    'file': 'file cannot be loaded',
    'empty.pth': 'empty.pth cannot be loaded',
    'torn.pth': 'torn.pth cannot be loaded',
    'zip.pth': 'zip.pth cannot be loaded',
    'text.safetensors': 'text.safetensors cannot be loaded',
    'list.pth': 'list.pth is no dict|is a list; expected a dict',
    'no_dict.pth': 'holds no dict of named weights|the checkpoint holds no tensors|no tensors',
    'nameless.pth': 'holds no dict of named weights|the checkpoint holds no tensors|no tensors',
    'folder.pth': 'folder.pth (is a folder|does not exist)',
    'none.pth': 'none.pth does not exist',
}


@pytest.mark.parametrize('name', CHECKPOINTS)
@pytest.mark.parametrize(
    'tool', ['predict.py', 'convert_dino_checkpoint.py', 'publish_checkpoint.py']
)
def test_checkpoints_that_are_none(tool, name, place, shapes, tmp_path):
    path = place / name
    given = [path, tmp_path / 'out']
    if tool == 'predict.py':
        given = [shapes / 'val2017', '--config', SHAPES, '--weights', path, '--out', tmp_path]
    line = one_line(call_tool(tool, *given, expect=1))
    assert re.search(CHECKPOINTS[name], line)


@pytest.mark.parametrize(
    'name', ['empty.pth', 'folder.pth', 'list.pth', 'no_dict.pth', 'http://x.org/a.pth']
)
def test_checkpoints_to_start_from(name, place, shapes, tmp_path):
    start = name if '://' in name else place / name
    given = [SHAPES, '--data', shapes, '--work-dir', tmp_path, '--from', start]
    line = one_line(call_tool('train.py', *given, expect=1))
    assert re.search(f'is not https|{CHECKPOINTS.get(name)}', line)


SETTINGS = {
    'train_dataloader.dataset.pipeline.99.x=1': '--cfg-options do not fit the config: ',
    'model=3': 'model of the config is 3; it must be a dict',
    'model=None': 'model of the config is None; it must be a dict',
    'model.backbone=3': 'model.backbone is 3; it must be a dict',
    'model.nothing.x=1': "the config cannot be built: .*unexpected keyword argument 'nothing'",
    'model.backbone.nope=1': "the config cannot be built: .*unexpected keyword argument 'nope'",
    'model.type=Nope': 'the config cannot be built: .*Nope is not in the',
    'train_dataloader=3': 'train_dataloader of the config is 3; it must be a dict or None',
    'train_dataloader.dataset=3': 'train_dataloader.dataset is 3; it must be a dict',
    'train_dataloader.batch_size=abc': "batch_size is 'abc'; it must be a whole number of at least 1",
    'train_dataloader.batch_size=0': 'batch_size is 0; it must be a whole number of at least 1',
    'train_dataloader.num_workers=-1': 'num_workers is -1; it must be a whole number of at least 0',
    'train_cfg.max_epochs=abc': "max_epochs is 'abc'; it must be a whole number",
    'optim_wrapper.optimizer.lr=abc': "optimizer.lr is 'abc'; it must be a number",
    'optim_wrapper=None': 'the config has no optim_wrapper',
    'train_cfg=None': 'the config has no train_cfg',
    'custom_hooks=3': 'custom_hooks of the config is 3; it must be a list',
    'load_from=3': 'load_from of the config is 3; it must be a path',
    'val_dataloader=None': 'should be either all None or not None',
    'log_level=abc': "log_level is 'abc'; allowed: DEBUG, INFO",
    'randomness=3': 'randomness of the config is 3; it must be a dict',
    'randomness.seed=abc': "randomness.seed is 'abc'; it must be a whole number",
    'optim_wrapper.optimizer=3': 'optim_wrapper.optimizer is 3; it must be a dict',
    'optim_wrapper.accumulative_counts=0': 'accumulative_counts is 0; it must be a whole number',
    'default_hooks.checkpoint.interval=x': "checkpoint.interval is 'x'; it must be a whole number",
    'model.backbone.init_cfg=3': "init_cfg is 3; allowed: None or dict\\(type='Pretrained'",
    'runner_type=Nope': 'Nope is not in the runner registry; check the name',
}
TINY_SETTINGS = {
    'optim_wrapper.optimizer.type=Nope': 'Nope is not in the optimizer registry; check the name',
    'optim_wrapper.optimizer.betas=abc': r'cannot be built: AdamW: TypeError: .*\(adamw?.py, line ',
    'optim_wrapper.type=Nope': 'the config cannot be built: .*Nope is not in the',
    'train_dataloader.dataset.type=Nope': 'the config cannot be built: .*Nope is not in the',
    'param_scheduler.0.type=Nope': 'the config cannot be built: .*Nope is not in the',
    'val_evaluator.type=Nope': 'the config cannot be built: .*Nope is not in the',
    'default_hooks.logger=3': 'the config cannot be built: TypeError: hook should be',
    'model.width=-2': 'the config cannot be built: TinyModel: RuntimeError: .*negative dimension',
    'train_cfg.type=Nope': 'the config cannot be built: Only one of `type` or `by_epoch`',
}


@pytest.mark.parametrize('setting', TINY_SETTINGS)
def test_what_cannot_be_built_when_training_begins(setting, tmp_path):
    given = [write_config(tmp_path, 1), '--work-dir', tmp_path / 'run', '--cfg-options', setting]
    assert re.search(TINY_SETTINGS[setting], one_line(call_tool('train.py', *given, expect=1)))


def test_what_cannot_be_built_when_testing_begins(place, tmp_path):
    setting = ['--cfg-options', 'test_evaluator.type=Nope']
    given = [
        write_config(tmp_path, 1),
        place / 'list.pth',
        '--work-dir',
        tmp_path / 'run',
        *setting,
    ]
    assert 'Nope is not in the' in one_line(call_tool('test.py', *given, expect=1))


def test_a_defect_keeps_its_traceback(tmp_path, monkeypatch):
    """Of a loop that runs, and of our own code."""
    given = ('train.py', write_config(tmp_path, 1), '--work-dir', tmp_path / 'run')

    def fail(*_, **__):
        raise TypeError('no setting')

    monkeypatch.setattr('tests.training.toy_run.TinyModel.forward', fail)
    with pytest.raises(TypeError, match='no setting'):
        call_tool(*given)
    with pytest.raises(TypeError), building():
        check_settings(3)


@pytest.mark.parametrize('level', [*logging._nameToLevel, 10])
def test_levels_of_pythons_logging(level):
    check_settings(Config(dict(log_level=level)))


@pytest.mark.parametrize('setting', SETTINGS)
def test_settings_that_cannot_be(setting, shapes, tmp_path):
    given = [SHAPES, '--data', shapes, '--work-dir', tmp_path, '--cfg-options', *few(), setting]
    assert re.search(SETTINGS[setting], one_line(call_tool('train.py', *given, expect=1)))


@pytest.mark.parametrize('text', ['nonsense', '=3', 'a.=3', 'a..b=3'])
@pytest.mark.parametrize('tool', ['train.py', 'test.py'])
def test_options_that_are_no_settings(tool, text):
    given = [SHAPES, *(['a.pth'] if tool == 'test.py' else []), '--cfg-options', text]
    output = call_tool(tool, *given, expect=2)
    assert 'Traceback' not in output
    last = output.splitlines()[-1]
    assert f'--cfg-options: {text!r} is not KEY=VALUE, such as ' in last


@pytest.mark.parametrize('option', ['--epochs', '--iters'])
@pytest.mark.parametrize('value', ['0', '-1', 'x', '1.5'])
def test_lengths_that_are_none(option, value):
    output = call_tool('train.py', SHAPES, f'{option}={value}', expect=2)
    assert f'{option}: {value} is not a number of at least 1' in output.splitlines()[-1]


@pytest.mark.parametrize('tool', ['train.py', 'test.py'])
@pytest.mark.parametrize('below', ['', '/x/y'])
def test_a_file_is_no_work_dir(tool, below, place, shapes):
    checkpoint = [place / 'list.pth'] if tool == 'test.py' else []
    given = [SHAPES, *checkpoint, '--data', shapes, '--work-dir', f'{place}/file{below}']
    line = one_line(call_tool(tool, *given, expect=1))
    assert re.search('--work-dir .*file is a file, not a folder; name another folder', line)


OUTPUTS = [
    ('test.py', [SHAPES, '{place}/list.pth', '--data', '{shapes}', '--out', '{place}/file/x.json']),
    ('test.py', [SHAPES, '{place}/list.pth', '--data', '{shapes}', '--out', '{place}/folder.json']),
    ('check_data.py', ['{shapes}', '--out', '{place}/file']),
    ('check_data.py', ['{shapes}', '--out', '{place}/file/x']),
    ('benchmark.py', ['fastervit_0', '--out', '{place}/file']),
    (
        'test.py',
        [SHAPES, '{place}/list.pth', '--data', '{shapes}', '--show-dir', '{place}/file/x'],
    ),
]


@pytest.mark.parametrize('tool, arguments', OUTPUTS)
def test_outputs_that_cannot_be_written(tool, arguments, place, shapes, tmp_path):
    (place / 'folder.json').mkdir(exist_ok=True)
    filled = [str(a).format(place=place, shapes=shapes) for a in arguments]
    filled += ['--work-dir', str(tmp_path)] if tool == 'test.py' else []
    line = one_line(call_tool(tool, *filled, expect=1))
    assert re.search(
        r'cannot be written \(.* (exists|directory)|--out .*file is a file, not a folder', line
    )


@pytest.mark.parametrize('device', ['nonsense', 'cuda:99', 'cpu:'])
def test_devices_that_are_not_there(device, place, shapes, tmp_path):
    given = ['--config', SHAPES, '--weights', place / 'list.pth', '--out', tmp_path]
    line = one_line(
        call_tool('predict.py', shapes / 'val2017', *given, '--device', device, expect=1)
    )
    assert f'device {device!r} cannot be used' in line


@pytest.mark.parametrize(
    'launcher, name', [('pytorch', 'RANK'), ('slurm', 'SLURM_PROCID'), ('mpi', 'OMPI_')]
)
def test_launchers_that_started_nothing(launcher, name, shapes, tmp_path, monkeypatch):
    for known in list(os.environ):
        if known.startswith(('SLURM', 'OMPI', 'MASTER', 'WORLD', 'RANK', 'LOCAL_RANK')):
            monkeypatch.delenv(known)
    given = [SHAPES, '--data', shapes, '--work-dir', tmp_path, '--launcher', launcher]
    line = one_line(call_tool('train.py', *given, expect=1))
    assert line.startswith(f'error: --launcher {launcher}: {name}') and 'is not set; start' in line


def test_torchrun_without_the_option(shapes, tmp_path, monkeypatch):
    for name, value in dict(RANK='0', WORLD_SIZE='2', TORCHELASTIC_RUN_ID='1').items():
        monkeypatch.setenv(name, value)
    given = [SHAPES, '--data', shapes, '--work-dir', tmp_path]
    line = one_line(call_tool('train.py', *given, expect=1))
    assert 'torchrun has started 2 processes' in line and 'add --launcher pytorch' in line


def test_no_screen(place, shapes, tmp_path, monkeypatch):
    for name in ('DISPLAY', 'WAYLAND_DISPLAY'):
        monkeypatch.delenv(name, raising=False)
    given = [SHAPES, place / 'list.pth', '--data', shapes, '--work-dir', tmp_path]
    line = one_line(call_tool('test.py', *given, '--show', expect=1))
    assert '--show needs a screen' in line and '--show-dir' in line
    line = one_line(call_tool('test.py', *given, '--show-dir', place / 'file', expect=1))
    assert "file'; it must be a folder" in line


@pytest.mark.parametrize('tool', ['zoo.py', 'predict.py'])
def test_a_config_that_describes_no_model(tool, place, shapes, tmp_path):
    given = [place / 'scope_alone.py']
    if tool == 'predict.py':
        given = [shapes / 'val2017', '--config', *given, '--weights', place / 'list.pth']
        given += ['--out', tmp_path]
    assert 'the config has no model; use one that has' in one_line(
        call_tool(tool, *given, expect=1)
    )


def test_a_subject_that_describes_no_model(place):
    output = call_tool('benchmark.py', place / 'scope_alone.py', '--rounds', '1', expect=1)
    assert f'error: {place}/scope_alone.py: the config has no model; use one that has' in output
    assert 'Traceback' not in output and 'AttributeError' not in output
