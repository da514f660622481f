"""From a config to an mmengine Runner, for both host libraries and any device."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config, ConfigDict
from mmengine.registry import RUNNERS
from mmengine.runner import Runner

from ..config.data_sets import nested_dicts
from ..config.reading import check_checkpoint
from ..errors import ArgumentError, FileError
from .processes import check_same_everywhere, has_accelerator, say, start_processes
from .whole_files import whole_checkpoint

# strategies of a FlexibleRunner that need several processes
SHARING = ('DDPStrategy', 'FSDPStrategy', 'fastervit_mm.BlockFSDPStrategy')


def starts_from_random_weights(cfg: Config) -> bool:
    """Whether the run's FasterViT learns from nothing, or learnt so before it was stopped."""
    backbone = (cfg.get('model') or {}).get('backbone') or {}
    if not str(backbone.get('type')).endswith('FasterViT') or backbone.get('init_cfg'):
        return False
    return bool(cfg.get('resume')) or not cfg.get('load_from')


def choose_precision(cfg: Config) -> None:
    """Mixed precision of a network with random weights is bf16 where the device has it, else fp16.

    Layer scales start at 1e-5: in fp16 many gradients inside their branches are zero
    (docs/recipes.md). The choice is written into the config, so that a run that is resumed from its
    own config keeps it; a ``dtype`` that is there stays.
    """
    wrapper: Any = cfg.get('optim_wrapper') or {}
    if wrapper.get('type') != 'AmpOptimWrapper' or wrapper.get('dtype'):
        return
    if not torch.cuda.is_available():
        return
    wrapper.dtype = 'float16'
    if not starts_from_random_weights(cfg):
        return
    if torch.cuda.is_bf16_supported(including_emulation=False):
        say('mixed precision in bf16: the backbone starts from random weights')
        wrapper.dtype = 'bfloat16'


def request_amp(cfg: Config) -> None:
    """Train in mixed precision, whatever the config says."""
    if cfg.optim_wrapper.get('type', 'OptimWrapper') == 'OptimWrapper':
        cfg.optim_wrapper.type = 'AmpOptimWrapper'
        cfg.optim_wrapper.setdefault('loss_scale', 'dynamic')


def request_resume(cfg: Config, resume: str) -> None:
    """Resume from a checkpoint; 'auto': from the last whole one in the work dir, if there is one.

    Raises:
        FileError: there is none like that; or the only one is torn.
    """
    cfg.resume = True
    if resume != 'auto':
        cfg.load_from = check_checkpoint(resume)
        return
    other, torn = whole_checkpoint(Path(cfg.get('work_dir') or '.'))
    cfg.load_from = None if other is None else str(other)
    if torn is not None and torn.is_file():
        if other is None:
            raise FileError(f'{torn} is torn, and {cfg.work_dir} has no other checkpoint to resume')
        say(f'warning: {torn} is torn (it ended before its end was written): resuming from {other}')


def has_checkpoint(work_dir: str) -> bool:
    """Whether a run in ``work_dir`` has left something to resume."""
    return (Path(work_dir) / 'last_checkpoint').is_file()


def request_tensorboard(cfg: Config) -> None:
    """Write curves for TensorBoard too, beside the log.

    Raises:
        ArgumentError: tensorboard is not installed.
    """
    if importlib.util.find_spec('tensorboard') is None:
        raise ArgumentError('--tensorboard needs the package tensorboard: pip install tensorboard')
    cfg.visualizer.vis_backends = [*cfg.visualizer.vis_backends, dict(type='TensorboardVisBackend')]


def fit_to_device(cfg: Config) -> None:
    """Replace what only works with an accelerator where there is none; says so once.

    Mixed precision becomes fp32. A distributed run synchronises by gloo, and its BatchNorm normalises
    per process, because SyncBN takes no CPU tensors; only running statistics are averaged.
    """
    if has_accelerator():
        return
    wrapper = cfg.get('optim_wrapper')
    if wrapper is not None and wrapper.get('type') == 'AmpOptimWrapper':
        say('warning: no accelerator here: training in fp32 instead of mixed precision')
        wrapper.type = 'OptimWrapper'
        for key in ('loss_scale', 'dtype', 'use_fsdp'):
            wrapper.pop(key, None)
    if cfg.get('launcher', 'none') != 'none':
        cfg.sync_bn = None
        for node in nested_dicts(cfg.get('model')):
            if node.get('type') == 'SyncBN':
                node['type'] = 'BN'
        cfg.model_wrapper_cfg = ConfigDict(
            type='MMDistributedDataParallel',
            device_ids=None,
            broadcast_buffers=False,
            find_unused_parameters=cfg.get('find_unused_parameters', False),
        )
        # the running statistics are averaged after each epoch instead
        cfg.default_hooks.sync_buffers = dict(type='SyncBuffersHook')
        cfg.env_cfg.dist_cfg = {**(cfg.env_cfg.get('dist_cfg') or {}), 'backend': 'gloo'}


def fit_strategy(cfg: Config) -> None:
    """Let a FlexibleRunner's strategy do with the processes and the device that there are.

    One process trains and tests as any run does: there is nothing to share out. On a CPU mmengine's
    DDP would take the GPU of its rank.

    Args:
        cfg: changed in place; strategies other than DDP and FSDP stay.
    """
    if cfg.get('runner_type') != 'FlexibleRunner':
        return
    kind = (cfg.get('strategy') or {}).get('type')
    if cfg.get('launcher', 'none') == 'none':
        if kind in SHARING:
            say(f'{kind} shares a model out: with one process, it is left out')
            cfg.pop('runner_type')
            cfg.pop('strategy')
    elif kind in (None, 'DDPStrategy') and not has_accelerator():
        cfg.strategy = {**(cfg.get('strategy') or {}), 'type': 'DDPStrategy'}
        cfg.strategy['model_wrapper'] = cfg.model_wrapper_cfg


def checkpoint_of(cfg: Config) -> tuple[bool, str, int]:
    """What a run starts from: whether it resumes, and the file's name and bytes ('', 0: none)."""
    last = Path(cfg.get('work_dir') or '.') / 'last_checkpoint'
    named = cfg.get('load_from')
    if cfg.get('resume') and not named and last.is_file():
        named = last.read_text().strip()
    path = Path(named or '')
    return bool(cfg.get('resume')), path.name, path.stat().st_size if path.is_file() else 0


def build_runner(cfg: Config) -> Runner:
    """The Runner of ``cfg``: its own type where it names one, such as FlexibleRunner."""
    start_processes(cfg)
    check_same_everywhere('the checkpoint to start from', checkpoint_of(cfg))
    choose_precision(cfg)
    fit_to_device(cfg)
    fit_strategy(cfg)
    runner_type: Any = cfg.get('runner_type')
    return Runner.from_cfg(cfg) if runner_type is None else RUNNERS.build(cfg)
