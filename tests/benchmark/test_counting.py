"""What is counted of a subject: operations, parameters, peak memory."""

import json
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.nn.functional import scaled_dot_product_attention

from fastervit_mm.benchmark import resident, timing
from fastervit_mm.benchmark.timing import PreparedSubject, count_flops, prepare
from tests.benchmark.stand_ins import INFER, TRAIN, Clock, subject, tiny_network

# two images of 8x10 px: 4 filters of 3x3x3 at each pixel, then 320 x 5; two operations a multiply-add
CONVOLUTION = 2 * (2 * 8 * 10 * 4 * 27)
LINEAR = 2 * (2 * 320 * 5)


@pytest.fixture
def loaded(monkeypatch):
    """`load_model` gives a tiny network; which subjects and tasks it was asked for."""
    asked = []

    def load(one, task):
        asked.append((one, task))
        return tiny_network().train(task.mode == 'train')

    monkeypatch.setattr(timing, 'load_model', load)
    return asked


def test_operations_of_a_forward(loaded):
    assert count_flops(subject(), INFER) == CONVOLUTION + LINEAR == 40_960


def test_operations_of_a_training_step(loaded):
    """Backward: as much again for the weights, and for the inputs of all but the first layer."""
    assert count_flops(subject(), TRAIN) == 2 * CONVOLUTION + 3 * LINEAR == 88_320


def test_operations_of_attention_are_counted(monkeypatch):
    class Attend(nn.Module):
        def forward(self, x):
            x = x.flatten(2).unsqueeze(1)  # 2 images, 1 head, 3 tokens of 80 channels
            return scaled_dot_product_attention(x, x, x)

    monkeypatch.setattr(timing, 'load_model', lambda *_: Attend())
    # two products: 3 x 80 x 3 and 3 x 3 x 80 multiply-adds an image
    assert count_flops(subject(), INFER) == 2 * 2 * (3 * 80 * 3 + 3 * 3 * 80)


def test_the_unchanged_model_is_counted_in_fp32(loaded):
    count_flops(subject('fastervit_0+fused+compiled'), INFER._replace(dtype='bf16'))
    ((one, task),) = loaded
    assert one.changes == frozenset() and one.name == 'fastervit_0+fused+compiled'
    assert task == INFER


def test_training_is_counted_in_its_own_dtype(loaded):
    count_flops(subject(), TRAIN._replace(dtype='bf16'))
    assert loaded[0][1] == TRAIN._replace(dtype='bf16')


def test_a_subject_is_counted_then_changed_then_warmed_up_twice(loaded, monkeypatch):
    clock, one = Clock(), subject('fastervit_0+fused+bf16')
    changed = nn.Linear(1, 1)
    monkeypatch.setattr(timing, 'count_flops', lambda *given: clock.log.append('count') or 77)

    def change(model, given, task):
        assert isinstance(model, nn.Sequential) and given is one and task.dtype == 'bf16'
        clock.log.append('change')
        return changed

    def make(model, given, task):
        assert model is changed and given is one and task.dtype == 'bf16'
        return clock.call('call', (1, 1, 1))

    monkeypatch.setattr(timing, 'change_model', change)
    monkeypatch.setattr(timing, 'make_call', make)
    ready = prepare(one, INFER)
    assert clock.log == ['count', 'change', 'call', 'call']
    assert (ready.subject, ready.workload) == (one, INFER._replace(dtype='bf16'))
    assert ready.model is changed and ready.flops == 77
    assert ready.parameters == 4 * 27 + 320 * 5  # before the change


def prepared(task=INFER, call=lambda: None, model=None) -> PreparedSubject:
    model = model or nn.Linear(1, 1)
    return PreparedSubject(subject('fastervit_0+fused+compiled'), task, model, call, 1, 2)


