"""A clock that only calls move, subjects and readings that were never measured."""

from collections.abc import Callable, Iterable
from dataclasses import replace

from torch import nn

from fastervit_mm.benchmark.subjects import Subject, Workload, parse_subject
from fastervit_mm.benchmark.timing import Measurement

INFER = Workload(8, 10, 2, 'fp32', 'infer', 'cpu')
TRAIN = INFER._replace(mode='train')


class Clock:
    """Seconds pass only as told; `log` keeps who let them pass."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.log: list[str] = []

    def perf_counter(self) -> float:
        return self.now

    def call(self, name: str, seconds: Iterable[float]) -> Callable[[], None]:
        """What takes the next of ``seconds`` each time it is called."""
        waiting = iter(seconds)

        def take() -> None:
            self.log.append(name)
            self.now += next(waiting)

        return take


def subject(name: str = 'fastervit_0', part: str = 'model') -> Subject:
    return parse_subject(name, part)


def reading(
    name: str = 'fastervit_0', task: Workload = INFER, seconds=(1.0,), **changes
) -> Measurement:
    plain = Measurement(
        subject=name,
        requested=task,
        workload=task,
        seconds=tuple(seconds),
        flops=10**9,
        parameters=10**6,
        peak_memory=None,
        ratio=None,
        matrix_share=0.25,
    )
    return replace(plain, **changes)


def tiny_network() -> nn.Sequential:
    """4 convolution filters of 3x3 on 8x10 px, then 5 outputs: without biases."""
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1, bias=False),
        nn.Flatten(),
        nn.Linear(4 * 8 * 10, 5, bias=False),
    )
