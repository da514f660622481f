"""Segmentation by the same command-line tools: drawn scenes, ADE20K samples, COCO photographs."""

import json
import subprocess

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from PIL import Image

from tests.helpers import ROOT, call_tool, few, run_tool

SHAPES = 'configs/segmentation/upernet_fastervit_shapes.py'
ADE = 'configs/segmentation/upernet_fastervit_0_160k.py'


@pytest.fixture(scope='module')
def trained(shapes, tmp_path_factory):
    """The work dir of two iterations on the drawn scenes."""
    work_dir = tmp_path_factory.mktemp('trained')
    short = ['train_cfg.max_iters=2', 'train_cfg.val_interval=2']
    output = call_tool(
        *('train.py', SHAPES, '--data', shapes / 'ade', '--work-dir', work_dir),
        *('--cfg-options', *few(), *short, 'default_hooks.checkpoint.interval=2'),
    )
    assert 'mIoU' in output
    return work_dir


def a_test(trained, shapes, work_dir, *options):
    given = [SHAPES, trained / 'iter_2.pth', '--data', shapes / 'ade', '--work-dir', work_dir]
    return call_tool('test.py', *given, *options, '--cfg-options', *few())


def test_label_maps_are_kept_and_drawn(trained, shapes, tmp_path):
    out = ['--out', tmp_path / 'maps', '--show-dir', tmp_path / 'drawn']
    assert 'mIoU' in a_test(trained, shapes, tmp_path, *out)
    kept = sorted((tmp_path / 'maps').glob('*.png'))
    assert len(kept) == 2 and np.asarray(Image.open(kept[0])).min() >= 1
    assert len(list((tmp_path / 'drawn').rglob('*.png'))) == 2


def test_augmentation(trained, shapes, tmp_path):
    assert 'mIoU' in a_test(trained, shapes, tmp_path, '--tta')


def test_predicted_label_maps_are_those_that_testing_keeps(trained, shapes, tmp_path):
    """tools/predict.py counts classes from 0, the kept maps as the truth does, from 1."""
    a_test(trained, shapes, tmp_path, '--out', tmp_path / 'maps')
    (config,) = trained.glob('*.py')
    call_tool(
        *('predict.py', shapes / 'ade/images/validation', '--out', tmp_path / 'out'),
        *('--config', config, '--weights', trained / 'iter_2.pth', '--device', 'cpu'),
    )
    for path in sorted((tmp_path / 'maps').glob('*.png')):
        predicted = np.asarray(Image.open(tmp_path / 'out/labels' / path.name))
        assert (predicted + 1 == np.asarray(Image.open(path))).all()
    assert len(list((tmp_path / 'out/pictures').glob('*.jpg'))) == 2


def test_evaluation_on_ade20k_samples(ade_samples, tmp_path):
    """Three images of the validation set, the paper's 150 classes, weights that know nothing."""
    from mmseg.registry import MODELS

    cfg = Config.fromfile(ROOT / ADE)
    init_default_scope('mmseg')
    torch.save(
        dict(state_dict=MODELS.build(cfg.model).state_dict(), meta={}), tmp_path / 'fresh.pth'
    )
    output = call_tool(
        *('test.py', ADE, tmp_path / 'fresh.pth', '--data', ade_samples, '--work-dir', tmp_path),
        *('--cfg-options', *few(), 'test_dataloader.dataset.pipeline.1.scale=(512,128)'),
    )
    assert 'mIoU' in output and '[3/3]' in output


@pytest.fixture(scope='module')
def photographs_as_ade(coco_tiny, tmp_path_factory):
    """COCO photographs and their class maps, laid out as ADE20K; 0 is unlabelled, 80 classes."""
    folder = tmp_path_factory.mktemp('ade')
    for part in ('images', 'annotations'):
        (folder / part).mkdir()
    for ade, coco in (('training', 'train2017'), ('validation', 'val2017')):
        (folder / 'images' / ade).symlink_to(coco_tiny / coco)
        (folder / 'annotations' / ade).symlink_to(coco_tiny / 'semantic' / ade)
    return folder


