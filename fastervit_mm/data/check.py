"""Everything that looking at a folder tells, for tools/check_data.py and its page."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageOps

from ..errors import ArgumentError
from ..pictures import draw_labels, draw_objects
from .adapt import HELD_OUT, SEED, hold_out_stems
from .ade import inspect_ade, labels_by_stem, read_labels, settle_classes
from .coco import category_names, hold_out, inspect_coco, match_validation
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


def _open(path: Path, turned: bool) -> np.ndarray:
    """(H, W, 3) RGB as training reads it, ``turned`` as EXIF says or as stored."""
    with Image.open(path) as image:
        return np.asarray((ImageOps.exif_transpose(image) if turned else image).convert('RGB'))


def _draw_coco(
    path: Path,
    annotations: list[dict],
    classes: dict[int, int],
    names: tuple[str, ...],
    turned: bool,
) -> Image.Image:
    boxes = np.array([[x, y, x + w, y + h] for x, y, w, h in (a['bbox'] for a in annotations)])
    labels = [classes[a['category_id']] for a in annotations]
    return draw_objects(_open(path, turned), boxes, labels, names)


def _note_fault(findings: Findings, attempt: Callable[[], Any]) -> None:
    """Note why ``attempt``, which training makes, fails; unless a reason is known already."""
    try:
        attempt()
    except ArgumentError as error:
        if not findings.fatal:
            findings.fatal.append(str(error))


def check_coco(
    folder: Path, layout: CocoLayout, progress: Callable[[Iterable], Iterable]
) -> DataCheck:
    """Look through a folder in COCO's layout."""
    findings, content = inspect_coco('training', layout.train, decode=True, progress=progress)
    parts = [(layout.train, findings, content)]
    if layout.val is None:
        _note_fault(findings, lambda: hold_out(content, HELD_OUT, SEED, layout.train.annotations))
    else:
        val_findings, val = inspect_coco('validation', layout.val, decode=True, progress=progress)
        val = match_validation(layout, (findings, content), (val_findings, val))
        parts.append((layout.val, val_findings, val))
    names = tuple(dict.fromkeys(n for _, _, c in parts for n in category_names(c['categories'])))
    turned = not any(findings.rotated['as stored'] for _, findings, _ in parts)
    samples = []
    for split, findings, content in parts:
        order = {c['id']: names.index(c['name']) for c in content['categories']}
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
                        path, found, order, names, turned
                    ),
                )
            )
    return DataCheck(folder, 'COCO', names, [findings for _, findings, _ in parts], samples)


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
    names, zero = settle_classes(all_findings, layout, ignore_zero)
    if layout.val is None:
        _note_fault(all_findings[0], lambda: hold_out_stems(stems, layout.train.images))
    first = 1 if zero else 0
    samples = []
    for split, stems, findings in found:
        maps = labels_by_stem(split)
        for path in image_files(split.images):
            stem = stem_of(path, split.images)
            if stem in stems:
                samples.append(
                    Sample(
                        path,
                        _problems_of(findings, path.name),
                        lambda path=path, labels=maps[stem]: draw_labels(
                            _open(path, turned=True), read_labels(labels).astype(int) - first, names
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
    ade = find_ade(folder)  # first: other JSON files may lie beside label maps
    coco = None if ade is not None and image_files(ade.train.labels) else find_coco(folder)
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
