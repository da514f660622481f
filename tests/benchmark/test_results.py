"""What is written of a measurement: units, table, JSON, CSV, pictures."""

import csv
import json
import platform
import sys
from dataclasses import replace
from datetime import date

import pytest
import torch
from PIL import Image

from fastervit_mm.benchmark import results
from fastervit_mm.benchmark.results import machine, row, table, write_results
from fastervit_mm.benchmark.subjects import Workload
from fastervit_mm.version import __version__
from tests.benchmark.stand_ins import reading

TASK = Workload(800, 1280, 4, 'bf16', 'train', 'cpu')
# a median of 2 s for 4 images; 8 * 10^12 operations
ONE = reading(
    'fastervit_0',
    TASK,
    (2.0, 1.0, 4.0),
    flops=8 * 10**12,
    parameters=31_406_000,
    peak_memory=12_345_678,
    ratio=0.50049,
    matrix_share=0.2504,
)
FIGURES = dict(
    subject='fastervit_0',
    height=800,
    width=1280,
    batch=4,
    dtype='bf16',
    mode='train',
    device='cpu',
    images_per_s=2.0,
    latency_ms=2000.0,
    spread=1.5,
    ratio=0.5,
    gflops=8000.0,
    parameters_m=31.41,
    tflops_per_s=4.0,
    matrix_share=0.25,
    peak_memory_mb=12.3,
)
FACTS = dict(date='2026-01-02', command='benchmark.py fastervit_0', device='a CPU')


def test_the_figures_of_a_reading_in_their_units():
    assert row(ONE) == FIGURES and list(row(ONE)) == list(FIGURES)


def test_figures_are_rounded_to_what_can_be_read():
    figures = row(
        reading(
            seconds=(0.123456,),
            flops=123_456_789,
            parameters=1_234_567,
            ratio=1.23456,
            matrix_share=0.98765,
            peak_memory=98_765_432,
        )
    )
    assert figures['images_per_s'] == 16.200 and figures['latency_ms'] == 123.46
    assert figures['spread'] == 0 and figures['ratio'] == 1.235
    assert figures['gflops'] == 0.1 and figures['parameters_m'] == 1.23
    assert figures['tflops_per_s'] == 0.001 and figures['matrix_share'] == 0.988
    assert figures['peak_memory_mb'] == 98.8
    assert row(reading(seconds=(0.3, 0.7, 0.9)))['spread'] == 0.857
    assert row(reading(seconds=(0.00012345,)))['tflops_per_s'] == 8.1004


def test_what_was_not_measured_is_none():
    figures = row(reading(ratio=None, peak_memory=None))
    assert figures['ratio'] is None and figures['peak_memory_mb'] is None


def test_the_table():
    other = reading('fastervit_1', TASK._replace(dtype='fp32'), (1.0,))
    assert table([ONE, other]).splitlines() == [
        '| subject | dtype | im/s | ms | spread | ratio | GFLOPs | params, M | TFLOP/s '
        '| of matrix rate | memory, MB |',
        '| --- | --- |' + ' ---: |' * 9,
        '| fastervit_0 | bf16 | 2.0 | 2000.0 | 1.5 | 0.5 | 8000.0 | 31.41 | 4.0 | 0.25 | 12.3 |',
        '| fastervit_1 | fp32 | 4.0 | 1000.0 | 0.0 | – | 1.0 | 1.0 | 0.001 | 0.25 | – |',
    ]


def test_json_csv_and_markdown(tmp_path):
    folder = tmp_path / 'deep' / 'folder'
    files = write_results([ONE], {'fastervit_0': {'ImageNet top-1': 82.1}}, FACTS, folder)
    assert files == [folder / f'benchmark.{kind}' for kind in ('json', 'csv', 'md')]
    text = (folder / 'benchmark.json').read_text()
    assert json.loads(text) == dict(
        machine=FACTS,
        published_accuracy={'fastervit_0': {'ImageNet top-1': 82.1}},
        results=[FIGURES | dict(seconds=[2.0, 1.0, 4.0])],
    )
    assert text.startswith('{\n "machine"') and text.endswith('}\n')
    with (folder / 'benchmark.csv').open(newline='') as file:
        assert list(csv.reader(file)) == [
            list(FIGURES),
            [str(value) for value in FIGURES.values()],
        ]
    assert (folder / 'benchmark.md').read_text() == (
        '- date: 2026-01-02\n- command: benchmark.py fastervit_0\n- device: a CPU\n\n'
        f'## 800x1280, batch 4, bf16, train\n\n{table([ONE])}\n'
    )


