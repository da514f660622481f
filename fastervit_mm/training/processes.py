"""The processes of a run: starting them, what only one of them does, and how they end together."""

from __future__ import annotations

import os
import socket
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import torch.distributed as dist
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.dist import (
    all_gather_object,
    barrier,
    get_rank,
    get_world_size,
    init_dist,
    is_distributed,
    is_main_process,
)
from mmengine.utils.dl_utils import set_multi_processing

from ..errors import ArgumentError, UserError

ACCELERATORS = ('cuda', 'npu', 'mlu', 'musa')
# s that a process waits for another; NCCL's own 10 minutes are less than the metrics of a large
# data set take, which one process computes
TIMEOUT = 1800
PATIENCE = timedelta(days=2)  # reading a large folder takes longer than a step of training may
GRACE = 1.0  # s: the launcher ends all as soon as one has left, and one is to say why first

Result = TypeVar('Result')
_patient: dict[
    str, Any
] = {}  # the group of `_patient_group`, and that of all processes it was made for


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
    one process, and one that has started, stay as they are. A process waits `TIMEOUT` s for another,
    or ``env_cfg.dist_cfg.timeout``.

    Raises:
        ArgumentError: the launcher needs accelerators, and there are none; or torchrun has started
            several processes that know nothing of each other.
    """
    if is_distributed():
        return
    launcher = cfg.get('launcher', 'none')
    if launcher == 'none':
        _check_alone()
        return
    env_cfg = cfg.get('env_cfg') or {}
    # first, as the Runner does: starting would choose another start method
    set_multi_processing(**(env_cfg.get('mp_cfg') or {}), distributed=True)
    dist_cfg: dict[str, Any] = dict(timeout=TIMEOUT) | dict(env_cfg.get('dist_cfg') or {})
    if has_accelerator():
        if str((cfg.get('strategy') or {}).get('type')) == 'DeepSpeedStrategy':
            dist_cfg['init_backend'] = 'deepspeed'  # as the strategy itself does
        init_dist(launcher, **dist_cfg)
        return
    if launcher != 'pytorch':
        raise ArgumentError(
            f'--launcher {launcher} needs accelerators; on CPUs use --launcher pytorch (torchrun)'
        )
    # init_dist would select a CUDA device
    dist.init_process_group(backend='gloo', timeout=timedelta(seconds=dist_cfg['timeout']))


def _check_alone() -> None:
    """Processes that do not know of each other would write the same files.

    Raises:
        ArgumentError: torchrun has started several (other variables than its own are not believed);
            all but the first of them leave in silence.
    """
    if 'TORCHELASTIC_RUN_ID' not in os.environ or os.environ.get('WORLD_SIZE', '1') == '1':
        return
    if os.environ['RANK'] != '0':
        _leave()
    raise ArgumentError(
        f'torchrun has started {os.environ["WORLD_SIZE"]} processes, but --launcher is none: each '
        'would do the whole work, into the same files; add --launcher pytorch'
    )


def end_processes() -> None:
    """End what `start_processes` started, when every process has come here."""
    if is_distributed():
        barrier()
        _patient.clear()
        dist.destroy_process_group()


def _leave(message: str = '') -> NoReturn:
    """Leave with status 1, after the process that says why."""
    time.sleep(GRACE)
    raise SystemExit(message or 1)


def end_all(error: UserError) -> NoReturn:
    """End a run for a reason that every process knows; all of them call this.

    Raises:
        UserError: ``error``, in the main process. The others leave with status 1 after it.
    """
    if not is_main_process():
        _leave()
    raise error


@contextmanager
def lost_process_named() -> Iterator[None]:
    """Inside, one line says that another process is gone or hangs, in place of a page.

    Of several processes that notice, the launcher ends those that have not said it yet.

    Raises:
        UserError: a process did not answer.
    """
    try:
        yield
    except RuntimeError as error:
        # gloo has no error of its own; its sources stand in the text
        if not isinstance(error, dist.DistError) and 'gloo/transport' not in str(error):
            raise
        rank = get_rank()
        time.sleep(min(rank, 10) * GRACE)
        raise UserError(
            f'process {rank} ends: another one of the {get_world_size()} has ended or does not answer '
            f'({str(error).splitlines()[0]}); what it said last stands above, or in the log of its '
            'machine; go on with --resume'
        ) from None


def check_same_everywhere(what: str, value: Any) -> None:
    """All processes must have come to the same.

    Args:
        what: the value is, for the message.
        value: of this process; small.

    Raises:
        ArgumentError: they have not, in the main process; the others leave with status 1.
    """
    values = all_gather_object(value)
    other = next((i for i, v in enumerate(values) if v != values[0]), None)
    if other is not None:
        end_all(
            ArgumentError(
                f'{what} is {values[0]!r} in process 0 and {values[other]!r} in process {other}; without '
                'a disk that all machines share, each needs the same files in the same places'
            )
        )


def in_main_process(work: Callable[[], Result], folder: Path | None = None) -> Result:
    """What ``work`` gives, done by the main process alone; the others wait for it.

    Args:
        work: gives something small, which is sent to the other processes.
        folder: that it writes into. One process of each machine that does not share it with the
            main process works for its machine too. Default None: nothing is written.

    Raises:
        What ``work`` raises. The other processes leave with status 1 then, without a message of
            their own where it is a `UserError`.
    """
    if not is_distributed():
        return work()
    group = _patient_group()
    workers = _workers(folder, group)
    given: Any = None
    failure: Exception | None = None
    if get_rank() in workers:
        try:
            given = work()
        except Exception as error:  # raised again below, after the others were told
            failure = error
    text = '' if isinstance(failure, UserError) else f'failed: {failure!r}'
    outcomes = _gather((given, None if failure is None else text), group)
    if failure is not None:
        raise failure
    for rank, (_, why) in enumerate(outcomes):
        if why is not None:
            _leave(why and f'{"the main process" if rank == 0 else f"process {rank}"} {why}')
    return outcomes[workers[get_rank()]][0]


def _patient_group() -> Any:
    """A group of all processes that wait `PATIENCE` for each other.

    Made once: torch 2.5 now and then hangs where a group goes right after it was used.
    """
    if _patient.get('of') is not dist.group.WORLD:
        _patient.update(of=dist.group.WORLD, group=dist.new_group(backend='gloo', timeout=PATIENCE))
    return _patient['group']


def _gather(value: Any, group: Any) -> list[Any]:
    """The values of all processes, in their order."""
    values: list[Any] = [None] * get_world_size()
    dist.all_gather_object(values, value, group=group)
    return values


def _workers(folder: Path | None, group: Any) -> list[int]:
    """For each process, the rank of the one that works for it.

    Args:
        folder: as in `in_main_process`.
        group: of all processes.
    """
    if folder is None:
        return [0] * get_world_size()
    # a name that was never looked for: network disks remember for a while what was not there
    mark = folder / f'.{_gather(uuid.uuid4().hex, group)[0]}'
    if is_main_process():
        folder.mkdir(parents=True, exist_ok=True)
        mark.touch()
    _gather(None, group)
    places = _gather((_machine(), mark.is_file()), group)
    if is_main_process():
        mark.unlink()
    return [0 if shared else places.index((machine, False)) for machine, shared in places]


def _machine() -> str:
    """The machine of this process, as its launcher names it."""
    names = (os.environ.get(variable) for variable in ('GROUP_RANK', 'SLURM_NODEID'))
    return next((name for name in names if name), socket.gethostname())
