"""The benchmark as a whole, on small networks: what it times, and what it leaves out."""

import csv
import json
import sys

import pytest
from PIL import Image

from fastervit_mm import VARIANTS, FasterViT
from fastervit_mm.benchmark.subjects import Workload, parse_subject
from fastervit_mm.benchmark.timing import MATRIX_SIDE, measure
from fastervit_mm.variants import Variant
from tests.helpers import SMALL, call_tool

DETECTOR = 'configs/detection/cascade_fastervit_shapes.py'
SEGMENTOR = 'configs/segmentation/upernet_fastervit_shapes.py'


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """A small variant and a small matrix product."""
    monkeypatch.setitem(VARIANTS, 'tiny', Variant(**SMALL))
    monkeypatch.setitem(MATRIX_SIDE, 'cpu', 64)


def test_the_command_writes_what_it_measured(tmp_path):
    output = call_tool(
        'benchmark.py',
        *('tiny', 'tiny+fused+bf16', 'fastervit_9', 'published:no_such_network'),
        *('--size', '64x96', '96', '--rounds', '2', '--no-memory', '--out', tmp_path),
    )
    assert "error: 'fastervit_9' is no subject; give a variant (fastervit_0," in output
    assert output.count('error: published:no_such_network') == 2  # at each size
    assert 'BatchNorm layers into convolutions' in output

    results = json.loads((tmp_path / 'benchmark.json').read_text())
    assert {'date', 'command', 'torch', 'device', 'threads'} <= set(results['machine'])
    rows = results['results']
    assert [(r['subject'], r['height'], r['width'], r['dtype']) for r in rows] == [
        ('tiny', 64, 96, 'fp32'),
        ('tiny+fused+bf16', 64, 96, 'bf16'),
        ('tiny', 96, 96, 'fp32'),
        ('tiny+fused+bf16', 96, 96, 'bf16'),
    ]
    for figures in rows:
        assert len(figures['seconds']) == 2 and min(figures['seconds']) > 0
    assert rows[0]['ratio'] == 1 and rows[0]['gflops'] == rows[1]['gflops']
    parameters = sum(p.numel() for p in FasterViT(SMALL).parameters())
    assert rows[0]['parameters_m'] == round(parameters / 1e6, 2)
    with (tmp_path / 'benchmark.csv').open() as file:
        assert [r['subject'] for r in csv.DictReader(file)] == [r['subject'] for r in rows]
    assert '| tiny+fused+bf16 | bf16 |' in (tmp_path / 'benchmark.md').read_text()
    with Image.open(tmp_path / 'sizes.png') as image:
        assert min(image.size) > 300


@pytest.mark.skipif(not sys.platform.startswith('linux'), reason='reads /proc')
def test_peak_memory_is_measured_in_a_process_of_its_own():
    task = Workload(256, 256, 1, 'fp32', 'infer', 'cpu')
    (reading,) = measure([parse_subject('fastervit_0+fused')], task, rounds=1)
    largest_map = 4 * 64 * 64 * 64  # bytes of stage 0's
    assert 2 * largest_map < reading.peak_memory < 2**30


def test_a_whole_detector(tmp_path):
    call_tool(
        *('benchmark.py', DETECTOR, '--size', '64', '--mode', 'infer', 'train', '--rounds', '1'),
        *('--no-memory', '--out', tmp_path),
    )
    rows = json.loads((tmp_path / 'benchmark.json').read_text())['results']
    assert [r['mode'] for r in rows] == ['infer', 'train']


def test_a_whole_segmentor_and_its_changes(tmp_path):
    output = call_tool(
        *('benchmark.py', SEGMENTOR, f'{SEGMENTOR}+checkpointed', f'{SEGMENTOR}+fused'),
        *('--size', '64', '--batch', '2', '--mode', 'infer', 'train', '--rounds', '1'),
        *('--no-memory', '--out', tmp_path),
    )
    assert 'a fused model cannot be trained; it is left out' in output
    rows = json.loads((tmp_path / 'benchmark.json').read_text())['results']
    assert [r['mode'] for r in rows] == ['infer'] * 3 + ['train'] * 2
    plain = {r['mode']: r['gflops'] for r in rows if '+' not in r['subject']}
    assert plain['train'] > 2 * plain['infer']  # the backward pass counts


def test_changes_do_not_change_the_count():
    task = Workload(64, 64, 2, 'fp32', 'train', 'cpu')
    names = ('tiny', 'tiny+checkpointed', 'tiny')
    readings = measure([parse_subject(n) for n in names], task, rounds=3, memory=False)
    assert [r.subject for r in readings] == list(names)
    assert all(len(r.seconds) == 3 for r in readings)
    assert len({r.flops for r in readings}) == 1


def test_nothing_to_time_is_an_error():
    output = call_tool('benchmark.py', 'fastervit_0+faster', expect=1)
    assert "'faster' is no change; allowed: fused, compiled" in output
    assert 'error: there is no subject left to time' in output


def test_a_network_of_timms(capsys):
    task = Workload(64, 96, 1, 'fp32', 'infer', 'cpu')
    subjects = [parse_subject(f'timm:{name}') for name in ('resnet18', 'no_such_network')]
    (reading,) = measure(subjects, task, rounds=1, memory=False)
    assert reading.subject == 'timm:resnet18' and reading.ratio == 1
    assert 'error: timm:no_such_network' in capsys.readouterr().out
