"""How subjects are timed: in turns, after a warm-up, in one process.

Peak memory on a CPU is measured in a process of its own, by `resident`.
"""

from __future__ import annotations

import gc
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from ..errors import UserError
from .subjects import DTYPES, Subject, Workload, casts_weights, change_model, load_model, make_call

MATRIX_SIDE = {'cpu': 2048, 'cuda': 8192}


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """What was measured of one subject at one workload; times in s, memory in bytes.

    Attributes:
        subject: its name.
        requested: the workload that all subjects were given.
        workload: the same in the subject's own dtype.
        seconds: of each call, in the order in which they were timed.
        flops: floating-point operations of one call, two a multiply-add.
        parameters: of the model before its changes.
        peak_memory: above that of the loaded model; None where it was not measured.
        ratio: speed over that of the first subject: the median over rounds of its time over ours;
            None where the first subject could not be timed.
        matrix_share: FLOP/s over those of a matrix product in the same dtype and run.
    """

    subject: str
    requested: Workload
    workload: Workload
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
        return self.workload.batch / self.median

    @property
    def flops_per_second(self) -> float:
        return self.flops / self.median


class PreparedSubject(NamedTuple):
    """A subject whose call can be timed.

    Attributes:
        subject: as named.
        workload: in the subject's own dtype.
        model: built, changed and warmed up.
        call: what is timed.
        flops: of one call of the unchanged model.
        parameters: of the unchanged model.
    """

    subject: Subject
    workload: Workload
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


def count_flops(subject: Subject, workload: Workload) -> int:
    """Floating-point operations of one call of the unchanged model, attention included."""
    plain = subject._replace(changes=frozenset())
    if casts_weights(plain, workload):
        workload = workload._replace(dtype='fp32')
    # older torch (2.5) counts nothing in inference mode
    call = make_call(load_model(plain, workload), plain, workload, torch.no_grad)
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        call()
    return counter.get_total_flops()


def prepare(subject: Subject, workload: Workload) -> PreparedSubject:
    """Count a subject's arithmetic, build it, change it as asked and warm it up."""
    workload = subject.on(workload)
    flops = count_flops(subject, workload)
    model = load_model(subject, workload)
    parameters = sum(p.numel() for p in model.parameters())
    model = change_model(model, subject, workload)
    call = make_call(model, subject, workload)
    for _ in range(2):
        call()
    return PreparedSubject(subject, workload, model, call, flops, parameters)


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
    """Whether the memory of a GPU or of the machine was too small."""
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
    workload: Workload,
    *,
    rounds: int = 7,
    memory: bool = True,
    say: Callable[[str], None] = print,
) -> list[Measurement]:
    """Time ``subjects`` at ``workload`` in turns: A B C A B C ...

    Args:
        subjects: the first is the one that the others' speed is compared with.
        workload: one for all; a subject with a dtype of its own takes that.
        rounds: timed calls of each subject.
        memory: measure peak memory too; on a CPU each subject is run once more in its own
            process.
        say: told about progress and about subjects that cannot be timed, which are left out.
    """
    with tf32_off():
        prepared = _prepare_all(subjects, workload, say)
        products = {
            dtype: matrix_product(dtype, workload.device)
            for dtype in dict.fromkeys(ready.workload.dtype for ready in prepared)
        }
        for multiply, _ in products.values():
            multiply()
        times, product_times = _in_turns(prepared, products, workload, rounds, say)
    first = times[0] if prepared and prepared[0].subject is subjects[0] else None
    measurements = []
    for ready, seconds in zip(prepared, times, strict=True):
        dtype = ready.workload.dtype
        peak = None
        if memory:
            say(f'  {ready.subject.name}: peak memory')
            peak = _peak_memory(ready)
        product_rate = products[dtype][1] / statistics.median(product_times[dtype])
        measurements.append(
            Measurement(
                subject=ready.subject.name,
                requested=workload,
                workload=ready.workload,
                seconds=tuple(seconds),
                flops=ready.flops,
                parameters=ready.parameters,
                peak_memory=peak,
                ratio=None if first is None else _ratio(first, seconds),
                matrix_share=ready.flops / statistics.median(seconds) / product_rate,
            )
        )
    prepared.clear()
    _free(workload.device)
    return measurements


def _prepare_all(
    subjects: Sequence[Subject], workload: Workload, say: Callable[[str], None]
) -> list[PreparedSubject]:
    """The subjects that can be timed, in their order; ``say`` is told why one cannot."""
    prepared = []
    for i, subject in enumerate(subjects, 1):
        say(f'  {i}/{len(subjects)} {subject.name}: building, warming up')
        try:
            prepared.append(prepare(subject, workload))
        except Exception as error:  # whatever a network of others' cannot do
            say(f'error: {subject.name} at {workload}: {why(error)}; it is left out')
            _free(workload.device)
    return prepared


def _ratio(first: Sequence[float], seconds: Sequence[float]) -> float:
    """How many times as fast as the first subject: the median over the rounds."""
    return statistics.median(a / b for a, b in zip(first, seconds, strict=True))


def _in_turns(
    prepared: Sequence[PreparedSubject],
    products: dict[str, tuple[Callable[[], None], int]],
    workload: Workload,
    rounds: int,
    say: Callable[[str], None],
) -> tuple[list[list[float]], dict[str, list[float]]]:
    """Seconds of each call: of each subject, and of the matrix product in each dtype."""
    times: list[list[float]] = [[] for _ in prepared]
    product_times: dict[str, list[float]] = {dtype: [] for dtype in products}
    start = time.perf_counter()
    for i in range(rounds):
        for ready, seconds in zip(prepared, times, strict=True):
            seconds.append(once(ready.call, workload.device))
        for dtype, (multiply, _) in products.items():
            product_times[dtype].append(min(once(multiply, workload.device) for _ in range(3)))
        left = (time.perf_counter() - start) / (i + 1) * (rounds - i - 1)
        say(f'  round {i + 1}/{rounds}, about {left:.0f} s left at this size')
    return times, product_times


def _free(device: str) -> None:
    """Give memory back, and forget what was compiled."""
    gc.collect()
    torch.compiler.reset()
    if device == 'cuda':
        torch.cuda.empty_cache()


def _peak_memory(ready: PreparedSubject) -> int | None:
    """Peak bytes of one call above what was there before it."""
    if ready.workload.device == 'cuda':
        ready.model.zero_grad(set_to_none=True)
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        ready.call()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - before
    if not sys.platform.startswith('linux'):
        return None
    order = dict(
        subject=dict(ready.subject._asdict(), changes=sorted(ready.subject.changes)),
        workload=ready.workload._asdict(),
        threads=torch.get_num_threads(),
    )
    answer = subprocess.run(
        [sys.executable, '-m', 'fastervit_mm.benchmark.resident', json.dumps(order)],
        capture_output=True,
        text=True,
    )
    return int(answer.stdout.split()[-1]) if answer.returncode == 0 else None
