"""What tools/train.py decides before it trains: data, lines, start, resuming, length."""

import json
import shutil

import matplotlib
import numpy as np
import pytest
import torch
from mmengine.registry import init_default_scope
from PIL import Image

from fastervit_mm.data.drawn_shapes import CLASSES
from tests.helpers import ROOT, call_tool
from tests.training.toys import ToyNet

SHAPES = ROOT / 'configs/detection/cascade_fastervit_shapes.py'
SEGMENTATION = ROOT / 'configs/segmentation/upernet_fastervit_shapes.py'
TOY = f"""
_base_ = '{SHAPES}'
model = dict(
    _delete_=True,
    type='ToyNet',
    num_classes=3,
    backbone=dict(type='ToyBackbone', channels=8, init_cfg=dict(type='Pretrained')),
)
runner_type = 'NotingRunner'
"""


@pytest.fixture
def train(made, shapes, tmp_path):
    """A function that calls the tool with a toy on the drawn scenes; its output and config."""
    config = tmp_path / 'toy.py'
    config.write_text(TOY)

    def run(*options, data=shapes / 'coco', given=config):
        folder = [] if data is None else ['--data', data]
        output = call_tool('train.py', given, *folder, '--work-dir', tmp_path / 'run', *options)
        (runner,) = made
        made.clear()
        assert runner.asked == ['train']
        assert runner.formulas is False and matplotlib.rcParams['text.parse_math']
        run.resumed = getattr(runner, '_resume', False) and runner._load_from
        return output, runner.cfg

    run.config, run.work_dir = config, tmp_path / 'run'
    return run


def fail(*arguments, status=1):
    return call_tool('train.py', *arguments, expect=status)


def test_the_help_names_the_options():
    output = call_tool('train.py', '--help')
    assert 'Train a detector or a segmentor.' in output
    for option in (
        '--resume [CHECKPOINT]',
        '--from CHECKPOINT',
        '--epochs EPOCHS',
        '--data FOLDER',
    ):
        assert option in output


def test_without_options_the_config_is_trained_as_it_is(train):
    output, cfg = train()
    assert cfg.work_dir == str(train.work_dir) and cfg.launcher == 'none'
    assert not cfg.resume and cfg.load_from is None
    assert cfg.model.backbone.init_cfg == dict(type='Pretrained')
    assert cfg.train_cfg.max_epochs == 10 and cfg.auto_scale_lr.enable is False
    assert cfg.visualizer.vis_backends == [dict(type='LocalVisBackend')]
    assert 'warning' not in output
    assert 'learning rate 0.001 (batches of 8, the config is for 8)' in output.splitlines()
    # the schedule fits the four images: 10 iterations in all
    assert 'training for 10 iterations; the log says how long it will take' in output.splitlines()
    assert cfg.param_scheduler[0]['end'] == 2 and cfg.param_scheduler[1]['end'] == 10


def test_the_command_is_recorded(train):
    train('--cfg-options', 'a=1')
    record = json.loads((train.work_dir / 'run.json').read_text())
    assert 'train.py' in record['command'] and record['command'].endswith('--cfg-options a=1')


@pytest.fixture
def dogs(tmp_path):
    """Five photographs of one class, one listed for nothing, none for validation."""
    folder = tmp_path / 'dogs'
    (folder / 'photos').mkdir(parents=True)
    images = [dict(id=i, file_name=f'{i}.png', width=64, height=64) for i in range(6)]
    box = dict(category_id=7, bbox=[8, 8, 20, 20], area=400, iscrowd=0)
    found = [dict(box, id=i, image_id=i, segmentation=[[8, 8, 28, 8, 28, 28]]) for i in range(6)]
    for i in range(5):
        Image.new('RGB', (64, 64)).save(folder / 'photos' / f'{i}.png')
    content = dict(images=images, annotations=found, categories=[dict(id=7, name='dog')])
    (folder / 'labels.json').write_text(json.dumps(content))
    return folder


def test_what_is_found_in_a_folder_is_said(train, dogs):
    output, cfg = train(data=dogs)
    lines = output.splitlines()
    start = lines.index('training: 5 images')
    assert lines[start + 1 : start + 3] == [
        '  training: 1 of them held out: there is no validation split',
        '  training: 1 × missing image (left out), such as 5.png',
    ]
    assert '1 classes: dog' in lines
    assert cfg.model.num_classes == 1
    assert tuple(cfg.train_dataloader.dataset.metainfo.classes) == ('dog',)
    assert 'looking at images: ' in output


def test_a_folder_of_the_same_classes_keeps_the_configs(train):
    _, cfg = train()
    assert cfg.model.num_classes == 3
    assert tuple(cfg.train_dataloader.dataset.metainfo.classes) == CLASSES


