"""The page of tools/check_data.py: classes, sizes, sample images with their labels, worst first."""

from __future__ import annotations

from ..data.findings import REMEDIES
from ..data.reading import Reading, Sample
from .html import escape, figure, new_figure, page, picture, table

SAMPLES = 24
THUMBNAIL = 420  # px, longer side


def _class_histogram(reading: Reading) -> str:
    counts = reading.class_counts()
    plot, axes = new_figure(height=max(2.0, 0.22 * len(counts) + 0.8))
    left = [0] * len(counts)
    for i, findings in enumerate(reading.findings):
        values = [row[i] for row in counts.values()]
        axes.barh(list(counts), values, left=left, label=findings.name)
        left = [a + b for a, b in zip(left, values, strict=True)]
    axes.invert_yaxis()
    axes.set_xlabel(reading.unit)
    axes.legend()
    return figure(plot, 'instances of each class')


def _size_scatter(reading: Reading) -> str:
    plot, (left, right) = new_figure(columns=2)
    for findings in reading.findings:
        if findings.sizes:
            left.scatter(*zip(*findings.sizes, strict=True), s=8, alpha=0.5, label=findings.name)
            right.hist([w / h for w, h in findings.sizes], bins=30, alpha=0.5)
    left.set(xlabel='width, px', ylabel='height, px')
    right.set(xlabel='width / height', ylabel='images')
    left.legend()
    return figure(plot, 'sizes and aspects of the images')


def _samples(samples: list[Sample]) -> str:
    out = []
    for sample in samples[:SAMPLES]:
        image = sample.draw()
        image.thumbnail((THUMBNAIL, THUMBNAIL))
        notes = ': ' + ', '.join(sample.problems) if sample.problems else ''
        out.append(picture(image, sample.path.name + notes))
    return ''.join(out)


def _verdict(reading: Reading) -> str:
    """Whether training would start, and what is in each split."""
    fatal = reading.fatal
    return (
        f'<p class="bad">Training would fail: {escape(" ".join(fatal))}</p>'
        if fatal
        else '<p>Training would start.</p>'
    ) + table(
        ['split', 'images', 'instances'],
        [[f.name, len(f.sizes), sum(f.instances.values())] for f in reading.findings],
    )


def _problems(reading: Reading) -> str:
    """A row for each kind of problem of each split."""
    rows = [
        [f.name, kind, len(where), REMEDIES[kind], ', '.join(where[:5])]
        for f in reading.findings
        for kind, where in f.problems.items()
    ]
    head = ['split', 'problem', 'count', 'in training', 'such as']
    return table(head, rows) if rows else '<p>None found.</p>'


def data_page(reading: Reading) -> str:
    """The whole page, self-contained."""
    shown = min(SAMPLES, len(reading.samples))
    return page(
        f'{reading.folder}: {reading.layout} layout',
        [
            ('Verdict', _verdict(reading)),
            ('Problems', _problems(reading)),
            ('Classes', _class_histogram(reading)),
            ('Sizes', _size_scatter(reading)),
            (
                f'Images with their labels, the worst first ({shown} of {len(reading.samples)})',
                _samples(reading.samples),
            ),
        ],
    )
