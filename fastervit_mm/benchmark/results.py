"""A benchmark's results: a table to read, JSON and CSV to use, pictures to look at."""

from __future__ import annotations

import csv
import json
import platform
import sys
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import torch

from ..version import __version__
from .subjects import Task
from .timing import Reading

HEADINGS = {
    'subject': 'subject',
    'dtype': 'dtype',
    'images_per_s': 'im/s',
    'latency_ms': 'ms',
    'spread': 'spread',
    'ratio': 'ratio',
    'gflops': 'GFLOPs',
    'parameters_m': 'params, M',
    'tflops_per_s': 'TFLOP/s',
    'matrix_share': 'of matrix rate',
    'peak_memory_mb': 'memory, MB',
}


def row(reading: Reading) -> dict[str, Any]:
    """The figures of ``reading`` in the units of the table."""
    memory = reading.peak_memory
    return dict(
        subject=reading.subject,
        height=reading.task.height,
        width=reading.task.width,
        batch=reading.task.batch,
        dtype=reading.task.dtype,
        mode=reading.task.mode,
        device=reading.task.device,
        images_per_s=round(reading.images_per_second, 3),
        latency_ms=round(1e3 * reading.median, 2),
        spread=round(reading.spread, 3),
        ratio=None if reading.ratio is None else round(reading.ratio, 3),
        gflops=round(reading.flops / 1e9, 1),
        parameters_m=round(reading.parameters / 1e6, 2),
        tflops_per_s=round(reading.flops_per_second / 1e12, 4),
        matrix_share=round(reading.matrix_share, 3),
        peak_memory_mb=None if memory is None else round(memory / 1e6, 1),
    )


def machine(device: str) -> dict[str, str]:
    """What the figures were measured on."""
    facts = dict(
        date=date.today().isoformat(),
        command=' '.join(sys.argv),
        fastervit_mm=__version__,
        torch=torch.__version__,
        python=platform.python_version(),
    )
    if device == 'cuda':
        return facts | dict(device=torch.cuda.get_device_name(), cuda=str(torch.version.cuda))
    return facts | dict(device=_processor(), threads=str(torch.get_num_threads()))


def _processor() -> str:
    """The CPU and the widest instructions that PyTorch uses on it."""
    names = Path('/proc/cpuinfo')
    lines = names.read_text().splitlines() if names.is_file() else []
    found = [line.partition(':')[2].strip() for line in lines if line.startswith('model name')]
    name = found[0] if found else platform.processor() or platform.machine()
    return f'{name} ({torch.backends.cpu.get_cpu_capability()})'


def table(readings: Sequence[Reading]) -> str:
    """One task's readings as a Markdown table."""
    lines = [
        '| ' + ' | '.join(HEADINGS.values()) + ' |',
        '| --- | --- |' + ' ---: |' * (len(HEADINGS) - 2),
    ]
    for figures in map(row, readings):
        cells = ['–' if figures[key] is None else str(figures[key]) for key in HEADINGS]
        lines.append('| ' + ' | '.join(cells) + ' |')
    return '\n'.join(lines)


