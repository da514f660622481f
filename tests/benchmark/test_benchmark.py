"""The benchmark: what it counts and writes, and what it does with subjects it cannot time."""

import csv
import json
import sys

import pytest
import torch
from PIL import Image

from fastervit_mm import FasterViT
from fastervit_mm.benchmark.results import row, table
from fastervit_mm.benchmark.subjects import (
    IMAGENET_TOP1,
    Task,
    parse_subject,
    published_accuracy,
)
from fastervit_mm.benchmark.timing import Reading, measure, why
from fastervit_mm.variants import VARIANTS
from tests.helpers import run_tool

DETECTOR = 'configs/detection/cascade_fastervit_shapes.py'
SEGMENTOR = 'configs/segmentation/upernet_fastervit_shapes.py'


def test_the_command_writes_what_it_measured(tmp_path):
    output = run_tool(
        'benchmark.py',
        'fastervit_0',
        'fastervit_0+fused+bf16',
        'fastervit_9',
        'published:no_such_network',
        '--size',
        '64x96',
        '96',
        '--rounds',
        '2',
        '--no-memory',
        '--out',
        tmp_path,
    )
    assert "error: 'fastervit_9' is no subject; give a variant (fastervit_0," in output
    assert output.count('error: published:no_such_network') == 2  # at each size
    assert 'BatchNorm layers into convolutions' in output

    results = json.loads((tmp_path / 'benchmark.json').read_text())
    assert {'date', 'command', 'torch', 'device', 'threads'} <= set(results['machine'])
    rows = results['results']
    assert [(r['subject'], r['height'], r['width'], r['dtype']) for r in rows] == [
        ('fastervit_0', 64, 96, 'fp32'),
        ('fastervit_0+fused+bf16', 64, 96, 'bf16'),
        ('fastervit_0', 96, 96, 'fp32'),
        ('fastervit_0+fused+bf16', 96, 96, 'bf16'),
    ]
    for figures in rows:
        assert len(figures['seconds']) == 2 and min(figures['seconds']) > 0
        assert figures['matrix_share'] > 0
    assert rows[0]['ratio'] == 1 and rows[0]['gflops'] == rows[1]['gflops']
    backbone = FasterViT('fastervit_0')
    assert rows[0]['parameters_m'] == round(sum(p.numel() for p in backbone.parameters()) / 1e6, 2)
    with (tmp_path / 'benchmark.csv').open() as file:
        assert [r['subject'] for r in csv.DictReader(file)] == [r['subject'] for r in rows]
    assert '| fastervit_0+fused+bf16 | bf16 |' in (tmp_path / 'benchmark.md').read_text()
    for picture in ('accuracy.png', 'sizes.png'):
        with Image.open(tmp_path / picture) as image:
            assert min(image.size) > 300


@pytest.mark.skipif(not sys.platform.startswith('linux'), reason='reads /proc')
def test_peak_memory_is_measured_in_a_process_of_its_own():
    task = Task(256, 256, 1, 'fp32', 'infer', 'cpu')
    (reading,) = measure([parse_subject('fastervit_0+fused')], task, rounds=1)
    largest_map = 4 * 64 * 64 * 64  # bytes of stage 0's
    assert 2 * largest_map < reading.peak_memory < 2**30


def test_a_whole_detector(tmp_path):
    run_tool(
        *('benchmark.py', DETECTOR, '--size', '64', '--mode', 'infer', 'train', '--rounds', '1'),
        *('--no-memory', '--out', tmp_path),
    )
    rows = json.loads((tmp_path / 'benchmark.json').read_text())['results']
    assert [r['mode'] for r in rows] == ['infer', 'train']


