"""The command-line tools as users type them: train, stop, resume, test, several processes."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from conftest import ROOT

from fastervit_mm.shapes import write_shapes

SHAPES = 'configs/detection/cascade_fastervit_shapes.py'
FEW = (
    'train_dataloader.batch_size=2',
    'train_dataloader.num_workers=0',
    'train_dataloader.persistent_workers=False',
    'val_dataloader.num_workers=0',
    'val_dataloader.persistent_workers=False',
    'test_dataloader.num_workers=0',
    'test_dataloader.persistent_workers=False',
    'default_hooks.logger.interval=1',
)
FEW_SHAPES = (
    *FEW,
    'train_dataloader.dataset.pipeline.2.scale=(96,96)',
    'val_dataloader.dataset.pipeline.1.scale=(96,96)',
    'test_dataloader.dataset.pipeline.1.scale=(96,96)',
)


@pytest.fixture(scope='module')
def shapes(tmp_path_factory) -> Path:
    """Four training and two validation scenes of 64 px in COCO's layout."""
    root = tmp_path_factory.mktemp('shapes')
    write_shapes(root, train=4, val=2, size=64)
    return root / 'coco'


def run(tool: str, *arguments, expect: int = 0) -> str:
    """Run a tool from the project's root; its output."""
    command = [sys.executable, f'tools/{tool}'] if tool.endswith('.py') else [f'tools/{tool}']
    done = subprocess.run(
        [*command, *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=environment(),
    )
    output = done.stdout + done.stderr
    assert done.returncode == expect, output[-4000:]
    return output


def environment() -> dict:
    import os

    path = f'{Path(sys.executable).parent}{os.pathsep}{os.environ["PATH"]}'
    return dict(os.environ, PATH=path, CUDA_VISIBLE_DEVICES='-1')


def weights(path: Path) -> dict:
    return torch.load(path, map_location='cpu', weights_only=False)['state_dict']


def train(shapes, work_dir, *options, resume=(), config=SHAPES) -> str:
    return run(
        'train.py',
        config,
        '--data',
        shapes,
        '--work-dir',
        work_dir,
        *resume,
        '--cfg-options',
        *FEW_SHAPES,
        *options,
    )


def test_train_stop_resume_test(shapes, tmp_path):
    """A resumed run ends with the weights of an uninterrupted one, and can be evaluated."""
    train(shapes, tmp_path / 'whole', 'train_cfg.max_epochs=2', 'train_cfg.val_interval=1')
    train(shapes, tmp_path / 'parts', 'train_cfg.max_epochs=1', 'train_cfg.val_interval=1')
    resumed = train(
        shapes,
        tmp_path / 'parts',
        'train_cfg.max_epochs=2',
        'train_cfg.val_interval=1',
        resume=['--resume'],
    )
    assert 'resumed epoch: 1' in resumed
    whole, parts = (weights(tmp_path / d / 'epoch_2.pth') for d in ('whole', 'parts'))
    assert all(torch.equal(whole[name], parts[name]) for name in whole)

    predictions = tmp_path / 'predictions.pkl'
    output = run(
        'test.py',
        SHAPES,
        tmp_path / 'parts' / 'epoch_2.pth',
        '--data',
        shapes,
        '--work-dir',
        tmp_path / 'tested',
        '--out',
        predictions,
        '--show-dir',
        'drawn',
        '--cfg-options',
        *FEW_SHAPES,
    )
    assert 'coco/segm_mAP' in output
    assert len(list((tmp_path / 'tested').glob('*/drawn/*.jpg'))) == 2
    again = run('test.py', SHAPES, '--data', shapes, '--eval-only', predictions)
    assert 'coco/segm_mAP' in again
    tta = run(
        'test.py',
        SHAPES,
        tmp_path / 'parts' / 'epoch_2.pth',
        '--data',
        shapes,
        '--work-dir',
        tmp_path / 'tested',
        '--tta',
        '--cfg-options',
        *FEW_SHAPES,
    )
    assert 'coco/bbox_mAP' in tta


def test_iteration_based_training_resumes_exactly(shapes, tmp_path):
    config = tmp_path / 'by_iteration.py'
    config.write_text(
        f"_base_ = '{ROOT / SHAPES}'\n"
        "train_cfg = dict(_delete_=True, type='IterBasedTrainLoop', max_iters=4, val_interval=2)\n"
        "train_dataloader = dict(sampler=dict(type='InfiniteSampler'))\n"
        'model = dict(backbone=dict(arch=dict(drop_path_rate=0.5)))\n'
        'param_scheduler = []\n'
        'default_hooks = dict(checkpoint=dict(interval=2, by_epoch=False, save_best=None))\n'
        'log_processor = dict(by_epoch=False)\n'
    )
    train(shapes, tmp_path / 'whole', config=config)
    train(shapes, tmp_path / 'parts', 'train_cfg.max_iters=2', config=config)
    train(
        shapes,
        tmp_path / 'parts',
        resume=['--resume', tmp_path / 'parts' / 'iter_2.pth'],
        config=config,
    )
    whole, parts = (weights(tmp_path / d / 'iter_4.pth') for d in ('whole', 'parts'))
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


def test_two_processes_on_a_cpu(shapes, tmp_path):
    output = run(
        'dist_train.sh',
        SHAPES,
        2,
        '--data',
        shapes,
        '--work-dir',
        tmp_path,
        '--amp',
        '--cfg-options',
        *FEW_SHAPES,
        'train_cfg.max_epochs=1',
    )
    assert output.count('training in fp32 instead of mixed precision') == 1
    assert 'coco/bbox_mAP' in output
    checkpoint = torch.load(tmp_path / 'epoch_1.pth', weights_only=False)
    states = checkpoint['random_states']
    assert len(states) == 2 and not torch.equal(states[0]['torch'], states[1]['torch'])
    run(
        'dist_test.sh',
        SHAPES,
        tmp_path / 'epoch_1.pth',
        2,
        '--data',
        shapes,
        '--work-dir',
        tmp_path,
    )


def test_auto_scale_lr(shapes, tmp_path):
    output = run(
        'train.py',
        SHAPES,
        '--data',
        shapes,
        '--work-dir',
        tmp_path,
        '--auto-scale-lr',
        '--cfg-options',
        *FEW_SHAPES,
        'train_cfg.max_epochs=1',
        'train_cfg.val_interval=9',
    )
    assert 'Scaling the original LR by 0.25' in output


def test_real_photographs(coco_tiny, tmp_path):
    """Two iterations of the paper's detector on COCO photographs, its evaluation, its pictures."""
    config = 'configs/detection/cascade_fastervit_2_3x.py'
    size = [
        'train_dataloader.dataset.pipeline.3.transforms.0.0.scales=[(256,192)]',
        'train_dataloader.dataset.pipeline.3.transforms.1.2.scales=[(256,192)]',
        'val_dataloader.dataset.pipeline.1.scale=(256,192)',
        'test_dataloader.dataset.pipeline.1.scale=(256,192)',
        'train_dataloader.dataset.indices=4',
        'val_dataloader.dataset.indices=2',
        'test_dataloader.dataset.indices=2',
        'model.test_cfg.rcnn.score_thr=0.0',  # a network that has learnt nothing is sure of nothing
        *(f'model.train_cfg.rcnn.{i}.sampler.num=32' for i in range(3)),
        'model.train_cfg.rpn_proposal.max_per_img=100',
        'model.test_cfg.rpn.max_per_img=100',
    ]
    output = run(
        'train.py',
        config,
        '--data',
        coco_tiny,
        '--work-dir',
        tmp_path,
        '--cfg-options',
        'model.backbone.init_cfg=None',
        'train_cfg.max_epochs=1',
        *FEW,
        *size,
    )
    assert '[2/2]' in output and 'coco/bbox_mAP' in output
    output = run(
        'test.py',
        config,
        tmp_path / 'epoch_1.pth',
        '--data',
        coco_tiny,
        '--work-dir',
        tmp_path,
        '--show-dir',
        'drawn',
        '--cfg-options',
        *FEW,
        *size,
    )
    assert 'coco/segm_mAP' in output
    assert len(list(tmp_path.glob('*/drawn/*.jpg'))) == 2


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
            'annotation file .*instances_train2017.json does not exist',
        ),
        ([SHAPES, '--data', '{shapes}', '--resume', 'no.pth'], 'checkpoint no.pth does not exist'),
        ([SHAPES, '--data', '{four}'], '3 classes, .* has 4 categories.* star'),
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
    import re

    filled = [a.format(shapes=shapes, four=other_classes, empty=tmp_path) for a in arguments]
    assert re.search(expected, one_line(run('train.py', *filled, expect=1)))


def test_a_missing_checkpoint_to_test(shapes):
    line = one_line(run('test.py', SHAPES, 'none.pth', '--data', shapes, expect=1))
    assert 'checkpoint none.pth does not exist' in line


def test_broken_annotations_are_named(shapes, tmp_path):
    (tmp_path / 'annotations').mkdir()
    for split in ('train2017', 'val2017'):
        (tmp_path / split).mkdir()
        (tmp_path / f'annotations/instances_{split}.json').write_text('{"images": []}')
    line = one_line(run('train.py', SHAPES, '--data', tmp_path, expect=1))
    assert 'is not in COCO format' in line
