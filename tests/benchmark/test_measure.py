"""How subjects are measured: taken in turns, by a clock, against a matrix product."""

from types import SimpleNamespace

import pytest
import torch

from fastervit_mm.benchmark import timing
from fastervit_mm.benchmark.timing import (
    MATRIX_SIDE,
    PreparedSubject,
    is_out_of_memory,
    matrix_product,
    measure,
    once,
    tf32_off,
    why,
)
from fastervit_mm.errors import ArgumentError
from tests.benchmark.stand_ins import INFER, Clock, reading, subject, tiny_network

A, B = subject('fastervit_0'), subject('fastervit_1')
FLOPS = {A.name: 480, B.name: 90}
TIMES = {A.name: (2, 4, 6), B.name: (1, 8, 3)}
PRODUCT_TIMES = (7, 3, 1, 2, 5, 4, 6, 2, 2, 2)  # once to warm up, then thrice a round: 1, 4, 2


@pytest.fixture
def clock(monkeypatch):
    """Subjects, and a matrix product of 120 operations, that take the times above."""
    clock = Clock()

    def prepare(one, task):
        clock.log.append(f'prepare {one.name}')
        if one.name not in TIMES:
            raise RuntimeError('no such network\nand more')
        call = clock.call(one.name, TIMES[one.name])
        return PreparedSubject(one, one.on(task), tiny_network(), call, FLOPS[one.name], 1234)

    def product(dtype, device):
        clock.log.append(f'product {dtype} {device}')
        return clock.call('mm', PRODUCT_TIMES), 120

    monkeypatch.setattr(timing, 'time', clock)
    monkeypatch.setattr(timing, 'prepare', prepare)
    monkeypatch.setattr(timing, 'matrix_product', product)
    monkeypatch.setattr(timing, '_free', lambda device: clock.log.append(f'free {device}'))
    return clock


def silent(text: str) -> None:
    pass


def test_subjects_are_taken_in_turns(clock):
    measure([A, B], INFER, rounds=3, memory=False, say=silent)
    a_round = [A.name, B.name, 'mm', 'mm', 'mm']
    start = [f'prepare {A.name}', f'prepare {B.name}', 'product fp32 cpu', 'mm']
    assert clock.log == [*start, *3 * a_round, 'free cpu']


def test_the_figures_of_two_subjects(clock):
    first, second = measure([A, B], INFER, rounds=3, memory=False, say=silent)
    assert (first.subject, second.subject) == ('fastervit_0', 'fastervit_1')
    assert (first.seconds, second.seconds) == ((2, 4, 6), (1, 8, 3))
    assert (first.flops, second.flops, first.parameters) == (480, 90, 1234)
    assert first.peak_memory is None
    # round by round the second is 2, 0.5 and 2 times as fast as the first
    assert (first.ratio, second.ratio) == (1, 2)
    # the product does 120 operations in a median of 2 s: 60/s; the subjects 480 in 4 s, 90 in 3 s
    assert (first.matrix_share, second.matrix_share) == (120 / 60, 30 / 60)
    assert first.requested == first.workload == INFER


def test_progress_and_time_left(clock):
    lines = []
    measure([A, B], INFER, rounds=3, memory=False, say=lines.append)
    assert lines == [
        '  1/2 fastervit_0: building, warming up',
        '  2/2 fastervit_1: building, warming up',
        # 2 + 1 + (3 + 1 + 2) s: twice that is left
        '  round 1/3, about 18 s left at this size',
        # 4 + 8 + 15 s more: 36 s in two rounds
        '  round 2/3, about 18 s left at this size',
        '  round 3/3, about 0 s left at this size',
    ]


def test_seven_rounds_and_memory_unless_told_otherwise(clock, monkeypatch):
    monkeypatch.setitem(TIMES, A.name, (1,) * 7)
    monkeypatch.setattr(timing, 'matrix_product', lambda *_: (clock.call('mm', (1,) * 22), 120))
    monkeypatch.setattr(timing, '_peak_memory', lambda prepared: 42)
    lines = []
    (one,) = measure([A], INFER, say=lines.append)
    assert len(one.seconds) == 7 and one.peak_memory == 42
    assert lines[-1] == '  fastervit_0: peak memory'


def test_a_subject_that_fails_is_left_out_with_a_line(clock):
    lines = []
    failing = subject('fastervit_2')
    found = measure([A, failing, B], INFER, rounds=3, memory=False, say=lines.append)
    assert [r.subject for r in found] == [A.name, B.name]
    assert [r.ratio for r in found] == [1, 2]
    assert (
        'error: fastervit_2 at 8x10, batch 2, fp32, infer: RuntimeError: no such network; '
        'it is left out'
    ) in lines
    assert clock.log[1:3] == ['prepare fastervit_2', 'free cpu']


def test_without_the_first_subject_there_are_no_ratios(clock):
    found = measure([subject('fastervit_2'), A, B], INFER, rounds=3, memory=False, say=silent)
    assert [r.ratio for r in found] == [None, None]


def test_nothing_that_can_be_timed_gives_nothing(clock):
    assert measure([subject('fastervit_2')], INFER, rounds=3, say=silent) == []


