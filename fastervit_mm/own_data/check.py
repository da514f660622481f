"""Everything that looking at a folder tells, for tools/check_data.py and its page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from ..errors import ArgumentError
from ..tooling.data_folder import read_categories
from ..tooling.pictures import draw_labels, draw_objects
from .ade import class_names, inspect_ade, labels_by_stem, read_labels
from .coco import category_names, inspect_coco
from .findings import REMEDIES, Findings
from .layouts import AdeLayout, CocoLayout, find_ade, find_coco, image_files, stem_of


class Sample(NamedTuple):
    """An image to draw: its file, the size of its labels' problem list, and how to draw it."""

    path: Path
    problems: list[str]
    draw: Callable[[], Image.Image]


@dataclass
class DataCheck:
    """What is in a folder.

    Attributes:
        folder: that was looked at. layout: 'COCO' or 'ADE'.
        classes: names. findings: of each split. samples: images, the worst first.
    """

    folder: Path
    layout: str
    classes: tuple[str, ...]
    findings: list[Findings]
    samples: list[Sample]

    @property
    def fatal(self) -> list[str]:
        """Why training would fail."""
        return [reason for findings in self.findings for reason in findings.fatal]

    def class_counts(self) -> dict[str, list[int]]:
        """For each class, its instances (pixels in label maps) in each split."""
        return {name: [f.instances[name] for f in self.findings] for name in self.classes}

    def tables(self) -> Iterator[tuple[str, list[list[Any]]]]:
        """Headings and rows: splits, classes, problems."""
        yield (
            f'{self.folder}: {self.layout} layout, {len(self.classes)} classes',
            [
                [
                    f.name,
                    f'{len(f.sizes)} images',
                    f'{sum(f.instances.values())} '
                    + ('objects' if self.layout == 'COCO' else 'labelled pixels'),
                ]
                for f in self.findings
            ],
        )
        yield (
            'classes (in each split)',
            [[name, *counts] for name, counts in self.class_counts().items()],
        )
        yield (
            'problems',
            [
                [f.name, len(where), kind, REMEDIES[kind], ', '.join(where[:3])]
                for f in self.findings
                for kind, where in f.problems.items()
            ]
            or [['none']],
        )


def _problems_of(findings: Findings, name: str) -> list[str]:
    """Kinds of problems whose lines name the file ``name``."""
    return [
        kind
        for kind, lines in findings.problems.items()
        if any(line == name or line.startswith((f'{name}:', f'{name},')) for line in lines)
    ]


def _open(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert('RGB'))


def _draw_coco(
    path: Path, annotations: list[dict], classes: dict[int, int], names: tuple[str, ...]
) -> Image.Image:
    boxes = np.array([[x, y, x + w, y + h] for x, y, w, h in (a['bbox'] for a in annotations)])
    return draw_objects(_open(path), boxes, [classes[a['category_id']] for a in annotations], names)


def check_coco(
    folder: Path, layout: CocoLayout, progress: Callable[[Iterable], Iterable]
) -> DataCheck:
    """Look through a folder in COCO's layout."""
    all_findings, samples = [], []
    names = category_names(read_categories(layout.train.annotations))
    for title, split in (('training', layout.train), ('validation', layout.val)):
        if split is None:
            continue
        findings, content = inspect_coco(title, split, decode=True, progress=progress)
        categories = sorted(content['categories'], key=lambda c: c['id'])
        order = {c['id']: i for i, c in enumerate(categories)}
        of_image: dict[Any, list[dict]] = {}
        for annotation in content['annotations']:
            of_image.setdefault(annotation['image_id'], []).append(annotation)
        for image in content['images']:
            path = split.images / image['file_name']
            found = of_image.get(image['id'], [])
            samples.append(
                Sample(
                    path,
                    _problems_of(findings, image['file_name']),
                    lambda path=path, found=found, order=order: _draw_coco(
                        path, found, order, names
                    ),
                )
            )
        all_findings.append(findings)
    return DataCheck(folder, 'COCO', names, all_findings, samples)


def check_ade(
    folder: Path,
    layout: AdeLayout,
    ignore_zero: bool | None,
    progress: Callable[[Iterable], Iterable],
) -> DataCheck:
    """Look through a folder in ADE20K's layout."""
    all_findings, found = [], []
    for title, split in (('training', layout.train), ('validation', layout.val)):
        if split is None:
            continue
        findings, stems = inspect_ade(title, split, decode=True, progress=progress)
        all_findings.append(findings)
        found.append((split, set(stems), findings))
    values = sum((f.instances for f in all_findings), start=Counter())
    names, zero = class_names(values, layout.classes, ignore_zero, all_findings[0])
    first = 1 if zero else 0
    samples = []
    for split, stems, findings in found:
        findings.instances = Counter(
            {
                names[v - first]: n
                for v, n in findings.instances.items()
                if 0 <= v - first < len(names)
            }
        )
        maps = labels_by_stem(split)
        for path in image_files(split.images):
            stem = stem_of(path, split.images)
            if stem in stems:
                samples.append(
                    Sample(
                        path,
                        _problems_of(findings, path.name),
                        lambda path=path, labels=maps[stem]: draw_labels(
                            _open(path), read_labels(labels).astype(int) - first, names
                        ),
                    )
                )
    return DataCheck(folder, 'ADE', names, all_findings, samples)


def check_folder(
    folder: Path, ignore_zero: bool | None = None, progress: Callable[[Iterable], Iterable] = iter
) -> DataCheck:
    """Look through ``folder``, whichever layout it has.

    Raises:
        ArgumentError: neither.
    """
    coco, ade = find_coco(folder), find_ade(folder)
    if coco is not None:
        check = check_coco(folder, coco, progress)
    elif ade is not None:
        check = check_ade(folder, ade, ignore_zero, progress)
    else:
        raise ArgumentError(
            f"{folder} is neither in COCO's layout (a JSON file with images, "
            "annotations and categories) nor in ADE20K's (images/training and "
            'annotations/training)'
        )
    check.samples.sort(key=lambda sample: -len(sample.problems))
    return check
