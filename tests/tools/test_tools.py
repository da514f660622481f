"""The command-line tools from training to evaluation: stop, resume, test, several processes."""

import json
import os
import pickle
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.helpers import ROOT, call_tool, few, run_tool

SHAPES = 'configs/detection/cascade_fastervit_shapes.py'
FEW = few()
SMALL = (
    *(f'{kind}_dataloader.dataset.pipeline.1.scale=(96,96)' for kind in ('val', 'test')),
    'train_dataloader.dataset.pipeline.2.scale=(96,96)',
    'model.train_cfg.rpn_proposal.max_per_img=20',
    *(f'model.train_cfg.rcnn.{i}.sampler.num=8' for i in range(3)),
    'model.test_cfg.rpn.max_per_img=20',
)
FEW_SHAPES = (*FEW, *SMALL)
ONE_EPOCH = 'train_cfg.max_epochs=1'


@pytest.fixture(scope='module')
def shapes(shapes) -> Path:
    """The drawn scenes in COCO's layout."""
    return shapes / 'coco'


def weights(path: Path) -> dict:
    return torch.load(path, map_location='cpu', weights_only=False)['state_dict']


def same_weights(first: Path, second: Path) -> bool:
    first, second = weights(first), weights(second)
    return first.keys() == second.keys() and all(torch.equal(first[n], second[n]) for n in first)


def train(shapes, work_dir, *options, more=(), config=SHAPES, call=call_tool) -> str:
    given = ['--data', shapes, '--work-dir', work_dir, *more]
    return call('train.py', config, *given, '--cfg-options', *FEW_SHAPES, *options)


@pytest.fixture(scope='module')
def whole(shapes, tmp_path_factory) -> Path:
    """The work dir of two epochs, trained by a process of its own, as a user would."""
    work_dir = tmp_path_factory.mktemp('whole')
    options = ('train_cfg.max_epochs=2', 'train_cfg.val_interval=1')
    output = train(shapes, work_dir, *options, call=run_tool)
    assert 'coco/segm_mAP' in output and f'--data {shapes} fits the config: used as it is' in output
    return work_dir


def test_a_resumed_run_ends_as_an_uninterrupted_one(whole, shapes, tmp_path):
    train(shapes, tmp_path, ONE_EPOCH, 'train_cfg.val_interval=1')
    options = ('train_cfg.max_epochs=2', 'train_cfg.val_interval=1')
    resumed = train(shapes, tmp_path, *options, more=['--resume'])
    assert 'resumed epoch: 1' in resumed
    assert same_weights(whole / 'epoch_2.pth', tmp_path / 'epoch_2.pth')


def a_test(whole, shapes, work_dir, *options) -> str:
    given = [SHAPES, whole / 'epoch_2.pth', '--data', shapes, '--work-dir', work_dir]
    return call_tool('test.py', *given, *options, '--cfg-options', *FEW_SHAPES)


def ap_lines(output: str) -> dict[str, float]:
    """The last value of each metric in ``output``."""
    return {name: float(v) for name, v in re.findall(r'(coco/\w+): (-?\d\.\d{4})', output)}


def test_kept_predictions_are_evaluated_alike(whole, shapes, tmp_path):
    kept, plain = tmp_path / 'predictions.pkl', tmp_path / 'predictions.json'
    output = a_test(whole, shapes, tmp_path, '--out', kept, '--show-dir', 'drawn')
    assert 'coco/segm_mAP' in output
    assert len(list(tmp_path.glob('*/drawn/*.jpg'))) == 2
    assert len(pickle.loads(kept.read_bytes())) == 2
    again = call_tool('test.py', SHAPES, '--data', shapes, '--eval-only', kept)
    assert 'coco/segm_mAP' in again and ap_lines(again) == ap_lines(output)
    a_test(whole, shapes, tmp_path, '--out', plain)
    found = json.loads(plain.read_text())
    assert {'image_id', 'category_id', 'bbox', 'score', 'segmentation'} == set(found[0])
    again = call_tool('test.py', SHAPES, '--data', shapes, '--eval-only', plain)
    assert ap_lines(again) == ap_lines(output)


def test_predictions_are_those_that_testing_keeps(whole, shapes, tmp_path):
    """Boxes of tools/predict.py, x, y, width and height, and the corners of tools/test.py."""
    (resolved,) = whole.glob('*.py')
    config = tmp_path / 'five.py'
    five = 'model = dict(test_cfg=dict(rcnn=dict(score_thr=0.0, max_per_img=5)))'
    config.write_text(f"_base_ = '{resolved}'\n{five}\n")
    trained, kept, out = whole / 'epoch_2.pth', tmp_path / 'kept.pkl', tmp_path / 'out'
    call_tool('test.py', config, trained, '--out', kept, '--work-dir', tmp_path / 'run')
    given = ['--config', config, '--weights', trained, '--device', 'cpu', '--out', out]
    call_tool('predict.py', shapes / 'val2017', *given, '--score', 0)
    predicted = json.loads((out / 'predictions.json').read_text())
    assert len(predicted) == 10
    for image in pickle.loads(kept.read_bytes()):
        found = image['pred_instances']
        mine = [p for p in predicted if p['image_id'] == image['img_id']]
        corners = [(x, y, x + w, y + h) for x, y, w, h in (p['bbox'] for p in mine)]
        assert np.allclose(corners, found['bboxes'].numpy().reshape(-1, 4), atol=0.02)
        assert [p['category_id'] - 1 for p in mine] == found['labels'].tolist()
        assert [p['segmentation'] for p in mine] == [
            dict(size=m['size'], counts=m['counts'].decode()) for m in found['masks']
        ]


