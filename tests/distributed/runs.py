"""Small trainings whose losses do not depend on how a batch is shared out, run in any process."""

import json
import os
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.dist import all_reduce, get_world_size
from mmengine.hooks import Hook
from mmengine.runner import Runner

from fastervit_mm.config.data_sets import point_to_folder
from fastervit_mm.training.processes import end_processes
from fastervit_mm.training.runner import build_runner
from fastervit_mm.weights.entrances import guarded_loading
from tests.helpers import ROOT, SMALL

CONFIGS = ROOT / 'configs'
GROUPS = dict(type='GN', num_groups=4)  # BatchNorm of a process knows its own images alone
IMAGES = 8  # in a batch of all processes


class KeepLosses(Hook):
    """Keeps the loss of each iteration, averaged over the processes."""

    def __init__(self) -> None:
        self.losses: list[float] = []

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        loss = torch.as_tensor(outputs['loss']).detach().clone().double()
        all_reduce(loss, op='mean')
        self.losses.append(loss.item())


def _shared(cfg: Config, work_dir: Path, iterations: int) -> Config:
    """What every such training has: a short loop, a seed, no loader workers, no validation."""
    cfg.work_dir, cfg.launcher = str(work_dir), 'pytorch' if 'WORLD_SIZE' in os.environ else 'none'
    loader = cfg.train_dataloader
    loader.num_workers, loader.persistent_workers = 0, False
    cfg.train_cfg = dict(type='IterBasedTrainLoop', max_iters=iterations)
    loader.sampler = dict(type='InfiniteSampler', shuffle=True)
    loader.pop('batch_sampler', None)
    cfg.val_cfg = cfg.val_dataloader = cfg.val_evaluator = None
    cfg.test_cfg = cfg.test_dataloader = cfg.test_evaluator = None
    cfg.default_hooks.checkpoint.update(interval=iterations, by_epoch=False, save_best=None)
    cfg.log_processor = dict(by_epoch=False)
    cfg.param_scheduler = [dict(type='ConstantLR', factor=1.0, by_epoch=False)]
    cfg.randomness = dict(seed=0)
    cfg.log_level = 'WARNING'
    cfg.visualizer.vis_backends = []
    return cfg


def segmentor(data: Path) -> Config:
    """UperNet of the shapes, of any batch: the mean over pixels counts no images.

    GroupNorm in the heads and BatchNorm's stored statistics in the backbone, no drop path, and classes
    of one weight: mmseg divides a weighted loss by the weights in a process's own images.
    """
    cfg = Config.fromfile(CONFIGS / 'segmentation/upernet_fastervit_shapes.py')
    point_to_folder(cfg, data, ('train_dataloader',))
    cfg.model.backbone.update(arch=dict(SMALL), norm_eval=True, out_norm='ln2d')
    for head, channels in (('decode_head', [16, 32, 64, 128]), ('auxiliary_head', 64)):
        cfg.model[head].update(in_channels=channels, channels=16, norm_cfg=GROUPS)
        cfg.model[head].loss_decode.pop('class_weight', None)
    cfg.train_dataloader.dataset.pipeline = [
        step for step in cfg.train_dataloader.dataset.pipeline if step.type != 'RandomFlip'
    ]
    return cfg


def with_one_object(data: Path) -> Path:
    """The training annotations of ``data`` (COCO's layout) with the first object of each image."""
    path = data / 'annotations/first_objects.json'
    if not path.is_file():
        content = json.loads((data / 'annotations/instances_train2017.json').read_text())
        first = {a['image_id']: a for a in reversed(content['annotations'])}
        path.write_text(json.dumps({**content, 'annotations': list(first.values())}))
    return path


