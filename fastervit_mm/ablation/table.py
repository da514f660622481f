"""The study's tables and plot, from its results."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .networks import NETWORKS
from .study import OTHER_RULE

METRICS = {'far': 'told', 'ordinary': 'iou'}
"""By task: what its column holds, a share of 1."""
HEADINGS = {'far': 'far', 'ordinary': 'ordinary'}


def shares(
    results: Sequence[Mapping[str, Any]], name: str, task: str, evaluation: str
) -> list[float]:
    """A network's scores over the seeds, %.

    Args:
        results: of `study.run_all`.
        name: one of `NETWORKS`.
        task: one of `METRICS`.
        evaluation: 'trained size', 'other size' or 'other rule'.
    """
    return [
        100 * result['scores'][evaluation][METRICS[task]]
        for result in results
        if result['case']['network'] == name
        and result['case']['task'] == task
        and evaluation in result['scores']
    ]


def mean_and_spread(values: Sequence[float]) -> str:
    """'71.3 ± 2.1': mean and standard deviation over seeds; one seed alone has none."""
    if not values:
        return '–'
    mean = f'{statistics.mean(values):.1f}'
    return mean if len(values) == 1 else f'{mean} ± {statistics.stdev(values):.1f}'


def _lines(heads: Sequence[str], rows: Sequence[Sequence[str]], words: int = 1) -> str:
    """Markdown; the columns after the first ``words`` are numbers."""
    rule = ['---'] * words + ['---:'] * (len(heads) - words)
    return '\n'.join('| ' + ' | '.join(cells) + ' |' for cells in (heads, rule, *rows))


def main_table(
    results: Sequence[Mapping[str, Any]], costs: Mapping[str, Mapping[str, float]]
) -> str:
    """Each network's scores at both sizes and what it costs.

    Args:
        results: of `study.run_all`.
        costs: of `study.measure_cost`.
    """
    heads = ['network']
    for task in METRICS:
        heads += [f'{HEADINGS[task]}, trained size', f'{HEADINGS[task]}, other size']
    heads += ['params, k', 'MMACs', 'ms']
    rows = []
    for name, cost in costs.items():
        cells = [NETWORKS[name].title]
        for task in METRICS:
            for evaluation in ('trained size', 'other size'):
                cells.append(mean_and_spread(shares(results, name, task, evaluation)))
        cells.append(f'{cost["parameters"] / 1e3:.0f}')
        cells.append(f'{cost["multiply_adds"] / 1e6:.1f}')
        cells.append(f'{cost["ms"]:.2f}')
        rows.append(cells)
    return _lines(heads, rows)


def pooling_table(results: Sequence[Mapping[str, Any]], names: Sequence[str]) -> str:
    """Both pooling rules at the other size, for each network with carrier tokens.

    Args:
        results: of `study.run_all`.
        names: of the networks; those without carrier tokens are left out, and those whose
            ``ct_size`` divides the window, for which both rules are the same at every size.
    """
    heads = ['network', 'trained with']
    heads += [f'{HEADINGS[task]}, {rule}' for task in METRICS for rule in OTHER_RULE]
    rows = []
    for name in names:
        network = NETWORKS[name]
        if not network.ct_size or network.window % network.ct_size == 0:
            continue
        cells = [network.title, network.pooling]
        for task in METRICS:
            for rule in OTHER_RULE:
                evaluation = 'other size' if rule == network.pooling else 'other rule'
                cells.append(mean_and_spread(shares(results, name, task, evaluation)))
        rows.append(cells)
    return _lines(heads, rows, words=2)


def draw_plot(results: Sequence[Mapping[str, Any]], names: Sequence[str], path: Path) -> None:
    """Every seed's score and their mean, a panel for each task, as a picture.

    Args:
        results: of `study.run_all`.
        names: of the networks, from top to bottom.
        path: of the picture; its ending says which kind.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 0.6 + 0.38 * len(names)), layout='constrained')
    FigureCanvasAgg(figure)
    titles = ('shapes told rightly, far scenes, %', 'mean IoU, ordinary scenes, %')
    axes: Any = figure.subplots(1, 2, sharey=True)
    for axis, task, title in zip(axes, METRICS, titles, strict=True):
        for row, name in enumerate(names):
            for shift, evaluation, colour in (
                (-0.14, 'trained size', '#1d4ed8'),
                (0.14, 'other size', '#f59e0b'),
            ):
                found = shares(results, name, task, evaluation)
                label = evaluation if not row else None
                axis.plot(found, [row + shift] * len(found), 'o', ms=3.5, color=colour, label=label)
                if found:
                    axis.plot([statistics.mean(found)], [row + shift], '|', ms=11, color=colour)
        axis.set(xlabel=title)
        axis.grid(alpha=0.3)
    axes[0].set_yticks(range(len(names)), [NETWORKS[name].title for name in names], fontsize=8)
    axes[0].set_ylim(len(names) - 0.5, -0.5)
    axes[0].axvline(50, color='#666', linewidth=0.8, linestyle='--')  # chance
    axes[1].legend(fontsize=7)
    figure.savefig(path, dpi=110)