def test_a_whole_segmentor_and_its_changes(tmp_path):
    config = SEGMENTOR
    output = run_tool(
        'benchmark.py',
        config,
        f'{config}+checkpointed',
        f'{config}+fused',
        '--size',
        '64',
        '--batch',
        '2',
        '--mode',
        'infer',
        'train',
        '--rounds',
        '1',
        '--no-memory',
        '--out',
        tmp_path,
    )
    assert 'a fused model cannot be trained; it is left out' in output
    rows = json.loads((tmp_path / 'benchmark.json').read_text())['results']
    assert [r['mode'] for r in rows] == ['infer'] * 3 + ['train'] * 2
    plain = {r['mode']: r['gflops'] for r in rows if '+' not in r['subject']}
    assert plain['train'] > 2 * plain['infer']  # the backward pass counts


def test_a_subject_twice_shows_the_noise_and_changes_do_not_change_the_count(capsys):
    task = Task(64, 64, 2, 'fp32', 'train', 'cpu')
    names = ('fastervit_0', 'fastervit_0+checkpointed', 'fastervit_0')
    readings = measure([parse_subject(n) for n in names], task, rounds=3, memory=False)
    assert [r.subject for r in readings] == list(names)
    assert all(len(r.seconds) == 3 for r in readings)
    assert readings[0].seconds != readings[2].seconds
    assert len({r.flops for r in readings}) == 1


def test_a_change_that_a_network_cannot_take_is_named(capsys):
    swin = 'configs/detection/peers/cascade_swin_t_3x.py+fused'
    task = Task(64, 64, 1, 'fp32', 'infer', 'cpu')
    assert measure([parse_subject(swin, 'backbone')], task, rounds=1, memory=False) == []
    assert 'only a FasterViT backbone can be fused' in capsys.readouterr().out


def test_nothing_to_time_is_an_error():
    output = run_tool('benchmark.py', 'fastervit_0+faster', expect=1)
    assert "'faster' is no change; allowed: fused, compiled" in output
    assert 'error: there is no subject left to time' in output


def test_a_network_of_timms(capsys):
    task = Task(64, 96, 1, 'fp32', 'infer', 'cpu')
    subjects = [parse_subject(f'timm:{name}') for name in ('resnet18', 'no_such_network')]
    (reading,) = measure(subjects, task, rounds=1, memory=False)
    assert reading.subject == 'timm:resnet18' and reading.ratio == 1
    assert 'error: timm:no_such_network' in capsys.readouterr().out
    with pytest.raises(ValueError, match='can only be compiled'):
        parse_subject('timm:resnet18+fused')


def test_every_variant_has_its_published_accuracy():
    assert set(IMAGENET_TOP1) == set(VARIANTS)
    for name, top1 in IMAGENET_TOP1.items():
        assert published_accuracy(parse_subject(name)) == {'ImageNet top-1': top1}
    assert published_accuracy(parse_subject('fastervit_2+fused')) == {'ImageNet top-1': 84.2}
    name = 'published:faster_vit_2_any_res'
    assert published_accuracy(parse_subject(name)) == {'ImageNet top-1': 84.2}
    swin = 'configs/detection/peers/cascade_swin_t_3x.py'
    assert published_accuracy(parse_subject(swin)) == {'box AP': 50.4, 'mask AP': 43.7}
    assert published_accuracy(parse_subject(DETECTOR)) == {}


def test_figures_of_a_reading():
    task = Task(800, 1280, 4, 'fp32', 'infer', 'cpu')
    figures = row(Reading('a', task, task, (2.0, 1.0, 4.0), 8 * 10**12, 10**6, None, 0.5, 0.25))
    assert figures['images_per_s'] == 2 and figures['latency_ms'] == 2000
    assert figures['spread'] == 1.5 and figures['tflops_per_s'] == 4
    reading = Reading('a', task, task, (1.0,), 10**9, 10**6, None, None, 0.25)
    assert table([reading]).splitlines()[-1].count('–') == 2


def test_out_of_memory_is_called_by_its_name():
    assert why(torch.OutOfMemoryError('CUDA out of memory. Tried ...')) == 'out of memory'
    assert why(RuntimeError("DefaultCPUAllocator: can't allocate memory: ...")) == 'out of memory'
    assert why(RuntimeError('first\nsecond')) == 'RuntimeError: first'