@pytest.mark.parametrize(
    'options, named, zero, classes',
    [
        ([], None, False, 'class 0, class 1, class 2'),
        (['--ignore-zero'], None, True, 'class 1, class 2'),
        ([], 'sky\nsea', True, 'sky, sea'),  # labels 1 and 2 for two names
        ([], 'sky\nsea\nsand', False, 'sky, sea, sand'),
    ],
)
def test_label_zero_is_unlabelled_as_asked(options, named, zero, classes, made, tmp_path):
    for split in ('training', 'validation'):
        for kind in ('images', 'annotations'):
            (tmp_path / kind / split).mkdir(parents=True)
        Image.new('RGB', (6, 4)).save(tmp_path / f'images/{split}/a.jpg')
        labels = np.arange(24, dtype=np.uint8).reshape(4, 6) % 3
        Image.fromarray(labels).save(tmp_path / f'annotations/{split}/a.png')
    if named:
        (tmp_path / 'classes.txt').write_text(named)
    output = call_tool(
        *('train.py', SEGMENTATION, '--data', tmp_path, '--work-dir', tmp_path / 'run'),
        *options,
        *('--cfg-options', 'runner_type=NotingRunner'),
    )
    assert f'{classes.count(",") + 1} classes: {classes}' in output.splitlines()
    assert made[0].cfg.train_dataloader.dataset.reduce_zero_label is zero


def test_a_folder_that_is_none(train):
    line = fail(train.config, '--data', 'nowhere', '--work-dir', train.work_dir)
    assert line == 'error: --data nowhere is not a folder\n'


def test_mixed_precision(train):
    said = 'training in fp32 instead of mixed precision'
    assert said not in train()[0]
    assert train('--amp')[0].count(said) == 1


TWO = ('--cfg-options', 'train_dataloader.batch_size=2')


@pytest.mark.parametrize(
    'options, rate, base',
    [
        (TWO, 0.5e-3, 2),  # --data: the square root
        ((*TWO, 'optim_wrapper.accumulative_counts=4'), 1e-3, 8),
        (('--auto-scale-lr', *TWO), 0.25e-3, 2),
        (('--auto-scale-lr', *TWO, 'optim_wrapper.accumulative_counts=2'), 0.5e-3, 4),
        (('--auto-scale-lr', 'sqrt', *TWO), 0.5e-3, 2),
        (('--auto-scale-lr', 'none', *TWO), 1e-3, 2),
        ((*TWO, 'auto_scale_lr.enable=True'), 0.25e-3, 2),
        ((*TWO, 'optim_wrapper.optimizer.lr=0.1'), 0.1, 2),  # given by hand
    ],
)
def test_the_learning_rate_follows_the_batch(options, rate, base, train):
    output, cfg = train(*options)
    assert cfg.optim_wrapper.optimizer.lr == pytest.approx(rate)
    assert cfg.auto_scale_lr == dict(enable=False, base_batch_size=base)
    said = [line for line in output.splitlines() if line.startswith('learning rate ')]
    assert len(said) == 1


def test_without_data_nothing_is_fitted(train, shapes):
    """A config's own data: its recipe as it stands."""
    train.config.write_text(
        TOY + f'train_dataloader = dict(batch_size=2, dataset=dict('
        f'data_root={str(shapes / "coco")!r}))\nval_cfg = None\n'
    )
    output, cfg = train(data=None)
    assert cfg.optim_wrapper.optimizer.lr == 1e-3 and cfg.param_scheduler[0]['end'] == 50
    assert 'learning rate' not in output and 'training for' not in output


def test_own_photographs_are_trained_with_clipped_gradients(train, dogs):
    unclipped = (
        "optim_wrapper = dict(_delete_=True, type='OptimWrapper', "
        "optimizer=dict(type='AdamW', lr=1e-3))\n"
    )
    train.config.write_text(TOY + unclipped)
    output, cfg = train(data=dogs)
    assert cfg.optim_wrapper.clip_grad == dict(max_norm=5.0)
    assert 'gradients are clipped at a norm of 5' in output.splitlines()
    output, cfg = train('--cfg-options', 'optim_wrapper.clip_grad=None', data=dogs)
    assert cfg.optim_wrapper.clip_grad is None and 'clipped' not in output


def test_options_have_the_last_word_over_the_fitted_schedule(train):
    options = ('train_cfg.val_interval=3', 'param_scheduler.0.end=9', 'train_cfg.max_epochs=20')
    _, cfg = train('--cfg-options', *options)
    assert cfg.train_cfg == dict(type='EpochBasedTrainLoop', max_epochs=20, val_interval=3)
    assert [s['end'] for s in cfg.param_scheduler] == [9, 10]


def test_curves_for_tensorboard(train, monkeypatch):
    monkeypatch.setattr('importlib.util.find_spec', lambda name, *_: name)
    kinds = [b.type for b in train('--tensorboard')[1].visualizer.vis_backends]
    assert kinds == ['LocalVisBackend', 'TensorboardVisBackend']