def test_readings_of_one_task_share_a_table(tmp_path):
    """Of one task: as asked, whatever dtype a subject has of its own."""
    other = reading('fastervit_0+fp32', TASK._replace(dtype='fp32'), requested=TASK)
    later = reading('fastervit_0', TASK._replace(batch=8))
    write_results([ONE, later, other], {}, FACTS, tmp_path)
    text = (tmp_path / 'benchmark.md').read_text()
    first, second = text.split('## ')[1:]
    assert first == f'800x1280, batch 4, bf16, train\n\n{table([ONE, other])}\n\n'
    assert second == f'800x1280, batch 8, bf16, train\n\n{table([later])}\n'


def test_nothing_measured_gives_empty_files(tmp_path):
    write_results([], {}, FACTS, tmp_path)
    assert json.loads((tmp_path / 'benchmark.json').read_text())['results'] == []
    assert (tmp_path / 'benchmark.csv').read_text().strip() == ''
    write_results([], {}, FACTS, tmp_path)  # the folder may be there


def test_what_the_machine_is(monkeypatch):
    monkeypatch.setattr(sys, 'argv', ['tools/benchmark.py', 'fastervit_0'])
    monkeypatch.setattr(results, '_processor', lambda: 'a CPU')
    common = dict(
        date=date.today().isoformat(),
        command='tools/benchmark.py fastervit_0',
        fastervit_mm=__version__,
        torch=torch.__version__,
        python=platform.python_version(),
    )
    assert machine('cpu') == common | dict(device='a CPU', threads=str(torch.get_num_threads()))
    monkeypatch.setattr(torch.cuda, 'get_device_name', lambda: 'a GPU')
    monkeypatch.setattr(torch.version, 'cuda', '13.0')
    assert machine('cuda') == common | dict(device='a GPU', cuda='13.0')


@pytest.mark.parametrize(
    ('text', 'name'),
    [
        ('processor : 0\nmodel name\t: Quick: CPU \nmodel name : Other\n', 'Quick: CPU'),
        ('processor : 0\n', 'of the platform'),
        (None, 'of the platform'),
    ],
)
def test_the_processor_is_named_with_its_instructions(monkeypatch, tmp_path, text, name):
    if text is not None:
        (tmp_path / 'cpuinfo').write_text(text)
    monkeypatch.setattr(results, 'Path', lambda path: tmp_path / path.removeprefix('/proc/'))
    monkeypatch.setattr(platform, 'processor', lambda: 'of the platform')
    monkeypatch.setattr(torch.backends.cpu, 'get_cpu_capability', lambda: 'AVX512')
    assert results._processor() == f'{name} (AVX512)'
    monkeypatch.setattr(platform, 'processor', lambda: '')
    monkeypatch.setattr(platform, 'machine', lambda: 'x86_64')
    if not text or 'model name' not in text:
        assert results._processor() == 'x86_64 (AVX512)'


# -- pictures ---------------------------------------------------------------------------------


@pytest.fixture
def figures(monkeypatch):
    """Pictures by name, as figures."""
    drawn = {}

    def save(figure, path):
        drawn[path.name] = figure
        return [path]

    monkeypatch.setattr(results, '_save', save)
    return drawn


SMALL_TASK = TASK._replace(height=100, width=100)
FAST = reading('a/config.py+fused', TASK, (1.0,), peak_memory=10**6)  # 4 im/s
SLOW = reading('fastervit_1', TASK, (4.0,), peak_memory=4 * 10**6)  # 1 im/s
FAST_SMALL = reading('a/config.py+fused', SMALL_TASK, (0.5,), peak_memory=5 * 10**5)
ACCURACIES = {
    'a/config.py+fused': {'mask AP': 40.0, 'box AP': 50.0},
    'fastervit_1': {'box AP': 52.0},
}


