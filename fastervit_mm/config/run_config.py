"""From a config file and command-line options to an mmengine Runner, for both host libraries."""

from __future__ import annotations

import argparse
import difflib
import importlib
import importlib.util
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

from mmengine.config import Config, ConfigDict, DictAction
from mmengine.device import get_device
from mmengine.dist import is_distributed
from mmengine.registry import RUNNERS, init_default_scope
from mmengine.runner import Runner
from torch import nn

from ..errors import ArgumentError, FileError
from .data_sets import point_to_folder

HOST_LIBRARIES = {
    'mmdet': 'onedl-mmdetection (or mmdet 3.3.0)',
    'mmseg': 'onedl-mmsegmentation (or mmsegmentation 1.2.2)',
}
AMP_DEVICES = ('cuda', 'npu', 'mlu', 'musa')


def add_common_options(parser: argparse.ArgumentParser) -> None:
    """Options that training and testing share."""
    parser.add_argument(
        '--work-dir',
        help='folder for logs, checkpoints and results (default: work_dirs/NAME_OF_CONFIG)',
    )
    parser.add_argument(
        '--data',
        metavar='FOLDER',
        help='read every data set from this folder, '
        'laid out as the config expects (COCO: train2017, val2017, annotations)',
    )
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        metavar='KEY=VALUE',
        help='override settings of the config, such as train_dataloader.batch_size=4',
    )
    parser.add_argument(
        '--launcher',
        choices=('none', 'pytorch', 'slurm', 'mpi'),
        default='none',
        help='how the processes of a distributed run were started',
    )
    parser.add_argument(
        '--local_rank', '--local-rank', type=int, default=0, help=argparse.SUPPRESS
    )  # given by older launchers


def read_config(path: str) -> Config:
    """The config at ``path``.

    Raises:
        FileError: no such file, with the nearest names beside it.
    """
    file = Path(path)
    if not file.is_file():
        beside = sorted(p.name for p in file.parent.glob('*.py')) if file.parent.is_dir() else []
        close = difflib.get_close_matches(file.name, beside, n=3)
        hint = f'did you mean {" or ".join(close)}?' if close else 'configs lie under configs/'
        raise FileError(f'config {path} does not exist; {hint}')
    return Config.fromfile(path)


def check_host_library(cfg: Config) -> None:
    """The library that the config's ``default_scope`` names must be installed.

    Raises:
        ArgumentError: it is another one, or missing.
    """
    scope = cfg.get('default_scope')
    if scope not in HOST_LIBRARIES:
        raise ArgumentError(
            f'default_scope of the config is {scope!r}; allowed: {", ".join(HOST_LIBRARIES)}'
        )
    try:
        __import__(scope)
    except ModuleNotFoundError as error:
        raise ArgumentError(
            f'the config needs {scope} ({error}); install {HOST_LIBRARIES[scope]}'
        ) from None


def check_checkpoint(path: str) -> str:
    """``path``, which must exist unless it is a URL.

    Raises:
        FileError: it does not.
    """
    remote = urlparse(path).scheme not in ('', 'file') and '://' in path
    if not remote and not Path(path).is_file():
        raise FileError(f'checkpoint {path} does not exist; training writes them to its work dir')
    return path


def load_config(
    args: argparse.Namespace,
    use_folder: Callable[[Config, Path], object] = point_to_folder,
) -> Config:
    """The config of the command line, with the options of `add_common_options` applied.

    Args:
        use_folder: what ``--data`` does with the config and the folder.
    """
    cfg = read_config(args.config)
    check_host_library(cfg)
    cfg.launcher = args.launcher
    cfg.work_dir = (
        args.work_dir or cfg.get('work_dir') or os.path.join('work_dirs', Path(args.config).stem)
    )
    if args.data is not None:
        use_folder(cfg, Path(args.data))
    if args.cfg_options is not None:
        cfg.merge_from_dict(args.cfg_options)
        check_host_library(cfg)
    return cfg


