"""The page of tools/report.py: what a finished run learnt, and where it still fails."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..config.run_folder import read_record
from . import html
from .results import ImageResult, Results
from .work_dir import Curves, read_curves

SHOWN = 6  # best and worst images
LOSSES = ('loss', 'loss_rpn_cls', 'loss_cls', 'loss_bbox', 'loss_iou')  # and every ….loss_ce
METRICS = ('mAP', 'mAP_50', 'mIoU', 'mAcc')  # how their names end
SMALL = 12  # classes whose shares are written into the confusion matrix
WRITTEN = 0.005  # smallest share that is


def curve_figures(curves: Curves) -> str:
    """Figures of the losses, the learning rate and the metrics."""
    figures = [
        _curve_figure('loss', curves, [n for n in curves if n in LOSSES or n.endswith('.loss_ce')]),
        _curve_figure('learning rate', curves, [n for n in curves if n == 'lr']),
        _curve_figure(
            'validation',
            curves,
            [n for n in curves if n.endswith(METRICS)],
            step='epoch or iteration',
            marker='o',
        ),
    ]
    return ''.join(figures) or '<p>Nothing was logged.</p>'


def _curve_figure(
    title: str,
    curves: Curves,
    names: Sequence[str],
    step: str = 'iteration',
    marker: str | None = None,
) -> str:
    """The curves called ``names`` in one figure; nothing where there are none.

    Args:
        title: of the figure.
        curves: all that were logged.
        names: of those to draw.
        step: what the horizontal axis counts.
        marker: of each point, as matplotlib calls it; None: lines only.
    """
    if not names:
        return ''
    plot, axes = html.new_figure(6, 3)
    for name in names:
        axes.plot(*zip(*curves[name], strict=True), label=name, marker=marker)
    axes.set_xlabel(step)
    axes.legend(fontsize=8)
    axes.grid(alpha=0.3)
    return html.figure(plot, title)


def confusion_figure(results: Results) -> str:
    """The confusion matrix, each row as shares of its truth."""
    names = [*results.classes, 'nothing'][: len(results.confusion)]
    shares = results.confusion / np.maximum(results.confusion.sum(1, keepdims=True), 1)
    side = min(12.0, 2.5 + 0.35 * len(names))
    plot, axes = html.new_figure(side, side)
    axes.imshow(shares, cmap='Blues', vmin=0, vmax=1)
    small = len(names) <= SMALL
    axes.set_xticks(range(len(names)), names, rotation=90, fontsize=8 if small else 5)
    axes.set_yticks(range(len(names)), names, fontsize=8 if small else 5)
    axes.set(xlabel='predicted', ylabel='truth')
    written = np.argwhere(shares >= WRITTEN).tolist() if small else []
    for row, column in written:
        share = shares[row, column]
        colour = 'white' if share > 0.5 else 'black'
        axes.text(column, row, f'{share:.2f}', ha='center', va='center', fontsize=8, color=colour)
    return html.figure(plot, 'rows: truth, columns: prediction, as shares of the truth')


def image_grid(images: Sequence[ImageResult]) -> str:
    """Each image's prediction beside its truth, with name and score."""
    out = []
    for image in images:
        picture = image.draw()
        picture.thumbnail((900, 900))
        out.append(html.picture(picture, f'{image.name}: {image.score:.2f}', width=560))
    return ''.join(out)


def report_page(work_dir: Path, results: Results) -> str:
    """The whole page, self-contained."""
    record = read_record(work_dir)
    ranked = sorted(results.images, key=lambda image: image.score)
    count = min(SHOWN, len(ranked))
    return html.page(
        f'Report of {work_dir.name}',
        [
            ('Curves', curve_figures(read_curves(work_dir))),
            ('Classes', html.table(results.head, results.per_class)),
            ('What is taken for what', confusion_figure(results)),
            (f'Worst images ({results.score_name})', image_grid(ranked[:count])),
            (f'Best images ({results.score_name})', image_grid(ranked[::-1][:count])),
            (
                'How it was made',
                f'<pre>{html.escape(record.get("command", "not recorded"))}</pre>'
                + html.table(['package', 'version'], list(record.get('versions', {}).items())),
            ),
        ],
    )