def test_accuracy_is_drawn_against_throughput(figures, tmp_path):
    files = write_results([FAST, SLOW, FAST_SMALL], ACCURACIES, FACTS, tmp_path)
    assert files[3:] == [tmp_path / 'accuracy.png', tmp_path / 'sizes.png']
    (axes,) = figures['accuracy.png'].axes
    points = [tuple(p.get_offsets()[0]) for p in axes.collections]
    assert points == [(4, 50), (1, 52)]
    assert [t.get_text() for t in axes.texts] == ['config+fused', 'fastervit_1']
    assert [t.xy for t in axes.texts] == points
    assert axes.get_xlabel() == 'measured images per second'
    assert axes.get_ylabel() == 'published box AP, %'  # the metric that most have
    assert axes.get_title() == '800x1280, batch 4, bf16, train'


def test_labels_stand_beside_their_points_and_fit(figures, tmp_path):
    write_results([FAST, SLOW, FAST_SMALL], ACCURACIES, FACTS, tmp_path)
    (axes,) = figures['accuracy.png'].axes
    for text in axes.texts:
        assert (text.xyann, text.anncoords, text.get_fontsize()) == ((5, 4), 'offset points', 8)
    assert axes.margins() == (0.25, 0.15) and axes.title.get_fontsize() == 9
    time, memory = figures['sizes.png'].axes
    assert {line.get_marker() for line in (*time.lines, *memory.lines)} == {'o'}
    assert time.get_legend().get_texts()[0].get_fontsize() == 7
    for one in (axes, time, memory):
        assert {line.get_alpha() for line in one.get_xgridlines()} == {0.3}
    for figure in figures.values():
        assert figure.get_layout_engine().__class__.__name__ == 'ConstrainedLayoutEngine'


@pytest.mark.parametrize(
    'accuracies',
    [
        {},
        {'fastervit_1': {'box AP': 52.0}},  # one point
        {'a/config.py+fused': {'mask AP': 40.0}, 'fastervit_1': {'box AP': 52.0}},
    ],
)
def test_fewer_than_two_points_are_not_drawn(figures, tmp_path, accuracies):
    assert len(write_results([FAST, SLOW], accuracies, FACTS, tmp_path)) == 3 and not figures


def test_nothing_measured_is_not_drawn(figures, tmp_path):
    assert len(write_results([], ACCURACIES, FACTS, tmp_path)) == 3 and not figures


def test_time_and_memory_are_drawn_against_pixels(figures, tmp_path):
    write_results([FAST, SLOW, FAST_SMALL], {}, FACTS, tmp_path)
    time, memory = figures['sizes.png'].axes
    # the other subject has one size only; sizes stand in order
    ((pixels, milliseconds),) = [line.get_data() for line in time.lines]
    assert list(pixels) == [0.01, 1.024] and list(milliseconds) == [500, 1000]
    ((pixels, megabytes),) = [line.get_data() for line in memory.lines]
    assert list(pixels) == [0.01, 1.024] and list(megabytes) == [0.5, 1]
    (label,) = time.get_legend().get_texts()
    assert label.get_text() == 'config+fused, batch 4, bf16, train'
    for axes, name in ((time, 'time of a batch, ms'), (memory, 'peak memory, MB')):
        assert axes.get_ylabel() == name and axes.get_xlabel() == 'megapixels of an image'
        assert axes.get_xlim()[0] == axes.get_ylim()[0] == 0


def test_memory_that_was_not_measured_is_not_drawn(figures, tmp_path):
    unknown = replace(FAST_SMALL, peak_memory=None)
    write_results([FAST, unknown], {}, FACTS, tmp_path)
    time, memory = figures['sizes.png'].axes
    assert len(time.lines) == 1 and len(memory.lines) == 0


def test_sizes_of_different_batches_are_not_joined(figures, tmp_path):
    other = replace(FAST_SMALL, workload=SMALL_TASK._replace(batch=1))
    assert len(write_results([FAST, other], {}, FACTS, tmp_path)) == 3


def test_pictures_are_files(tmp_path):
    write_results([FAST, SLOW, FAST_SMALL], ACCURACIES, FACTS, tmp_path)
    sizes = {p.name: Image.open(p).size for p in tmp_path.glob('*.png')}
    assert sizes == {'accuracy.png': (660, 462), 'sizes.png': (1320, 462)}
