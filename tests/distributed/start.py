"""Processes of a distributed run, started by torchrun or, seconds quicker, forked from an import."""

import io
import os
import pickle
import socket
import subprocess
import sys
import traceback
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from functools import partial
from multiprocessing import get_context
from typing import Any

from tests.helpers import ROOT

forking = get_context('forkserver')  # never a copy of pytest's own process
forking.set_forkserver_preload(['tests.distributed.imported'])
LONGEST = 240  # s that a test's processes may take, on a busy machine


def free_port() -> int:
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        return free.getsockname()[1]


def _as_rank(rank: int, settings: dict[str, str], work: Callable[[], Any], answers: Any) -> None:
    os.environ.update(settings, RANK=str(rank), LOCAL_RANK=str(rank))
    try:
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            given = pickle.dumps(work())  # numbers, and no handle to this process's memory
        answers.put((rank, given, ''))
    except BaseException:
        answers.put((rank, b'', traceback.format_exc()))


def in_processes(count: int, work: Callable[..., Any], *args: Any, **options: Any) -> list[Any]:
    """What ``work(*args, **options)`` gives in each of ``count`` processes, with torchrun's variables.

    Args:
        count: processes; of one, only their own group is left out.
        work: a function of a module.
        *args: for it.
        **options: the same.
    """
    settings = dict(CUDA_VISIBLE_DEVICES='-1', OMP_NUM_THREADS='1')
    if count > 1:
        settings |= dict(WORLD_SIZE=str(count), LOCAL_WORLD_SIZE=str(count))
        settings |= dict(MASTER_ADDR='127.0.0.1', MASTER_PORT=str(free_port()))
    answers, call = forking.Queue(), partial(work, *args, **options)
    processes = [
        forking.Process(target=_as_rank, args=(rank, settings, call, answers), daemon=True)
        for rank in range(count)
    ]
    for process in processes:
        process.start()
    try:
        given = {}
        while len(given) < count:
            rank, content, failure = answers.get(timeout=LONGEST)
            assert not failure, f'process {rank}: {failure}'
            given[rank] = pickle.loads(content)
        return [given[rank] for rank in range(count)]
    finally:
        for process in processes:
            process.terminate()
            process.join()


def torchrun_command(*command: Any, processes: int = 2, options: tuple = ('--standalone',)) -> list:
    """Command line that runs a script in several processes, which meet at a port that is free."""
    run = [sys.executable, '-m', 'torch.distributed.run', *options]
    return [*map(str, [*run, '--nproc_per_node', processes, *command])]


def start(command: list[str]) -> subprocess.Popen:
    """Start a command from the project's root, without accelerators and with one thread each."""
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=dict(os.environ, PYTHONPATH=str(ROOT), CUDA_VISIBLE_DEVICES='-1', OMP_NUM_THREADS='1'),
    )


def finish(started: subprocess.Popen) -> subprocess.CompletedProcess:
    """What a command says to its end."""
    try:
        out, err = started.communicate(timeout=LONGEST)
    except subprocess.TimeoutExpired:
        started.terminate()  # torchrun ends its processes then
        started.communicate()
        raise
    return subprocess.CompletedProcess(started.args, started.returncode, out, err)


def torchrun(*command: Any, processes: int = 2) -> subprocess.CompletedProcess:
    """Run a script in several processes, to its end."""
    return finish(start(torchrun_command(*command, processes=processes)))
