"""tools/benchmark.py: what its options mean, what it prints, and how it leaves."""

import argparse
import importlib.util
import json
import sys

import pytest
import torch

from fastervit_mm.benchmark.subjects import Workload, parse_subject
from fastervit_mm.config.argument_types import positive_int
from fastervit_mm.errors import ArgumentError
from tests.benchmark.stand_ins import reading
from tests.helpers import ROOT

spec = importlib.util.spec_from_file_location('benchmark_tool', ROOT / 'tools' / 'benchmark.py')
tool = importlib.util.module_from_spec(spec)
spec.loader.exec_module(tool)


@pytest.mark.parametrize(
    ('text', 'size'),
    [('800x1280', (800, 1280)), ('800×1280', (800, 1280)), ('224', (224, 224)), ('1x9', (1, 9))],
)
def test_sizes_are_height_by_width(text, size):
    assert tool.parse_size(text) == size


@pytest.mark.parametrize(
    'text', ['', '0', '0x5', '5x0', '5x', 'x5', '1x2x3', '-5', '800X1280', 'a']
)
def test_what_is_no_size(text):
    with pytest.raises(argparse.ArgumentTypeError) as caught:
        tool.parse_size(text)
    assert str(caught.value) == f'{text!r} is no size; give HEIGHTxWIDTH, such as 800x1280'


def test_numbers_of_at_least_one():
    assert (positive_int('1'), positive_int('12')) == (1, 12)
    for text in ('0', '-1', '1.5', '', 'a'):
        with pytest.raises(argparse.ArgumentTypeError) as caught:
            positive_int(text)
        assert str(caught.value) == f'{text} is not a number of at least 1'


def parsed(monkeypatch, *arguments: str) -> dict:
    monkeypatch.setattr(sys, 'argv', ['benchmark.py', *arguments])
    return vars(tool.parse_args())


def test_the_defaults(monkeypatch):
    assert parsed(monkeypatch, 'fastervit_0') == dict(
        subjects=['fastervit_0'],
        size=[(800, 1280)],
        batch=[1],
        device='auto',
        dtype=['fp32'],
        mode=['infer'],
        part='model',
        compile=False,
        fuse=False,
        channels_last=False,
        rounds=7,
        threads=None,
        no_memory=False,
        out=None,
    )


def test_every_option(monkeypatch):
    text = (
        'a b --size 64x96 32 --batch 1 8 --device cuda --dtype fp16 bf16 --mode train infer '
        '--part backbone --compile --fuse --channels-last --rounds 3 --threads 2 --no-memory '
        '--out folder'
    )
    found = parsed(monkeypatch, *text.split())
    assert str(found.pop('out')) == 'folder'
    assert found == dict(
        subjects=['a', 'b'],
        size=[(64, 96), (32, 32)],
        batch=[1, 8],
        device='cuda',
        dtype=['fp16', 'bf16'],
        mode=['train', 'infer'],
        part='backbone',
        compile=True,
        fuse=True,
        channels_last=True,
        rounds=3,
        threads=2,
        no_memory=True,
    )


@pytest.mark.parametrize(
    'text',
    [
        '',
        'a --size 0',
        'a --batch 0',
        'a --rounds 0',
        'a --threads 0',
        'a --device tpu',
        'a --dtype int8',
        'a --mode test',
        'a --part neck',
    ],
)
def test_what_the_options_refuse(monkeypatch, capsys, text):
    with pytest.raises(SystemExit) as caught:
        parsed(monkeypatch, *text.split())
    assert caught.value.code == 2 and 'usage:' in capsys.readouterr().err


@pytest.mark.parametrize(
    ('wanted', 'gpu', 'device'),
    [('auto', True, 'cuda'), ('auto', False, 'cpu'), ('cpu', True, 'cpu'), ('cuda', True, 'cuda')],
)
def test_the_device(monkeypatch, wanted, gpu, device):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: gpu)
    assert tool.chosen_device(wanted) == device