def request_amp(cfg: Config) -> None:
    """Train in mixed precision, whatever the config says."""
    if cfg.optim_wrapper.get('type', 'OptimWrapper') == 'OptimWrapper':
        cfg.optim_wrapper.type = 'AmpOptimWrapper'
        cfg.optim_wrapper.setdefault('loss_scale', 'dynamic')


def request_resume(cfg: Config, resume: str) -> None:
    """Resume from a checkpoint; 'auto': from the last one in the work dir, if there is one."""
    cfg.resume = True
    cfg.load_from = None if resume == 'auto' else check_checkpoint(resume)


def has_checkpoint(work_dir: str) -> bool:
    """Whether a run in ``work_dir`` has left something to resume."""
    return (Path(work_dir) / 'last_checkpoint').is_file()


def request_auto_scale_lr(cfg: Config) -> None:
    """Scale the learning rate by the real batch over the config's base batch.

    Raises:
        ArgumentError: the config states no base batch.
    """
    if 'base_batch_size' not in (cfg.get('auto_scale_lr') or {}):
        raise ArgumentError('--auto-scale-lr needs auto_scale_lr.base_batch_size in the config')
    cfg.auto_scale_lr.enable = True


def say(text: str) -> None:
    """Print a line, once in a distributed run."""
    if int(os.environ.get('RANK', 0)) == 0:
        print(text, flush=True)


def fit_to_device(cfg: Config) -> None:
    """Replace what only works with an accelerator where there is none; says so once.

    Mixed precision becomes fp32. A distributed run synchronises by gloo, and its BatchNorm normalises
    per process, because SyncBN takes no CPU tensors; only running statistics are averaged.
    """
    if get_device() in AMP_DEVICES:
        return
    wrapper = cfg.get('optim_wrapper')
    if wrapper is not None and wrapper.get('type') == 'AmpOptimWrapper':
        say('warning: no accelerator here: training in fp32 instead of mixed precision')
        wrapper.type = 'OptimWrapper'
        for key in ('loss_scale', 'dtype', 'use_fsdp'):
            wrapper.pop(key, None)
    if cfg.get('launcher', 'none') != 'none':
        cfg.sync_bn = None
        cfg.model_wrapper_cfg = ConfigDict(
            type='MMDistributedDataParallel',
            device_ids=None,
            broadcast_buffers=False,
            find_unused_parameters=cfg.get('find_unused_parameters', False),
        )
        # the running statistics are averaged after each epoch instead
        cfg.default_hooks.sync_buffers = dict(type='SyncBuffersHook')
        cfg.env_cfg.dist_cfg = dict(backend='gloo')
        _start_cpu_processes(cfg.launcher)


def _start_cpu_processes(launcher: str) -> None:
    """Mmengine's own start selects a CUDA device, which a CPU does not have."""
    import torch.distributed as dist

    if launcher != 'pytorch':
        raise ArgumentError(
            f'--launcher {launcher} needs accelerators; on CPUs use --launcher pytorch (torchrun)'
        )
    if not is_distributed():
        dist.init_process_group(backend='gloo')


def build_model(cfg: Config) -> nn.Module:
    """The model that ``cfg`` describes, by its host library, without its weights."""
    init_default_scope(cfg.default_scope)
    registry = importlib.import_module(f'{cfg.default_scope}.registry')
    return registry.MODELS.build(cfg.model)


def build_runner(cfg: Config) -> Runner:
    """The Runner of ``cfg``: its own type where it names one, such as FlexibleRunner."""
    fit_to_device(cfg)
    runner_type: Any = cfg.get('runner_type')
    return Runner.from_cfg(cfg) if runner_type is None else RUNNERS.build(cfg)


def request_tensorboard(cfg: Config) -> None:
    """Write curves for TensorBoard too, beside the log.

    Raises:
        ArgumentError: tensorboard is not installed.
    """
    if importlib.util.find_spec('tensorboard') is None:
        raise ArgumentError('--tensorboard needs the package tensorboard: pip install tensorboard')
    cfg.visualizer.vis_backends = [*cfg.visualizer.vis_backends, dict(type='TensorboardVisBackend')]
