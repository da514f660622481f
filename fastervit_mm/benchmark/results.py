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
from .subjects import Workload
from .timing import Measurement

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


def row(measurement: Measurement) -> dict[str, Any]:
    """The figures of ``measurement`` in the units of the table."""
    memory = measurement.peak_memory
    return dict(
        subject=measurement.subject,
        height=measurement.workload.height,
        width=measurement.workload.width,
        batch=measurement.workload.batch,
        dtype=measurement.workload.dtype,
        mode=measurement.workload.mode,
        device=measurement.workload.device,
        images_per_s=round(measurement.images_per_second, 3),
        latency_ms=round(1e3 * measurement.median, 2),
        spread=round(measurement.spread, 3),
        ratio=None if measurement.ratio is None else round(measurement.ratio, 3),
        gflops=round(measurement.flops / 1e9, 1),
        parameters_m=round(measurement.parameters / 1e6, 2),
        tflops_per_s=round(measurement.flops_per_second / 1e12, 4),
        matrix_share=round(measurement.matrix_share, 3),
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


def table(measurements: Sequence[Measurement]) -> str:
    """One workload's measurements as a Markdown table."""
    lines = [
        '| ' + ' | '.join(HEADINGS.values()) + ' |',
        '| --- | --- |' + ' ---: |' * (len(HEADINGS) - 2),
    ]
    for figures in map(row, measurements):
        cells = ['–' if figures[key] is None else str(figures[key]) for key in HEADINGS]
        lines.append('| ' + ' | '.join(cells) + ' |')
    return '\n'.join(lines)


def write_results(
    measurements: Sequence[Measurement],
    accuracies: Mapping[str, Mapping[str, float]],
    facts: Mapping[str, str],
    folder: Path,
) -> list[Path]:
    """Write ``benchmark.json``, ``.csv``, ``.md`` and the pictures there is something to draw for.

    Args:
        measurements: of all workloads.
        accuracies: per subject, metric -> published value.
        facts: of `machine`.
        folder: is made.

    Returns:
        the files.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rows = [row(measurement) for measurement in measurements]
    files = [folder / f'benchmark.{kind}' for kind in ('json', 'csv', 'md')]
    content = dict(
        machine=dict(facts),
        published_accuracy={name: dict(values) for name, values in accuracies.items()},
        results=[
            figures | dict(seconds=list(r.seconds))
            for figures, r in zip(rows, measurements, strict=True)
        ],
    )
    files[0].write_text(json.dumps(content, indent=1) + '\n')
    with files[1].open('w', newline='') as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]) if rows else [])
        writer.writeheader()
        writer.writerows(rows)
    files[2].write_text(_page(measurements, facts))
    return (
        files
        + _draw_accuracy(measurements, accuracies, folder / 'accuracy.png')
        + _draw_sizes(measurements, folder / 'sizes.png')
    )


def by_workload(measurements: Sequence[Measurement]) -> dict[Workload, list[Measurement]]:
    """Measurements by the workload that was requested: those taken in turns stand together."""
    groups: dict[Workload, list[Measurement]] = defaultdict(list)
    for measurement in measurements:
        groups[measurement.requested].append(measurement)
    return groups


def _page(measurements: Sequence[Measurement], facts: Mapping[str, str]) -> str:
    parts = ['\n'.join(f'- {key}: {value}' for key, value in facts.items())]
    for workload, group in by_workload(measurements).items():
        parts.append(f'## {workload}\n\n{table(group)}')
    return '\n\n'.join(parts) + '\n'


def _draw_accuracy(
    measurements: Sequence[Measurement], accuracies: Mapping[str, Mapping[str, float]], path: Path
) -> list[Path]:
    """Published accuracy against measured throughput, by the metric most subjects have."""
    metrics = Counter(metric for values in accuracies.values() for metric in values)
    if not metrics or not measurements:
        return []
    metric = metrics.most_common(1)[0][0]
    first = next(iter(by_workload(measurements).values()))
    points = [
        (measurement, accuracies[measurement.subject][metric])
        for measurement in first
        if metric in accuracies.get(measurement.subject, {})
    ]
    if len(points) < 2:
        return []
    figure, axes = _figure(1)
    for measurement, accuracy in points:
        axes[0].scatter(measurement.images_per_second, accuracy)
        axes[0].annotate(
            _label(measurement.subject),
            (measurement.images_per_second, accuracy),
            xytext=(5, 4),
            textcoords='offset points',
            fontsize=8,
        )
    axes[0].set(xlabel='measured images per second', ylabel=f'published {metric}, %')
    axes[0].set_title(str(first[0].workload), fontsize=9)
    axes[0].margins(x=0.25, y=0.15)
    return _save(figure, path)


def _draw_sizes(measurements: Sequence[Measurement], path: Path) -> list[Path]:
    """Time and peak memory against pixels, where one batch and mode has several sizes."""
    series: dict[tuple, list[Measurement]] = defaultdict(list)
    for measurement in measurements:
        series[measurement.subject, measurement.workload._replace(height=0, width=0)].append(
            measurement
        )
    series = {key: group for key, group in series.items() if len(group) > 1}
    if not series:
        return []
    figure, axes = _figure(2)
    for (subject, workload), group in series.items():
        group = sorted(group, key=lambda r: r.workload.height * r.workload.width)
        pixels = [r.workload.height * r.workload.width / 1e6 for r in group]
        label = f'{_label(subject)}, batch {workload.batch}, {workload.dtype}, {workload.mode}'
        axes[0].plot(pixels, [1e3 * r.median for r in group], marker='o', label=label)
        peaks = [r.peak_memory / 1e6 for r in group if r.peak_memory is not None]
        if len(peaks) == len(group):
            axes[1].plot(pixels, peaks, marker='o', label=label)
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
