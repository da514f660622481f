"""The page of tools/check_data.py: classes, sizes, sample images with their labels, worst first."""

from __future__ import annotations

from .html import figure, new_figure, page, picture, table
from ..data.check import DataCheck
from ..data.findings import REMEDIES

SAMPLES = 24
THUMBNAIL = 420  # px, longer side


def _class_histogram(check: DataCheck) -> str:
    counts = check.class_counts()
    plot, axes = new_figure(height=max(2.0, 0.22 * len(counts) + 0.8))
    left = [0] * len(counts)
    for i, findings in enumerate(check.findings):
        values = [row[i] for row in counts.values()]
        axes.barh(list(counts), values, left=left, label=findings.name)
        left = [a + b for a, b in zip(left, values, strict=True)]
    axes.invert_yaxis()
    axes.set_xlabel('objects' if check.layout == 'COCO' else 'pixels')
    axes.legend()
    return figure(plot, 'instances of each class')


def _size_scatter(check: DataCheck) -> str:
    plot, (left, right) = new_figure(columns=2)
    for findings in check.findings:
        if findings.sizes:
            left.scatter(*zip(*findings.sizes, strict=True), s=8, alpha=0.5, label=findings.name)
            right.hist([w / h for w, h in findings.sizes], bins=30, alpha=0.5)
    left.set(xlabel='width, px', ylabel='height, px')
    right.set(xlabel='width / height', ylabel='images')
    left.legend()
    return figure(plot, 'sizes and aspects of the images')


def _samples(check: DataCheck) -> str:
    out = []
    for sample in check.samples[:SAMPLES]:
        image = sample.draw()
        image.thumbnail((THUMBNAIL, THUMBNAIL))
        notes = ': ' + ', '.join(sample.problems) if sample.problems else ''
        out.append(picture(image, sample.path.name + notes))
    return ''.join(out)


def data_page(check: DataCheck) -> str:
    """The whole page, self-contained."""
    problems = [
        [f.name, kind, len(where), REMEDIES[kind], ', '.join(where[:5])]
        for f in check.findings
        for kind, where in f.problems.items()
    ]
    verdict = (
        '<p class="bad">Training would fail: ' + ' '.join(check.fatal) + '</p>'
        if check.fatal
        else '<p>Training would start.</p>'
    )
    return page(
        f'{check.folder}: {check.layout} layout',
        [
            (
                'Verdict',
                verdict
                + table(
                    ['split', 'images', 'instances'],
                    [[f.name, len(f.sizes), sum(f.instances.values())] for f in check.findings],
                ),
            ),
            (
                'Problems',
                table(['split', 'problem', 'count', 'in training', 'such as'], problems)
                if problems
                else '<p>None found.</p>',
            ),
            ('Classes', _class_histogram(check)),
            ('Sizes', _size_scatter(check)),
            (
                f'Images with their labels, the worst first ({min(SAMPLES, len(check.samples))} of '
                f'{len(check.samples)})',
                _samples(check),
            ),
        ],
    )
