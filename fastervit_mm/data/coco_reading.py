"""The reading of a folder in COCO's layout."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
from PIL import Image

from ..errors import ArgumentError
from ..pictures import draw_objects
from .coco import Content, category_names, inspect_coco
from .findings import Findings
from .hold_out import falls_to_validation, hold_out
from .layouts import CocoEvaluation, CocoLayout
from .reading import Progress, Reading, Sample, open_image, problems_of
from .text import printable


class CocoPart(NamedTuple):
    """Usable images and their objects.

    Attributes:
        images: their folder.
        content: of an annotation file, as `coco.inspect_coco` leaves it.
    """

    images: Path
    content: Content


@dataclass
class CocoReading(Reading):
    """What is in a folder in COCO's layout.

    Attributes:
        splits: each that was read, whole, in the order of ``findings``.
        train: what to learn from; None: nothing, as for an evaluation.
        val: what to evaluate on; None: nothing, then a finding is fatal.
    """

    layout: ClassVar[str] = 'COCO'
    unit: ClassVar[str] = 'objects'
    counted: ClassVar[str] = 'objects'

    splits: list[CocoPart]
    train: CocoPart | None
    val: CocoPart | None

    @property
    def image_folders(self) -> list[Path]:
        """See `Reading.image_folders`."""
        return [part.images for part in self.splits]

    @property
    def as_stored(self) -> bool:
        """Whether the annotations were made on images that were not turned as EXIF says."""
        return any(findings.rotated['as stored'] for findings in self.findings)

    def note_small_images(self, least: int) -> None:
        """See `Reading.note_small_images`."""
        if self.train is None:
            return
        content, findings, small = self.train.content, self.findings[0], set()
        for image in content['images']:
            size = image['width'], image['height']
            if min(size) < least:
                small.add(image['id'])
                findings.add(
                    'image too small to train on',
                    f'{image["file_name"]}: {size[0]}×{size[1]}, less than {least} px',
                )
        if {a['image_id'] for a in content['annotations']} <= small:
            findings.fatal.append(
                f'no image in {self.train.images} with annotations for training has sides of '
                f'{least} px or more, and the config leaves smaller ones out '
                '(filter_cfg.min_size): use larger images or enlarge these'
            )

    def iter_samples(self) -> Iterator[Sample]:
        """The usable images of each split."""
        turned = not self.as_stored
        for part, findings in zip(self.splits, self.findings, strict=True):
            labels = {c['id']: self.classes.index(c['name']) for c in part.content['categories']}
            objects: dict[Any, list[Content]] = {}
            for annotation in part.content['annotations']:
                objects.setdefault(annotation['image_id'], []).append(annotation)
            for image in part.content['images']:
                path = part.images / image['file_name']
                found = objects.get(image['id'], [])
                yield Sample(
                    path,
                    problems_of(findings, image['file_name']),
                    partial(_draw, path, found, labels, self.classes, turned),
                )


def _draw(
    path: Path,
    annotations: list[Content],
    labels: dict[Any, int],
    classes: tuple[str, ...],
    turned: bool,
) -> Image.Image:
    """An image with its objects.

    Args:
        path: of the image.
        annotations: its objects.
        labels: class index of each category's id.
        classes: names.
        turned: as EXIF says.
    """
    boxes = np.array([[x, y, x + w, y + h] for x, y, w, h in (a['bbox'] for a in annotations)])
    drawn = [labels[a['category_id']] for a in annotations]
    return draw_objects(open_image(path, turned), boxes, drawn, classes)


def match_validation(
    layout: CocoLayout, train: tuple[Findings, Content], val: tuple[Findings, Content]
) -> Content:
    """The validation content in the training's categories: the same names may have other ids.

    Args:
        layout: their files, for messages.
        train: as from `inspect_coco`.
        val: the same; what does not match is a fatal line of its findings.
    """
    (train_findings, train_content), (findings, content) = train, val
    assert layout.val is not None
    files = f'{layout.train.annotations} and {layout.val.annotations}'
    ways = set(+train_findings.rotated), set(+findings.rotated)
    if all(len(w) == 1 for w in ways) and ways[0] != ways[1]:
        findings.fatal.append(
            f'{files}: images with an EXIF rotation are annotated {ways[0].pop()} in the first, '
            f'{ways[1].pop()} in the second, and only one way can be read; turn the pixels '
            'themselves and drop the EXIF tag'
        )
    ids = {c['name']: c['id'] for c in train_content['categories']}
    names = {c['id']: c['name'] for c in content['categories']}
    odd = [printable(name) for name in sorted(set(ids) ^ set(names.values()))]
    if odd:
        findings.fatal.append(
            f'{files} have different categories ({", ".join(odd[:5])}); give both the same'
        )
        return content
    annotations = [
        {**a, 'category_id': ids[names[a['category_id']]]} for a in content['annotations']
    ]
    return {**content, 'categories': train_content['categories'], 'annotations': annotations}


def split_held_out(content: Content, source: Path) -> tuple[Content, Content]:
    """Training and validation content, by `hold_out.hold_out` of the file names.

    Both get images with annotations; those without follow their names alone.

    Args:
        content: as from `inspect_coco`.
        source: for the message.

    Raises:
        ArgumentError: fewer than two images with annotations.
    """
    labelled = {a['image_id'] for a in content['annotations']}
    if len(labelled) < 2:
        raise ArgumentError(
            f'{source} has {len(labelled)} usable image with annotations and there is no '
            'validation split; add images (at least 2, to hold one out) or a validation split'
        )
    names = hold_out(i['file_name'] for i in content['images'] if i['id'] in labelled)
    held = {
        image['id']
        for image in content['images']
        if (
            image['file_name'] in names
            if image['id'] in labelled
            else falls_to_validation(image['file_name'])
        )
    }

    def part(inside: bool) -> Content:
        return {
            **content,
            'images': [i for i in content['images'] if (i['id'] in held) == inside],
            'annotations': [a for a in content['annotations'] if (a['image_id'] in held) == inside],
        }

    return part(False), part(True)


def _held_out(
    part: CocoPart, findings: Findings, source: Path
) -> tuple[CocoPart | None, CocoPart | None]:
    """What of a split is for training, and what for validation; a fatal line where it is too few."""
    if findings.fatal:
        return None, None
    try:
        train, val = split_held_out(part.content, source)
    except ArgumentError as error:
        findings.fatal.append(str(error))
        return None, None
    return part._replace(content=train), part._replace(content=val)


def read_coco(folder: Path, layout: CocoLayout, progress: Progress) -> CocoReading:
    """Read every image and annotation of a folder; see `folder.read_folder`."""
    found, content = inspect_coco('training', layout.train, decode=True, progress=progress)
    train: CocoPart | None = CocoPart(layout.train.images, content)
    splits, findings = [CocoPart(layout.train.images, content)], [found]
    if layout.val is None:
        train, val = _held_out(splits[0], found, layout.train.annotations)
        if val is not None:
            found.note_held_out(len(val.content['images']))
    else:
        val_found, val_content = inspect_coco(
            'validation', layout.val, decode=True, progress=progress
        )
        val_content = match_validation(layout, (found, content), (val_found, val_content))
        val = CocoPart(layout.val.images, val_content)
        splits.append(val)
        findings.append(val_found)
    names = [name for part in splits for name in category_names(part.content['categories'])]
    return CocoReading(folder, tuple(dict.fromkeys(names)), findings, splits, train, val)


def read_coco_evaluation(
    folder: Path, evaluation: CocoEvaluation, progress: Progress
) -> CocoReading:
    """Read what of a folder a model is evaluated on; see `folder.read_for_evaluation`."""
    split, held_out = evaluation
    findings, content = inspect_coco('evaluation', split, decode=True, progress=progress)
    whole = CocoPart(split.images, content)
    val: CocoPart | None = whole
    if held_out:
        val = _held_out(whole, findings, split.annotations)[1]
    if val is not None:
        count = len(val.content['images']) if held_out else None
        findings.note_evaluated(count, split.annotations.name)
    classes = category_names(content['categories'])
    return CocoReading(folder, classes, [findings], [whole], None, val)
