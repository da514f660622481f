"""From a config to an mmengine Runner, for both host libraries and any device."""

from __future__ import annotations

import importlib.util
from functools import partial
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config, ConfigDict
from mmengine.dist import is_main_process
from mmengine.registry import OPTIMIZERS, RUNNERS
from mmengine.runner import Runner

from ..compatibility import leave_training_out
from ..config.data_sets import nested_dicts
from ..config.host import building, registered
from ..config.run_folder import note_written
from ..config.settings import check_no_templates
from ..errors import ArgumentError, writing
from ..weights.whole_writing import write_whole
from .processes import check_same_everywhere, has_accelerator, say, start_processes
from .resuming import forget_pretrained
from .same_classes import TestedClassesHook
from .taking_up import note_going_on, taking_up

# strategies of a FlexibleRunner that need several processes
SHARING = ('DDPStrategy', 'FSDPStrategy', 'fastervit_mm.BlockFSDPStrategy')


def starts_from_random_weights(cfg: Config) -> bool:
    """Whether the run's FasterViT learns from nothing, or learnt so before it was stopped."""
    backbone = (cfg.get('model') or {}).get('backbone') or {}
    ours = str(backbone.get('type')).endswith('FasterViT')
    return ours and not backbone.get('init_cfg') and not cfg.get('load_from')


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


class _LeavesConfig:
    """Of a runner that tests: its config goes beside its log, that of the training stays."""

    cfg: Config
    log_dir: str

    def dump_config(self) -> None:
        self.cfg.dump(Path(self.log_dir, Path(self.cfg.filename or 'config.py').name))


class _NotesConfig:
    """Of a runner that resumes: its config is written in one step, known from what is edited by hand."""

    cfg: Config
    work_dir: str

    def dump_config(self) -> None:
        if is_main_process():
            path = Path(self.work_dir, Path(self.cfg.filename or 'config.py').name)
            text = self.cfg.dump() if path.suffix != '.py' else self.cfg.pretty_text
            note_written(path, text)
            write_whole(path, text)


def start_of(cfg: Config, resume: str | None) -> tuple[bool, str, int]:
    """What a run starts from: whether it resumes, and the file's name and bytes ('', 0: none)."""
    path = Path(resume or cfg.get('load_from') or '')
    return resume is not None, path.name, path.stat().st_size if path.is_file() else 0


def build_runner(cfg: Config, *, resume: str | None = None, tests: bool = False) -> Runner:
    """The Runner of ``cfg``: its own type where it names one, such as FlexibleRunner.

    Args:
        cfg: the whole config; it is written into its work dir.
        resume: checkpoint to go on from. Default None: the run starts.
        tests: write the config beside the log instead: a training's may be in the work dir. The
            checkpoint must be of the classes that are tested. Default False.
    """
    check_no_templates(cfg)
    start_processes(cfg)
    check_same_everywhere('the checkpoint to start from', start_of(cfg, resume))
    choose_precision(cfg)
    fit_to_device(cfg)
    fit_strategy(cfg)
    runner_type, scope = cfg.get('runner_type'), cfg.get('default_scope')
    kind: Any = Runner if runner_type is None else registered(RUNNERS, runner_type, scope)
    if tests or resume is not None:
        kind = type(kind.__name__, (_LeavesConfig if tests else _NotesConfig, kind), {})
    with writing(f'--work-dir {cfg.work_dir}'):
        Path(cfg.work_dir).mkdir(parents=True, exist_ok=True)
    with building():
        runner = kind.from_cfg(cfg)
    optimizer: Any = (cfg.get('optim_wrapper') or {}).get('optimizer') or {}
    if not tests and isinstance(optimizer.get('type'), str):  # mmengine does not look for it yet
        registered(OPTIMIZERS, optimizer.type, scope)
    if tests:
        leave_training_out(runner)
        runner.register_hook(TestedClassesHook(), 'VERY_HIGH')
    if resume is not None:  # not by the config: what is written there would resume whatever it runs
        runner._resume, runner._load_from = True, resume
        forget_pretrained(runner.model)
        start = partial(note_going_on, cfg, resume)
        runner.load_or_resume = taking_up(runner, resume, start)(runner.load_or_resume)
    return runner
