"""Segmentation by the same command-line tools: drawn scenes, ADE20K samples, COCO photographs."""

import numpy as np
import pytest
import torch
from conftest import ROOT, few, run_tool
from mmengine.config import Config
from mmengine.registry import init_default_scope
from PIL import Image

SHAPES = 'configs/segmentation/upernet_fastervit_shapes.py'
ADE = 'configs/segmentation/upernet_fastervit_0_160k.py'


def test_train_test_and_keep_label_maps(shapes, tmp_path):
    run_tool(
        'train.py',
        SHAPES,
        '--data',
        shapes / 'ade',
        '--work-dir',
        tmp_path,
        '--cfg-options',
        *few(),
        'train_cfg.max_iters=2',
        'train_cfg.val_interval=2',
        'default_hooks.checkpoint.interval=2',
    )
    shared = ['--data', shapes / 'ade', '--work-dir', tmp_path]
    output = run_tool(
        'test.py',
        SHAPES,
        tmp_path / 'iter_2.pth',
        *shared,
        '--out',
        tmp_path / 'maps',
        '--show-dir',
        tmp_path / 'drawn',
        '--cfg-options',
        *few(),
    )
    assert 'mIoU' in output
    kept = sorted((tmp_path / 'maps').glob('*.png'))
    assert len(kept) == 2 and np.asarray(Image.open(kept[0])).min() >= 1
    assert len(list((tmp_path / 'drawn').rglob('*.png'))) == 2
    tta = run_tool(
        'test.py', SHAPES, tmp_path / 'iter_2.pth', *shared, '--tta', '--cfg-options', *few()
    )
    assert 'mIoU' in tta


def test_evaluation_on_ade20k_samples(ade_samples, tmp_path):
    """Three images of the validation set, the paper's 150 classes, weights that know nothing."""
    from mmseg.registry import MODELS

    cfg = Config.fromfile(ROOT / ADE)
    init_default_scope('mmseg')
    torch.save(
        dict(state_dict=MODELS.build(cfg.model).state_dict(), meta={}), tmp_path / 'fresh.pth'
    )
    output = run_tool(
        'test.py',
        ADE,
        tmp_path / 'fresh.pth',
        '--data',
        ade_samples,
        '--work-dir',
        tmp_path,
        '--cfg-options',
        *few(),
        'test_dataloader.dataset.pipeline.1.scale=(512,128)',
    )
    assert 'mIoU' in output and '[3/3]' in output


def test_two_iterations_on_photographs(coco_tiny, tmp_path):
    output = run_tool(
        'train.py',
        ADE,
        '--data',
        coco_tiny,
        '--work-dir',
        tmp_path,
        '--cfg-options',
        *few(),
        'model.backbone.init_cfg=None',
        'model.decode_head.num_classes=80',
        'model.auxiliary_head.num_classes=80',
        'train_dataloader.dataset.type=BaseSegDataset',
        'train_dataloader.dataset.reduce_zero_label=True',
        'train_dataloader.dataset.data_prefix.img_path=train2017',
        'train_dataloader.dataset.data_prefix.seg_map_path=semantic/training',
        'train_dataloader.dataset.pipeline.3.crop_size=(128,128)',
        'model.data_preprocessor.size=(128,128)',
        'train_cfg.max_iters=2',
        'val_cfg=None',
        'val_dataloader=None',
        'val_evaluator=None',
        'default_hooks.checkpoint.save_best=None',
    )
    assert '[2/2]' in output


SHORT = {
    'detection': ['train_cfg.max_epochs=1', 'model.test_cfg.rcnn.score_thr=0.0'],
    'segmentation': ['train_cfg.max_iters=2', 'default_hooks.checkpoint.interval=2'],
}


@pytest.mark.parametrize('task, layout', [('detection', 'COCO'), ('segmentation', 'ADE')])
def test_the_demos_shortened(task, layout, tmp_path):
    options = [
        '--task',
        task,
        '--data',
        tmp_path / 'data',
        '--work-dir',
        tmp_path / 'run',
        '--images',
        4,
        2,
        '--cfg-options',
        *few(),
        *SHORT[task],
    ]
    output = run_tool('demo.py', '--expect', 0, *options)
    assert 'held-out images' in output
    assert len(list((tmp_path / 'run/pictures').glob('*.png'))) == 2
    with Image.open(tmp_path / f'run/{task}s.png') as sheet:
        assert sheet.width > 900
    below = run_tool('demo.py', *options, expect=1)
    assert 'is below the 0.80 that this demo should reach' in below


@pytest.mark.long
@pytest.mark.parametrize('task', ['detection', 'segmentation'])
def test_the_demos_reach_their_mark(task, tmp_path):
    run_tool('demo.py', '--task', task, '--work-dir', tmp_path)