def test_peak_memory_on_a_gpu_is_above_what_was_there(monkeypatch):
    log, model = [], nn.Linear(1, 1)
    model.weight.grad = torch.ones(1, 1)
    for name, value in dict(memory_allocated=100, max_memory_allocated=350).items():
        monkeypatch.setattr(torch.cuda, name, lambda value=value: value)
    for name in ('synchronize', 'reset_peak_memory_stats'):
        monkeypatch.setattr(torch.cuda, name, lambda name=name: log.append(name))
    task = INFER._replace(device='cuda')
    peak = timing._peak_memory(prepared(task, lambda: log.append('call'), model))
    assert peak == 250 and model.weight.grad is None
    assert log == ['synchronize', 'reset_peak_memory_stats', 'call', 'synchronize']


@pytest.mark.parametrize(('status', 'peak'), [(0, 123), (1, None)])
def test_peak_memory_on_a_cpu_is_asked_of_another_process(monkeypatch, status, peak):
    orders = []

    def run(command, **options):
        orders.append(command)
        assert options == dict(capture_output=True, text=True)
        return SimpleNamespace(returncode=status, stdout='compiling\n123\n')

    monkeypatch.setattr(timing.sys, 'platform', 'linux')
    monkeypatch.setattr(subprocess, 'run', run)
    assert timing._peak_memory(prepared()) == peak
    ((*command, order),) = orders
    assert command == [sys.executable, '-m', 'fastervit_mm.benchmark.resident']
    assert json.loads(order) == dict(
        subject=dict(
            name='fastervit_0+fused+compiled',
            source='fastervit_0',
            changes=['compiled', 'fused'],
            dtype=None,
            part='backbone',
        ),
        workload=dict(height=8, width=10, batch=2, dtype='fp32', mode='infer', device='cpu'),
        threads=torch.get_num_threads(),
    )


def test_peak_memory_is_unknown_elsewhere(monkeypatch):
    monkeypatch.setattr(timing.sys, 'platform', 'darwin')
    assert timing._peak_memory(prepared()) is None


@pytest.fixture
def proc(monkeypatch, tmp_path):
    """A /proc/self of our own."""
    status = 'Name:\tpython\nVmHWM:\t    50 kB\nVmRSSx:\t 9 kB\nVmRSS:\t    20 kB\n'
    (tmp_path / 'status').write_text(status)
    monkeypatch.setattr(resident, 'Path', lambda name: tmp_path / name.removeprefix('/proc/self/'))
    return tmp_path


def test_resident_memory_is_read_in_bytes(proc):
    assert resident.resident('VmRSS') == 20 * 1024
    assert resident.resident('VmHWM') == 50 * 1024
    with pytest.raises(KeyError, match='VmSwap'):
        resident.resident('VmSwap')


@pytest.mark.parametrize(('name', 'calls'), [('fastervit_0', 1), ('fastervit_0+compiled', 2)])
def test_the_process_prints_how_much_the_call_took(proc, monkeypatch, capsys, name, calls):
    one, log = subject(name), []
    order = dict(
        subject=one._replace(changes=sorted(one.changes))._asdict(),
        workload=INFER._asdict(),
        threads=1,
    )
    monkeypatch.setattr(sys, 'argv', ['resident', json.dumps(order)])
    monkeypatch.setattr(torch, 'set_num_threads', lambda count: log.append(f'{count} threads'))
    monkeypatch.setattr(resident, 'load_model', lambda *given: ('model', *given))
    monkeypatch.setattr(resident, 'change_model', lambda model, *given: ('changed', model, given))

    def make(model, *given):
        assert model == ('changed', ('model', one, INFER), (one, INFER))
        assert given == (one, INFER)
        return lambda: log.append('call')

    monkeypatch.setattr(resident, 'make_call', make)
    resident.main()
    assert log == ['1 threads', *['call'] * calls]
    assert capsys.readouterr().out == f'{30 * 1024}\n'
    assert (proc / 'clear_refs').read_text() == '5'  # which resets the peak