def test_a_fused_model_under_augmentation(whole, shapes, tmp_path):
    output = a_test(whole, shapes, tmp_path, '--tta', '--fuse')
    assert 'coco/bbox_mAP' in output and 'BatchNorm layers into convolutions' in output
    assert 'segm_mAP' not in output


def test_a_fused_model_is_evaluated_alike(whole, shapes, tmp_path):
    plain, fused = (a_test(whole, shapes, tmp_path, *o) for o in ((), ('--fuse',)))
    assert 'BatchNorm layers into convolutions' not in plain
    assert ap_lines(fused) == pytest.approx(ap_lines(plain), abs=0.01)


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
    parts = tmp_path / 'parts'
    train(shapes, parts, 'train_cfg.max_iters=2', config=config)
    train(shapes, parts, more=['--resume', parts / 'iter_2.pth'], config=config)
    assert same_weights(tmp_path / 'whole/iter_4.pth', parts / 'iter_4.pth')


def test_two_processes_on_a_cpu(shapes, tmp_path):
    given = ['--data', shapes, '--work-dir', tmp_path, '--cfg-options', *FEW_SHAPES]
    output = run_tool('dist_train.sh', SHAPES, 2, '--amp', *given, ONE_EPOCH)
    assert output.count('training in fp32 instead of mixed precision') == 1
    assert 'coco/bbox_mAP' in output
    checkpoint = torch.load(tmp_path / 'epoch_1.pth', weights_only=False)
    states = checkpoint['random_states']
    assert len(states) == 2 and not torch.equal(states[0]['torch'], states[1]['torch'])
    # with loader workers, as in the config
    given = ['--data', shapes, '--work-dir', tmp_path, '--cfg-options', *SMALL]
    tested = run_tool('dist_test.sh', SHAPES, tmp_path / 'epoch_1.pth', 2, *given)
    assert 'coco/bbox_mAP' in tested


GUIDE = ROOT / 'docs' / 'training.md'
RECIPES = {
    'ema': ['default_hooks.ema.type=EMAHook', 'default_hooks.ema.momentum=0.0002'],
    'clip': ['optim_wrapper.clip_grad.max_norm=1'],
    'accumulate': ['optim_wrapper.accumulative_counts=2'],
    'checkpointing': ['model.backbone.with_cp=True'],
    'channels last': ['model.backbone.channels_last=True'],
    'frozen': ['model.backbone.frozen_stages=4', 'model.backbone.norm_eval=True'],
    'bf16': ['optim_wrapper.dtype=bfloat16'],
}


def test_the_guide_names_every_recipe():
    text = GUIDE.read_text(encoding='utf-8')
    assert not [o for options in RECIPES.values() for o in options if o not in text]


@pytest.mark.parametrize(
    'names',
    [('ema', 'clip', 'accumulate', 'checkpointing'), ('frozen', 'bf16', 'channels last')],
)
def test_recipes_train(names, shapes, tmp_path):
    """Mixed precision is asked for where there is no accelerator: fp32 with one warning."""
    options = [o for name in names for o in RECIPES[name]]
    output = train(shapes, tmp_path, *options, ONE_EPOCH, more=['--amp'])
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
    """Batches of 2 where the config's rate of 0.001 is for batches of 8."""
    options = (ONE_EPOCH, 'train_cfg.val_interval=9', 'param_scheduler=[]')
    output = train(shapes, tmp_path, *options, more=['--auto-scale-lr'])
    assert 'learning rate 0.00025: 0.001 of the config, for batches of 8' in output
    assert re.search(r'Epoch\(train\).* lr: 2\.5000e-04', output)


def guide_commands(start: str) -> str:
    """The block of commands that begins with ``start``."""
    blocks = re.findall(r'```bash\n(.*?)```', GUIDE.read_text(encoding='utf-8'), flags=re.S)
    (block,) = [b for b in blocks if b.startswith(start)]
    return block


def test_the_guides_trial_on_photographs(coco_tiny, tmp_path):
    """Two iterations of the paper's detector on COCO photographs, its evaluation, its pictures."""
    faster = ' '.join(
        [
            *(o for o in FEW if 'train' not in o),
            'train_dataloader.num_workers=0',
            'train_dataloader.persistent_workers=False',
            'model.test_cfg.rpn.max_per_img=100',
            'default_hooks.checkpoint.save_best=None',
            'default_hooks.checkpoint.save_optimizer=False',  # 1 GB
            *(f'model.train_cfg.rcnn.{i}.sampler.num=32' for i in range(3)),
        ]
    )
    commands = guide_commands('SMALL=').replace('--data FOLDER', f'--data {coco_tiny}')
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