def test_a_gpu_that_is_not_there(monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    with pytest.raises(ArgumentError, match='^--device cuda: PyTorch sees no GPU here; use --dev'):
        tool.chosen_device('cuda')


@pytest.fixture
def measured(monkeypatch):
    """`measure` that measures nothing; what it was asked for."""
    calls = []

    def measure(subjects, task, *, rounds, memory, say):
        say(f'measuring at {task}')
        calls.append((subjects, task, rounds, memory))
        return [reading(one.name, task) for one in subjects]

    monkeypatch.setattr(tool, 'measure', measure)
    monkeypatch.setattr(tool, 'machine', lambda device: dict(command='c', device=device, threads=1))
    return calls


def run(monkeypatch, *arguments: str) -> None:
    monkeypatch.setattr(sys, 'argv', ['benchmark.py', *arguments])
    tool.main()


def test_every_size_batch_dtype_and_mode_is_a_task(measured, monkeypatch, capsys):
    run(
        monkeypatch,
        *'fastervit_0 --device cpu --size 64x96 32 --batch 1 2 --dtype fp32 bf16'.split(),
        *'--mode infer train --rounds 3 --no-memory'.split(),
    )
    tasks = [task for _, task, _, _ in measured]
    assert tasks == [
        Workload(*size, batch, dtype, mode, 'cpu')
        for size in ((64, 96), (32, 32))
        for batch in (1, 2)
        for dtype in ('fp32', 'bf16')
        for mode in ('infer', 'train')
    ]
    assert {(rounds, memory) for _, _, rounds, memory in measured} == {(3, False)}
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == 'device cpu, threads 1'
    assert lines[1:4] == ['', '[1/16] 64x96, batch 1, fp32, infer', 'measuring at ' + str(tasks[0])]
    assert lines[4] == '' and lines[5].startswith('| subject | dtype |')
    assert lines[7].startswith('| fastervit_0 | fp32 |')
    assert '[16/16] 32x32, batch 2, bf16, train' in lines
    assert not any(line.startswith('written') for line in lines)


def test_changes_for_all_subjects(measured, monkeypatch):
    swin = 'configs/detection/peers/cascade_swin_t_3x.py'
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(torch, 'set_num_threads', lambda count: measured.append(count))
    run(monkeypatch, swin, '--compile', '--part', 'backbone', '--device', 'cpu')
    run(monkeypatch, swin, '--fuse', '--channels-last', '--device', 'cpu', '--threads', '3')
    (compiled, task, rounds, memory), threads, (fused, _, _, _) = measured
    assert compiled == [parse_subject(swin, 'backbone', frozenset({'compiled'}))]
    assert fused == [parse_subject(swin, 'model', frozenset({'fused', 'channels_last'}))]
    assert task == Workload(800, 1280, 1, 'fp32', 'infer', 'cpu')
    assert (rounds, memory, threads) == (7, True, 3)


def test_results_are_written_after_each_task(measured, monkeypatch, tmp_path, capsys):
    counts = []
    original = tool.write_results

    def write(readings, accuracies, facts, folder):
        counts.append(len(readings))
        return original(readings, accuracies, facts, folder)

    monkeypatch.setattr(tool, 'write_results', write)
    run(
        monkeypatch,
        *('fastervit_0', 'timm:resnet18', '--size', '8', '16', '--device', 'cpu'),
        *('--out', str(tmp_path)),
    )
    assert counts == [2, 4]
    content = json.loads((tmp_path / 'benchmark.json').read_text())
    assert content['machine'] == dict(command='c', device='cpu', threads=1)
    assert content['published_accuracy'] == {
        'fastervit_0': {'ImageNet top-1': 82.1},
        'timm:resnet18': {},
    }
    assert [r['height'] for r in content['results']] == [8, 8, 16, 16]
    last = capsys.readouterr().out.splitlines()[-1]
    names = ('benchmark.json', 'benchmark.csv', 'benchmark.md', 'sizes.png')
    assert last == 'written: ' + ', '.join(str(tmp_path / name) for name in names)


def test_refused_subjects_are_named_and_the_others_timed(measured, monkeypatch, capsys):
    run(monkeypatch, 'fastervit_9', 'fastervit_0', '--device', 'cpu')
    assert capsys.readouterr().err.startswith("error: 'fastervit_9' is no subject; give a variant")
    assert [one.name for one in measured[0][0]] == ['fastervit_0']


def test_no_subject_left_is_an_error(measured, monkeypatch):
    with pytest.raises(ArgumentError, match='^there is no subject left to time$'):
        run(monkeypatch, 'fastervit_9', '--device', 'cpu')
    assert measured == []


def test_nothing_that_could_be_timed_is_an_error(measured, monkeypatch):
    monkeypatch.setattr(tool, 'measure', lambda *_, **__: [])
    with pytest.raises(ArgumentError, match='^no subject could be timed$'):
        run(monkeypatch, 'fastervit_0', '--device', 'cpu')
