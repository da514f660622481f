"""How subjects are timed: in turns, after a warm-up, in one process; memory on a CPU in its own."""

from __future__ import annotations

import gc
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from ..errors import UserError
from .subjects import DTYPES, Subject, Task, casts_weights, change_model, load_model, make_call

MATRIX_SIDE = {'cpu': 2048, 'cuda': 8192}


class Reading(NamedTuple):
    """What was measured of one subject at one task; times in s, memory in bytes.

    Attributes:
        asked: the task of all subjects; task: the same in the subject's own dtype.
        seconds: each measurement, in the order in which they were taken.
        flops: floating-point operations of one call, two a multiply-add.
        parameters: of the model before its changes.
        peak_memory: above that of the loaded model; None where it was not measured.
        ratio: speed over that of the first subject: the median over rounds of its time over ours.
        matrix_share: FLOP/s over those of a matrix product in the same dtype and run.
    """

    subject: str
    asked: Task
    task: Task
    seconds: tuple[float, ...]
    flops: int
    parameters: int
    peak_memory: int | None
    ratio: float | None
    matrix_share: float

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    @property
    def spread(self) -> float:
        """(largest - smallest) / median."""
        return (max(self.seconds) - min(self.seconds)) / self.median

    @property
    def images_per_second(self) -> float:
        return self.task.batch / self.median

    @property
    def flops_per_second(self) -> float:
        return self.flops / self.median


class Contestant(NamedTuple):
    """A subject made ready for a task."""

    subject: Subject
    task: Task
    model: nn.Module
    call: Callable[[], None]
    flops: int
    parameters: int


def once(call: Callable[[], None], device: str) -> float:
    """Seconds of one call: events on a GPU, the clock on a CPU."""
    if device == 'cuda':
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        torch.cuda.synchronize()
        start.record()
        call()
        end.record()
        torch.cuda.synchronize()
        return start.elapsed_time(end) / 1e3
    begin = time.perf_counter()
    call()
    return time.perf_counter() - begin


def count_flops(subject: Subject, task: Task) -> int:
    """Floating-point operations of one call of the unchanged model, attention included."""
    plain = subject._replace(changes=frozenset())
    if casts_weights(plain, task):
        task = task._replace(dtype='fp32')
    call = make_call(load_model(plain, task), plain, task)
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        call()
    return counter.get_total_flops()


def prepare(subject: Subject, task: Task) -> Contestant:
    """Count a subject's arithmetic, build it, change it as asked and warm it up."""
    task = subject.on(task)
    flops = count_flops(subject, task)
    model = load_model(subject, task)
    parameters = sum(p.numel() for p in model.parameters())
    model = change_model(model, subject, task)
    call = make_call(model, subject, task)
    for _ in range(2):
        call()
    return Contestant(subject, task, model, call, flops, parameters)


def matrix_product(dtype: str, device: str) -> tuple[Callable[[], None], int]:
    """A square matrix product and its floating-point operations."""
    side = MATRIX_SIDE[device]
    a, b = (torch.randn(side, side, device=device, dtype=DTYPES[dtype]) for _ in range(2))
    out = torch.empty_like(a)

    def multiply() -> None:
        torch.mm(a, b, out=out)

    return multiply, 2 * side**3


@contextmanager
def tf32_off() -> Iterator[None]:
    """fp32 means fp32, for every subject and for the matrix product."""
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


def is_out_of_memory(error: BaseException) -> bool:
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)


def why(error: BaseException) -> str:
    """One line for a subject that cannot be timed."""
    if is_out_of_memory(error):
        return 'out of memory'
    if isinstance(error, UserError):
        return str(error)
    first = (str(error).strip().splitlines() or [''])[0]
    return f'{type(error).__name__}: {first}'[:300]


def measure(
    subjects: Sequence[Subject],
    task: Task,
    *,
    rounds: int = 7,
    memory: bool = True,
    say: Callable[[str], None] = print,
) -> list[Reading]:
    """Time ``subjects`` at ``task`` in turns: A B C A B C ...

    Args:
        rounds: measurements of each subject.
        memory: measure peak memory too; on a CPU each subject is run once more in its own
            process.
        say: told about progress and about subjects that cannot be timed, which are left out.
    """
    with tf32_off():
        contestants = []
        for i, subject in enumerate(subjects, 1):
            say(f'  {i}/{len(subjects)} {subject.name}: building, warming up')
            try:
                contestants.append(prepare(subject, task))
            except Exception as error:  # whatever a network of others' cannot do
                say(f'error: {subject.name} at {task}: {why(error)}; it is left out')
                _free(task.device)
        products = {
            dtype: matrix_product(dtype, task.device)
            for dtype in dict.fromkeys(contestant.task.dtype for contestant in contestants)
        }
        for multiply, _ in products.values():
            multiply()
        times, product_times = _in_turns(contestants, products, task, rounds, say)
    first = times[0] if contestants and contestants[0].subject is subjects[0] else None
    readings = []
    for contestant, seconds in zip(contestants, times, strict=True):
        subject, dtype = contestant.subject, contestant.task.dtype
        peak = None
        if memory:
            say(f'  {subject.name}: peak memory')
            peak = _peak_memory(contestant)
        ratio = first and statistics.median(a / b for a, b in zip(first, seconds, strict=True))
        product = products[dtype][1] / statistics.median(product_times[dtype])
        rate = contestant.flops / statistics.median(seconds)
        readings.append(
            Reading(
                subject.name,
                task,
                contestant.task,
                tuple(seconds),
                contestant.flops,
                contestant.parameters,
                peak,
                ratio,
                rate / product,
            )
        )
    contestants.clear()
    _free(task.device)
    return readings


def _in_turns(
    contestants: Sequence[Contestant],
    products: dict[str, tuple[Callable[[], None], int]],
    task: Task,
    rounds: int,
    say: Callable[[str], None],
) -> tuple[list[list[float]], dict[str, list[float]]]:
    """Seconds of each measurement: of each contestant, and of the matrix product in each dtype."""
    times: list[list[float]] = [[] for _ in contestants]
    product_times: dict[str, list[float]] = {dtype: [] for dtype in products}
    start = time.perf_counter()
    for i in range(rounds):
        for contestant, seconds in zip(contestants, times, strict=True):
            seconds.append(once(contestant.call, task.device))
        for dtype, (multiply, _) in products.items():
            product_times[dtype].append(min(once(multiply, task.device) for _ in range(3)))
        left = (time.perf_counter() - start) / (i + 1) * (rounds - i - 1)
        say(f'  round {i + 1}/{rounds}, about {left:.0f} s left at this size')
    return times, product_times


def _free(device: str) -> None:
    gc.collect()
    torch.compiler.reset()
    if device == 'cuda':
        torch.cuda.empty_cache()


def _peak_memory(contestant: Contestant) -> int | None:
    """Peak bytes of one call above what was there before it."""
    if contestant.task.device == 'cuda':
        contestant.model.zero_grad(set_to_none=True)
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        contestant.call()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - before
    if not sys.platform.startswith('linux'):
        return None
    order = dict(
        subject=contestant.subject._replace(changes=sorted(contestant.subject.changes))._asdict(),
        task=contestant.task._asdict(),
        threads=torch.get_num_threads(),
    )
    answer = subprocess.run(
        [sys.executable, '-m', 'fastervit_mm.benchmark.resident', json.dumps(order)],
        capture_output=True,
        text=True,
    )
    return int(answer.stdout.split()[-1]) if answer.returncode == 0 else None
