"""Wherever people start: mmdet's and mmseg's own scripts and inferencers, without compiled operators."""

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from mmengine.config import Config

from fastervit_mm.config.data_sets import point_to_folder
from tests.helpers import ROOT, few
from tests.operators.without import without_extension

SAID = 'mmcv was installed without its compiled operators'

# a detector of the user's own, by mmdet's own base config, without anything of ours but the import
OWN = """
_base_ = '{base}/_base_/models/retinanet_r50_fpn.py'
custom_imports = dict(imports=['fastervit_mm'])
default_scope = 'mmdet'
visualizer = dict(type='DetLocalVisualizer', name='visualizer', vis_backends=[])
classes = dict(classes=('circle', 'square', 'triangle'))
model = dict(
    backbone=dict(depth=18, init_cfg=None),
    neck=dict(in_channels=[64, 128, 256, 512], out_channels=32),
    bbox_head=dict(num_classes=3, in_channels=32, feat_channels=32, stacked_convs=1),
)
steps = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='Resize', scale=(64, 64)),
    dict(type='PackDetInputs', meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor')),
]
data = dict(type='CocoDataset', data_root='{root}/', metainfo=classes, pipeline=steps)
train_dataloader = dict(
    batch_size=2, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(data, ann_file='annotations/instances_train2017.json', data_prefix=dict(img='train2017/')),
)
val_dataloader = dict(
    batch_size=1, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        data, ann_file='annotations/instances_val2017.json', test_mode=True, data_prefix=dict(img='val2017/'),
    ),
)
val_evaluator = dict(type='CocoMetric', ann_file='{root}/annotations/instances_val2017.json', metric='bbox')
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=1)
val_cfg = dict(type='ValLoop')
test_dataloader, test_evaluator = val_dataloader, val_evaluator
test_cfg = dict(type='TestLoop')
optim_wrapper = dict(optimizer=dict(type='SGD', lr=0.001))
"""  # fmt: skip


def run(folder: Path, *words) -> tuple[str, str]:
    """A command in an environment whose mmcv has no compiled operators: what it says, its last line."""
    done = subprocess.run(
        [sys.executable, *map(str, words)],
        env=dict(without_extension(folder), CUDA_VISIBLE_DEVICES='-1', OMP_NUM_THREADS='1'),
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    output = done.stdout + done.stderr
    assert done.returncode == 0, output[-4000:]
    return output, (done.stdout.splitlines() or [''])[-1]


def own_script(library: str, name: str) -> Path:
    """A script that mmdet or mmseg carries."""
    return Path(find_spec(library).origin).parent / '.mim' / 'tools' / name


def test_mmdets_own_script_trains_a_users_config_and_its_inferencer_predicts(shapes, tmp_path):
    base = Path(find_spec('mmdet').origin).parent / '.mim' / 'configs'
    config = tmp_path / 'own.py'
    config.write_text(OWN.format(base=base, root=shapes / 'coco'))
    work_dir = tmp_path / 'run'
    output, _ = run(tmp_path, own_script('mmdet', 'train.py'), config, '--work-dir', work_dir)
    assert output.count(SAID) == 1 and 'Epoch(val)' in output
    # it imports operators before it reads a config: by our command
    test = ('-m', 'fastervit_mm.run', own_script('mmdet', 'test.py'))
    output, _ = run(tmp_path, *test, config, work_dir / 'epoch_1.pth', '--work-dir', work_dir)
    assert 'Epoch(test)' in output
    picture = next((shapes / 'coco/val2017').iterdir())
    code = (
        'import fastervit_mm; from mmdet.apis import DetInferencer;'
        f'found = DetInferencer({str(config)!r}, {str(work_dir / "epoch_1.pth")!r}, device="cpu")'
        f'({str(picture)!r}); print(len(found["predictions"]))'
    )
    assert run(tmp_path, '-c', code)[1] == '1'


@pytest.mark.parametrize(
    'library, config, data, length',
    [
        ('mmdet', 'detection/cascade_fastervit_shapes.py', 'coco', 'max_epochs'),
        ('mmseg', 'segmentation/upernet_fastervit_shapes.py', 'ade', 'max_iters'),
    ],
)
def test_the_host_librarys_own_script_trains_our_configs(
    library, config, data, length, shapes, tmp_path
):
    cfg = Config.fromfile(ROOT / 'configs' / config)
    point_to_folder(cfg, shapes / data)
    cfg.dump(tmp_path / 'here.py')
    options = ['--cfg-options', *few(), f'train_cfg.{length}=1', 'train_cfg.val_interval=9']
    script = own_script(library, 'train.py')
    output, _ = run(
        tmp_path, script, tmp_path / 'here.py', '--work-dir', tmp_path / 'run', *options
    )
    assert output.count(SAID) == 1 and 'loss: ' in output


def test_mmsegs_inferencer_after_an_import_of_ours(shapes, tmp_path):
    config = ROOT / 'configs/segmentation/upernet_fastervit_shapes.py'
    picture = next((shapes / 'ade/images/validation').iterdir())
    code = (
        'import fastervit_mm; from mmseg.apis import MMSegInferencer;'
        f'found = MMSegInferencer({str(config)!r}, device="cpu")'
        f'({str(picture)!r}); print(found["predictions"].shape)'
    )
    assert run(tmp_path, '-c', code)[1] == '(64, 64)'