def test_training_on_photographs(photographs_as_ade, tmp_path):
    size = [
        'train_dataloader.dataset.pipeline.3.crop_size=(128,128)',
        'model.data_preprocessor.size=(128,128)',
        'val_dataloader.dataset.pipeline.1.scale=(512,128)',
        'val_dataloader.dataset.indices=2',
        *(f'model.{head}_head.channels=64' for head in ('decode', 'auxiliary')),
        'default_hooks.checkpoint.save_optimizer=False',
    ]
    output = call_tool(
        *('train.py', ADE, '--data', photographs_as_ade, '--work-dir', tmp_path),
        *('--ignore-zero', '--iters', 2),
        *('--cfg-options', *few(), 'model.backbone.init_cfg=None', *size),
    )
    assert '80 classes: class 1, class 2' in output
    assert 'training for 2 iterations' in output and 'mIoU' in output


def test_a_short_training_validates_often_and_keeps_the_best(shapes, tmp_path):
    """The config's own intervals are for its own 1100 iterations."""
    call_tool(
        *('train.py', SHAPES, '--data', shapes / 'ade', '--work-dir', tmp_path, '--iters', 30),
        *('--cfg-options', *few(), 'default_hooks.checkpoint.max_keep_ckpts=-1'),
    )
    (log,) = tmp_path.glob('*/vis_data/scalars.json')
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    found = {row['step']: row['mIoU'] for row in rows if 'mIoU' in row}
    assert sorted(found) == [10, 20, 30]
    assert {p.name for p in tmp_path.glob('iter_*.pth')} == {f'iter_{i}.pth' for i in found}
    (best,) = tmp_path.glob('best_mIoU_iter_*.pth')
    assert found[int(best.stem.rpartition('_')[2])] == max(found.values())
    rates = [row['lr'] for row in rows if 'lr' in row]
    # batches of 2 for the config's 16; up in a tenth, down to the end
    assert max(rates) == pytest.approx(2e-3 * (2 / 16) ** 0.5, rel=0.02)
    assert rates[3] > rates[-1] and rates.index(max(rates)) <= 4


SHORT = {
    'detection': [
        'train_cfg.max_epochs=1',
        'model.test_cfg.rcnn.score_thr=0.0',
        'model.test_cfg.rpn.max_per_img=20',
    ],
    'segmentation': ['train_cfg.max_iters=2', 'default_hooks.checkpoint.interval=2'],
}


@pytest.mark.parametrize('task', ['detection', 'segmentation'])
def test_the_demos_shortened(task, tmp_path, monkeypatch):
    other = subprocess.run

    def in_process(command, **options):
        if options:  # mmengine asks for the compiler's version
            return other(command, **options)
        call_tool(command[1].removeprefix(f'{ROOT}/tools/'), *command[2:])
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(subprocess, 'run', in_process)
    options = ['--task', task, '--data', tmp_path / 'data', '--work-dir', tmp_path / 'run']
    options += ['--images', 4, 2, '--cfg-options', *few(), *SHORT[task]]
    output = call_tool('demo.py', '--expect', 0, *options)
    assert 'held-out images' in output
    assert len(list((tmp_path / 'run/pictures').glob('*.png'))) == 2
    with Image.open(tmp_path / f'run/{task}s.png') as sheet:
        assert sheet.width > 900
    assert (tmp_path / 'run/report.html').is_file()
    # once more on what lies there
    monkeypatch.setattr(subprocess, 'run', lambda c: subprocess.CompletedProcess(c, 0))
    below = call_tool('demo.py', *options, expect=1)
    assert 'is below the 0.80 that this demo should reach' in below


@pytest.mark.long
@pytest.mark.parametrize('task', ['detection', 'segmentation'])
def test_the_demos_reach_their_mark(task, tmp_path):
    run_tool('demo.py', '--task', task, '--work-dir', tmp_path)