def detector(data: Path) -> Config:
    """DINO of a small size: its losses are divided by a number that the processes agree upon.

    Denoising queries without noise, in as many groups whatever the images hold, and one object in an
    image: mmdet pads the denoising queries to a process's own images, and pads count as background.
    """
    cfg = Config.fromfile(CONFIGS / 'detection/dino_4scale_fastervit_0_12e.py')
    cfg.train_dataloader.dataset.metainfo = dict(classes=('circle', 'square', 'triangle'))
    cfg.train_dataloader.dataset.ann_file = str(with_one_object(data))
    point_to_folder(cfg, data, ('train_dataloader',))
    model = cfg.model
    model.backbone.pop('init_cfg', None)
    model.backbone.update(arch=dict(SMALL), norm_eval=True, with_cp=False, drop_path_rate=0.0)
    model.neck.in_channels = [32, 64, 128]
    model.encoder.num_layers, model.decoder.num_layers, model.num_queries = 1, 2, 20
    for layers in (model.encoder, model.decoder):
        layers.layer_cfg.ffn_cfg.feedforward_channels = 64
    model.bbox_head.num_classes = 3
    model.dn_cfg.update(label_noise_scale=1e-9, box_noise_scale=1e-9)
    model.dn_cfg.group_cfg = dict(dynamic=False, num_groups=2, num_dn_queries=None)
    cfg.train_dataloader.dataset.pipeline = [
        dict(type='LoadImageFromFile'),
        dict(type='LoadAnnotations', with_bbox=True),
        dict(type='PackDetInputs'),
    ]
    return cfg


KINDS = dict(segmentor=segmentor, detector=detector)


def train(
    kind: str,
    data: Path,
    work_dir: Path,
    steps: int = 5,
    accumulate: int = 1,
    hooks: tuple = (),
    **changes: Any,
) -> dict[str, Any]:
    """Train in this process of its group; the losses and end weights.

    Args:
        kind: of `KINDS`.
        data: folder of drawn shapes.
        work_dir: of the run.
        steps: of the optimiser.
        accumulate: batches a step.
        hooks: more of them.
        **changes: of the config, by their dotted names with ``__`` for the dots.
    """
    torch.set_num_threads(1)
    layout = 'ade' if kind == 'segmentor' else 'coco'
    cfg = _shared(KINDS[kind](data / layout), work_dir, steps * accumulate)
    count = int(os.environ.get('WORLD_SIZE', 1))
    cfg.train_dataloader.batch_size = IMAGES // count // accumulate
    cfg.optim_wrapper = dict(
        type='OptimWrapper',
        optimizer=dict(type='SGD', lr=0.01, momentum=0.9),
        clip_grad=dict(max_norm=1.0),
        accumulative_counts=accumulate,
    )
    cfg.merge_from_dict({name.replace('__', '.'): value for name, value in changes.items()})
    runner = build_runner(cfg)
    for hook in (keep := KeepLosses(), *hooks):
        runner.register_hook(hook)
    runner.train()
    assert get_world_size() == count
    found = dict(losses=keep.losses, weights=runner.model.state_dict())
    found['weights'] = {
        name.removeprefix('module.'): value for name, value in found['weights'].items()
    }
    end_processes()
    return found


def evaluate(run: Path, checkpoint: Path, data: Path) -> dict[str, float]:
    """Test a checkpoint of the segmentor in one process, as tools/test.py does; its metrics.

    Args:
        run: work dir of the training, whose config says how it was done.
        checkpoint: of it.
        data: folder of drawn shapes.
    """
    cfg = Config.fromfile(run / 'upernet_fastervit_shapes.py')
    shapes = Config.fromfile(CONFIGS / 'segmentation/upernet_fastervit_shapes.py')
    for name in ('test_dataloader', 'test_evaluator', 'test_cfg'):
        cfg[name] = shapes[name]
    point_to_folder(cfg, data / 'ade', ('test_dataloader',))
    cfg.test_dataloader.update(num_workers=0, persistent_workers=False)
    cfg.launcher, cfg.load_from = 'none', str(checkpoint)
    with guarded_loading(whole=True):
        return build_runner(cfg).test()
