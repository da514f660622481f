"""The processes of a run: starting them, and what only one of them does."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypeVar

import torch.distributed as dist
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.dist import barrier, broadcast_object_list, init_dist, is_distributed, is_main_process
from mmengine.utils.dl_utils import set_multi_processing

from ..errors import ArgumentError, UserError

ACCELERATORS = ('cuda', 'npu', 'mlu', 'musa')
PATIENCE = timedelta(days=2)  # reading a large folder takes longer than a step of training may

Result = TypeVar('Result')


def has_accelerator() -> bool:
    """Whether there is a device that mixed precision and SyncBN work on."""
    return get_device() in ACCELERATORS


def say(text: str) -> None:
    """Print a line, once in a distributed run."""
    if is_main_process():
        print(text, flush=True)


def start_processes(cfg: Config) -> None:
    """Start the process group of ``cfg.launcher``: from here on, rank and world size are known.

    mmengine's Runner would do so when it is built, which is after the data were looked at. A run of
    one process, and one that has started, stay as they are.

    Raises:
        ArgumentError: the launcher needs accelerators, and there are none.
    """
    launcher = cfg.get('launcher', 'none')
    if launcher == 'none' or is_distributed():
        return
    env_cfg = cfg.get('env_cfg') or {}
    # first, as the Runner does: starting would choose another start method
    set_multi_processing(**(env_cfg.get('mp_cfg') or {}), distributed=True)
    if has_accelerator():
        dist_cfg = dict(env_cfg.get('dist_cfg') or {})
        if str((cfg.get('strategy') or {}).get('type')) == 'DeepSpeedStrategy':
            dist_cfg['init_backend'] = 'deepspeed'  # as the strategy itself does
        init_dist(launcher, **dist_cfg)
        return
    if launcher != 'pytorch':
        raise ArgumentError(
            f'--launcher {launcher} needs accelerators; on CPUs use --launcher pytorch (torchrun)'
        )
    dist.init_process_group(backend='gloo')  # init_dist would select a CUDA device


def end_processes() -> None:
    """End what `start_processes` started, when every process has come here."""
    if is_distributed():
        barrier()
        dist.destroy_process_group()


def in_main_process(work: Callable[[], Result]) -> Result:
    """What ``work`` gives, done by the main process alone; the others wait for it.

    Args:
        work: gives something small, which is sent to the other processes.

    Raises:
        What ``work`` raises. The other processes leave with status 1 then, without a message of
            their own where it is a `UserError`.
    """
    if not is_distributed():
        return work()
    group = dist.new_group(backend='gloo', timeout=PATIENCE)
    sent: list[Any] = [None, None]  # what work gave, why it failed
    failure: Exception | None = None
    if is_main_process():
        try:
            sent[0] = work()
        except Exception as error:  # raised again below, after the others were told
            failure = error
            sent[1] = '' if isinstance(error, UserError) else f'the main process failed: {error!r}'
    broadcast_object_list(sent, group=group)
    dist.destroy_process_group(group)
    if failure is not None:
        raise failure
    if sent[1] is not None:
        raise SystemExit(sent[1] or 1)
    return sent[0]