def test_each_dtype_has_its_own_matrix_product(clock, monkeypatch):
    def product(dtype, device):
        return clock.call(f'mm {dtype}', (1,) * 4), {'fp32': 120, 'bf16': 240}[dtype]

    monkeypatch.setattr(timing, 'matrix_product', product)
    half = subject('fastervit_1+bf16')
    monkeypatch.setitem(TIMES, half.name, (3,))
    monkeypatch.setitem(FLOPS, half.name, 90)
    first, second = measure([A, half], INFER, rounds=1, memory=False, say=silent)
    assert (first.workload.dtype, second.workload.dtype, second.requested.dtype) == (
        'fp32',
        'bf16',
        'fp32',
    )
    assert first.matrix_share == 240 / 120 and second.matrix_share == 30 / 240
    a_round = [A.name, half.name, *['mm fp32'] * 3, *['mm bf16'] * 3]
    assert clock.log[2:-1] == ['mm fp32', 'mm bf16', *a_round]


def test_tf32_is_off_while_subjects_are_timed(clock, monkeypatch):
    seen = []
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = True, True
    original = timing.once

    def watched(call, device):
        matmul, convolution = torch.backends.cuda.matmul, torch.backends.cudnn
        seen.append((matmul.allow_tf32, convolution.allow_tf32))
        return original(call, device)

    monkeypatch.setattr(timing, 'once', watched)
    try:
        measure([A], INFER, rounds=1, memory=False, say=silent)
        with pytest.raises(ZeroDivisionError), tf32_off():
            raise ZeroDivisionError
        assert torch.backends.cuda.matmul.allow_tf32 and torch.backends.cudnn.allow_tf32
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before
    assert set(seen) == {(False, False)}


def test_once_is_the_time_between(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(timing, 'time', clock)
    assert once(clock.call('a', (2.5, 1)), 'cpu') == 2.5
    assert clock.log == ['a']


def test_once_on_a_gpu_waits_for_it_and_reads_events(monkeypatch):
    log = []

    class Event:
        def __init__(self, enable_timing):
            assert enable_timing is True

        def record(self):
            log.append(self)

        def elapsed_time(self, end):
            assert log.index(self) < log.index(end)
            return 1500.0  # ms

    monkeypatch.setattr(torch.cuda, 'Event', Event)
    monkeypatch.setattr(torch.cuda, 'synchronize', lambda: log.append('wait'))
    assert once(lambda: log.append('call'), 'cuda') == 1.5
    assert [entry if isinstance(entry, str) else 'event' for entry in log] == [
        *('wait', 'event', 'call', 'event', 'wait')
    ]


def test_the_matrix_product_is_square_and_counts_two_a_multiply_add(monkeypatch):
    assert MATRIX_SIDE == {'cpu': 2048, 'cuda': 8192}
    monkeypatch.setitem(MATRIX_SIDE, 'cpu', 4)
    seen = []
    product = torch.mm

    def watched(a, b, out):
        seen.append((a, b, out))
        return product(a, b, out=out)

    monkeypatch.setattr(torch, 'mm', watched)
    multiply, flops = matrix_product('bf16', 'cpu')
    multiply()
    ((a, b, out),) = seen
    assert flops == 2 * 4 * 4 * 4
    assert a.shape == b.shape == (4, 4) and a.dtype == b.dtype == out.dtype == torch.bfloat16
    assert torch.equal(out, product(a, b)) and not torch.equal(a, b)


def test_statistics_of_a_reading():
    one = reading(seconds=(2.0, 1.0, 4.0), flops=8 * 10**12)  # batch 2
    assert (one.median, one.spread) == (2, 1.5)
    assert (one.images_per_second, one.flops_per_second) == (1, 4 * 10**12)


def test_errors_in_one_line():
    assert why(torch.OutOfMemoryError('CUDA out of memory. Tried ...')) == 'out of memory'
    assert why(MemoryError()) == 'out of memory'
    assert why(RuntimeError("DefaultCPUAllocator: can't allocate memory: ...")) == 'out of memory'
    assert not is_out_of_memory(ValueError("can't allocate memory"))
    assert why(RuntimeError(' first\nsecond')) == 'RuntimeError: first'
    assert why(ValueError()) == 'ValueError: '
    assert why(ArgumentError('name: what is wrong')) == 'name: what is wrong'
    assert why(ValueError('x' * 400)) == 'ValueError: ' + 'x' * 288


@pytest.mark.parametrize(('device', 'emptied'), [('cpu', []), ('cuda', ['emptied'])])
def test_memory_is_given_back_after_a_task(monkeypatch, device, emptied):
    log = []
    monkeypatch.setattr(torch.cuda, 'empty_cache', lambda: log.append('emptied'))
    monkeypatch.setattr(torch.compiler, 'reset', lambda: log.append('compilations forgotten'))
    monkeypatch.setattr(timing, 'gc', SimpleNamespace(collect=lambda: log.append('collected')))
    timing._free(device)
    assert log == ['collected', 'compilations forgotten', *emptied]