@pytest.fixture
def checkpoint(train, tmp_path):
    """One that fits the toy but for its head, of five classes."""
    init_default_scope('mmdet')  # whatever an earlier test has left
    net = ToyNet(dict(type='ToyBackbone', channels=8), num_classes=5)
    torch.save(dict(state_dict=net.state_dict()), tmp_path / 'five.pth')
    return tmp_path / 'five.pth'


def test_resuming(train, checkpoint):
    train('--resume')
    assert train.resumed is False  # there is nothing to resume yet
    _, cfg = train('--resume', checkpoint)
    assert train.resumed == str(checkpoint) and not cfg.resume and cfg.load_from is None


def test_starting_from_other_classes(train, checkpoint):
    output, cfg = train('--from', checkpoint)
    lines = output.splitlines()
    assert f'{checkpoint}: 8 of 10 entries taken over' in lines
    assert '2 left out, of another shape (other classes): head.weight, head.bias' in lines
    assert not cfg.resume and cfg.load_from == str(train.work_dir / 'data/start.pth')
    assert len(torch.load(cfg.load_from, weights_only=True)['state_dict']) == 8
    assert cfg.model.backbone.init_cfg is None


def test_the_same_command_again_goes_on(train, checkpoint):
    """The first start has nothing to resume; the next one has."""
    _, cfg = train('--from', checkpoint, '--resume')
    assert not cfg.resume and cfg.load_from.endswith('start.pth')
    shutil.copy(checkpoint, train.work_dir / 'epoch_1.pth')
    (train.work_dir / 'last_checkpoint').write_text('epoch_1.pth')
    output, cfg = train('--from', checkpoint, '--resume')
    assert train.resumed == str(train.work_dir / 'epoch_1.pth') and 'taken over' not in output
    line = fail(train.config, '--from', checkpoint, '--work-dir', train.work_dir)
    assert 'holds a run already' in line


def test_a_checkpoint_to_resume_comes_before_one_to_start_from(train, checkpoint):
    other = checkpoint.with_name('other.pth')
    other.touch()
    train('--from', checkpoint, '--resume', other)
    assert train.resumed == str(other)


def test_a_missing_start_is_said_before_the_data_are_looked_at(train):
    both = ('--from', 'none.pth', '--work-dir', train.work_dir)
    line = fail(train.config, '--data', 'nowhere', *both)
    assert line.startswith('error: checkpoint none.pth does not exist')


@pytest.mark.parametrize(
    'option, said, epochs',
    [
        (['--epochs', 3], 3, 3),  # 4 scenes in batches of 8: one iteration
        (['--iters', 2], 2, 2),
        (['--epochs', 3, '--cfg-options', 'train_dataloader.batch_size=1'], 12, 3),
        (['--iters', 5, '--cfg-options', 'train_dataloader.batch_size=1'], 8, 2),
    ],
)
def test_another_length(option, said, epochs, train):
    output, cfg = train(*option)
    line = f'training for {said} iterations; the log says how long it will take'
    assert line in output.splitlines()
    assert cfg.train_cfg.max_epochs == epochs
    assert cfg.param_scheduler[1]['end'] == epochs
    assert cfg.train_cfg.val_interval == min(5, epochs)


def test_epochs_and_iterations_are_not_both_given(train, shapes):
    both = ('--epochs', 1, '--iters', 1, '--work-dir', train.work_dir)
    line = fail(train.config, '--data', shapes / 'coco', *both)
    assert 'error: --epochs and --iters are two words for one thing' in line


def test_only_data_that_will_be_read_are_asked_for(train, shapes):
    """Without validation, nothing of it need be there."""

    def write(train_root, val_root, more=''):
        roots = {'train': train_root, 'val': val_root}
        loaders = [
            f'{k}_dataloader = dict(dataset=dict(data_root={str(r)!r}))' for k, r in roots.items()
        ]
        train.config.write_text('\n'.join([TOY, *loaders, more]))

    coco = shapes / 'coco'
    write(coco, 'no_val')
    place = ('--work-dir', train.work_dir)
    assert 'error: data folder no_val does not exist' in fail(train.config, *place)
    write(coco, 'no_val', 'val_cfg = None')
    assert train(data=None)[1].val_cfg is None
    write('no_train', coco)
    assert 'error: data folder no_train does not exist' in fail(train.config, *place)
    write(coco, coco)
    assert train(data=None)[1].val_cfg is not None


def test_classes_that_differ_from_the_folders_are_said(train, shapes, dogs):
    options = ['--data', shapes / 'coco', '--cfg-options', 'model.num_classes=4']
    line = fail(train.config, *options, '--work-dir', train.work_dir)
    assert "num_classes of the config's heads is [4]" in line