def write_results(
    readings: Sequence[Reading],
    accuracies: Mapping[str, Mapping[str, float]],
    facts: Mapping[str, str],
    folder: Path,
) -> list[Path]:
    """Write ``benchmark.json``, ``.csv``, ``.md`` and the pictures there is something to draw for.

    Args:
        accuracies: per subject, metric -> published value.
        facts: of `machine`.

    Returns:
        the files.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rows = [row(reading) for reading in readings]
    files = [folder / f'benchmark.{kind}' for kind in ('json', 'csv', 'md')]
    content = dict(
        machine=dict(facts),
        published_accuracy={name: dict(values) for name, values in accuracies.items()},
        results=[
            figures | dict(seconds=list(r.seconds))
            for figures, r in zip(rows, readings, strict=True)
        ],
    )
    files[0].write_text(json.dumps(content, indent=1) + '\n')
    with files[1].open('w', newline='') as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]) if rows else [])
        writer.writeheader()
        writer.writerows(rows)
    files[2].write_text(_page(readings, facts))
    return (
        files
        + _draw_accuracy(readings, accuracies, folder / 'accuracy.png')
        + _draw_sizes(readings, folder / 'sizes.png')
    )


def by_task(readings: Sequence[Reading]) -> dict[Task, list[Reading]]:
    """Readings that were taken in turns stand together."""
    groups: dict[Task, list[Reading]] = defaultdict(list)
    for reading in readings:
        groups[reading.asked].append(reading)
    return groups


def _page(readings: Sequence[Reading], facts: Mapping[str, str]) -> str:
    parts = ['\n'.join(f'- {key}: {value}' for key, value in facts.items())]
    for task, group in by_task(readings).items():
        parts.append(f'## {task}\n\n{table(group)}')
    return '\n\n'.join(parts) + '\n'


def _draw_accuracy(
    readings: Sequence[Reading], accuracies: Mapping[str, Mapping[str, float]], path: Path
) -> list[Path]:
    """Published accuracy against measured throughput, by the metric most subjects have."""
    metrics = Counter(metric for values in accuracies.values() for metric in values)
    if not metrics or not readings:
        return []
    metric = metrics.most_common(1)[0][0]
    first = next(iter(by_task(readings).values()))
    points = [
        (reading, accuracies[reading.subject][metric])
        for reading in first
        if metric in accuracies.get(reading.subject, {})
    ]
    if len(points) < 2:
        return []
    figure, axes = _figure(1)
    for reading, accuracy in points:
        axes[0].scatter(reading.images_per_second, accuracy)
        axes[0].annotate(
            _label(reading.subject),
            (reading.images_per_second, accuracy),
            xytext=(5, 4),
            textcoords='offset points',
            fontsize=8,
        )
    axes[0].set(xlabel='measured images per second', ylabel=f'published {metric}, %')
    axes[0].set_title(str(first[0].task), fontsize=9)
    axes[0].margins(x=0.25, y=0.15)
    return _save(figure, path)


def _draw_sizes(readings: Sequence[Reading], path: Path) -> list[Path]:
    """Time and peak memory against pixels, where one batch and mode has several sizes."""
    series: dict[tuple, list[Reading]] = defaultdict(list)
    for reading in readings:
        series[reading.subject, reading.task._replace(height=0, width=0)].append(reading)
    series = {key: group for key, group in series.items() if len(group) > 1}
    if not series:
        return []
    figure, axes = _figure(2)
    for (subject, task), group in series.items():
        group = sorted(group, key=lambda r: r.task.height * r.task.width)
        pixels = [r.task.height * r.task.width / 1e6 for r in group]
        label = f'{_label(subject)}, batch {task.batch}, {task.dtype}, {task.mode}'
        axes[0].plot(pixels, [1e3 * r.median for r in group], marker='o', label=label)
        if all(r.peak_memory is not None for r in group):
            axes[1].plot(pixels, [r.peak_memory / 1e6 for r in group], marker='o', label=label)
    for axis, name in zip(axes, ('time of a batch, ms', 'peak memory, MB'), strict=True):
        axis.set(xlabel='megapixels of an image', ylabel=name, xlim=(0, None), ylim=(0, None))
    axes[0].legend(fontsize=7)
    return _save(figure, path)


def _label(subject: str) -> str:
    source, *changes = subject.split('+')
    return '+'.join([Path(source).stem if source.endswith('.py') else source, *changes])


def _figure(count: int) -> tuple[Any, list[Any]]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6 * count, 4.2), layout='constrained')
    FigureCanvasAgg(figure)
    axes = [figure.add_subplot(1, count, i + 1) for i in range(count)]
    for axis in axes:
        axis.grid(alpha=0.3)
    return figure, axes


def _save(figure: Any, path: Path) -> list[Path]:
    figure.savefig(path, dpi=110)
    return [path]
