"""The command-line tools as users type them: train, stop, resume, test, several processes."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.helpers import ROOT, few
from tests.helpers import run_tool as run

SHAPES = 'configs/detection/cascade_fastervit_shapes.py'
FEW = few()
FEW_SHAPES = (
    *FEW,
    'train_dataloader.dataset.pipeline.2.scale=(96,96)',
    'val_dataloader.dataset.pipeline.1.scale=(96,96)',
    'test_dataloader.dataset.pipeline.1.scale=(96,96)',
)


@pytest.fixture(scope='module')
def shapes(shapes) -> Path:
    """The drawn scenes in COCO's layout."""
    return shapes / 'coco'


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
        '--fuse',
        '--cfg-options',
        *FEW_SHAPES,
    )
    assert 'coco/bbox_mAP' in tta and 'BatchNorm layers into convolutions' in tta


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


RECIPES = {
    'ema': ['default_hooks.ema.type=EMAHook', 'default_hooks.ema.momentum=0.0002'],
    'clip': ['optim_wrapper.clip_grad.max_norm=1'],
    'accumulate': ['optim_wrapper.accumulative_counts=2'],
    'checkpointing': ['model.backbone.with_cp=True'],
    'channels last': ['model.backbone.channels_last=True'],
    'frozen': ['model.backbone.frozen_stages=4', 'model.backbone.norm_eval=True'],
    'bf16': ['optim_wrapper.dtype=bfloat16'],
}


def test_the_readme_names_every_recipe():
    text = (ROOT / 'README.md').read_text()
    assert not [o for options in RECIPES.values() for o in options if o not in text]


@pytest.mark.parametrize(
    'names',
    [('ema', 'clip', 'accumulate', 'checkpointing'), ('frozen', 'bf16', 'channels last')],
)
def test_recipes_train(names, shapes, tmp_path):
    """Mixed precision is asked for where there is no accelerator: fp32 with one warning."""
    options = [o for name in names for o in RECIPES[name]]
    output = train(shapes, tmp_path, *options, 'train_cfg.max_epochs=1', resume=['--amp'])
    # the demo's config asks for no mixed precision itself
    assert output.count('training in fp32 instead of mixed precision') == 1
    checkpoint = torch.load(tmp_path / 'epoch_1.pth', weights_only=False)
    steps = max(int(s['step']) for s in checkpoint['optimizer']['state'].values())
    assert steps == (1 if 'accumulate' in names else 2)
    assert ('ema_state_dict' in checkpoint) == ('ema' in names)
    if 'frozen' in names:
        buffers = ('running_mean', 'running_var', 'num_batches_tracked')
        others = [
            name
            for name in checkpoint['state_dict']
            if not name.startswith('backbone.') and not name.endswith(buffers)
        ]
        assert len(checkpoint['optimizer']['state']) == len(others)
        statistics = [
            v
            for k, v in checkpoint['state_dict'].items()
            if k.startswith('backbone.') and k.endswith('running_mean')
        ]
        assert statistics and all(torch.equal(v, torch.zeros_like(v)) for v in statistics)


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


def readme_commands(start: str) -> str:
    """The README's block of commands that begins with ``start``."""
    blocks = re.findall(r'```bash\n(.*?)```', (ROOT / 'README.md').read_text(), flags=re.S)
    (block,) = [b for b in blocks if b.startswith(start)]
    return block


def test_the_readmes_trial_on_photographs(coco_tiny, tmp_path):
    """Two iterations of the paper's detector on COCO photographs, its evaluation, its pictures."""
    faster = ' '.join(
        [
            *(o for o in FEW if 'train' not in o),
            'train_dataloader.num_workers=0',
            'train_dataloader.persistent_workers=False',
            'model.test_cfg.rpn.max_per_img=100',
            *(f'model.train_cfg.rcnn.{i}.sampler.num=32' for i in range(3)),
        ]
    )
    commands = readme_commands('SMALL=').replace('--data FOLDER', f'--data {coco_tiny}')
    commands = commands.replace('work_dirs/trial', str(tmp_path)).replace(
        '$SMALL', f'$SMALL {faster}'
    )
    done = subprocess.run(
        ['bash', '-ec', commands],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=dict(os.environ, PATH=f'{Path(sys.executable).parent}:{os.environ["PATH"]}'),
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    output = done.stdout + done.stderr
    assert '[2/2]' in output and 'coco/segm_mAP' in output
    assert len(list(tmp_path.glob('*/drawn/*.jpg'))) == 4


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
