"""The reading of a folder in ADE20K's layout."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import ClassVar, NamedTuple

from PIL import Image

from ..errors import ArgumentError
from ..pictures import draw_labels
from .ade import inspect_ade, read_labels, settle_classes, split_held_out
from .files import by_stem
from .findings import Findings
from .layouts import AdeEvaluation, AdeLayout, AdeSplit
from .reading import Progress, Reading, Sample, open_image, problems_of


class AdePart(NamedTuple):
    """Usable images and their label maps.

    Attributes:
        split: their folders.
        stems: the names (`layouts.stem_of`) that an image and its label map share.
        image_suffix: that all images have.
        label_suffix: that all label maps have.
    """

    split: AdeSplit
    stems: list[str]
    image_suffix: str = ''
    label_suffix: str = ''


@dataclass
class AdeReading(Reading):
    """What is in a folder in ADE20K's layout.

    Attributes:
        named: whether it names its classes; else they are numbered.
        ignore_zero: label 0 means "unlabelled", label 1 is the first class.
        splits: each that was read, whole, in the order of ``findings``.
        train: what to learn from; None: nothing, as for an evaluation.
        val: what to evaluate on; None: nothing, then a finding is fatal.
    """

    layout: ClassVar[str] = 'ADE'
    unit: ClassVar[str] = 'pixels'
    counted: ClassVar[str] = 'labelled pixels'

    named: bool
    ignore_zero: bool
    splits: list[AdePart]
    train: AdePart | None
    val: AdePart | None

    @property
    def image_folders(self) -> list[Path]:
        """See `Reading.image_folders`."""
        return [part.split.images for part in self.splits]

    def note_small_images(self, least: int) -> None:
        """See `Reading.note_small_images`; mmseg trains on images of any size."""

    def iter_samples(self) -> Iterator[Sample]:
        """The usable images of each split."""
        first = 1 if self.ignore_zero else 0
        for part, findings in zip(self.splits, self.findings, strict=True):
            images, maps = by_stem(part.split.images), by_stem(part.split.labels)
            for stem in part.stems:
                draw = partial(_draw, images[stem], maps[stem], first, self.classes)
                yield Sample(images[stem], problems_of(findings, images[stem].name), draw)


def _draw(path: Path, labels: Path, first: int, classes: tuple[str, ...]) -> Image.Image:
    """An image with its label map, whose label ``first`` is the first class."""
    values = read_labels(labels)
    assert values is not None, f'{labels} has colours'  # such maps are no usable ones
    return draw_labels(open_image(path, turned=True), values.astype(int) - first, classes)


def _with_suffixes(part: AdePart, findings: Findings) -> AdePart:
    """The part with the suffixes of its files; a fatal line where there are several."""
    suffixes = []
    for folder, what in ((part.split.images, 'images'), (part.split.labels, 'label maps')):
        files = by_stem(folder)
        found = {files[stem].suffix for stem in part.stems}
        if len(found) > 1:
            findings.fatal.append(
                f'{what} in {folder} end in {", ".join(sorted(found))}; mmseg reads '
                'one kind of file in a split: convert them to one'
            )
        suffixes.append(min(found, default=''))
    return part._replace(image_suffix=suffixes[0], label_suffix=suffixes[1])


def _held_out(part: AdePart, findings: Findings) -> tuple[AdePart | None, AdePart | None]:
    """What of a split is for training, and what for validation; a fatal line where it is too few."""
    if findings.fatal:
        return None, None
    try:
        train, val = split_held_out(part.stems, part.split.images)
    except ArgumentError as error:
        findings.fatal.append(str(error))
        return None, None
    return part._replace(stems=train), part._replace(stems=val)


def read_ade(
    folder: Path, layout: AdeLayout, ignore_zero: bool | None, progress: Progress
) -> AdeReading:
    """Read every image and label map of a folder; see `folder.read_folder`."""
    found, stems = inspect_ade('training', layout.train, decode=True, progress=progress)
    train: AdePart | None = AdePart(layout.train, stems)
    val: AdePart | None = None
    splits, findings = [AdePart(layout.train, stems)], [found]
    if layout.val is not None:
        val_found, val_stems = inspect_ade('validation', layout.val, decode=True, progress=progress)
        val = AdePart(layout.val, val_stems)
        splits.append(val)
        findings.append(val_found)
    classes, zero = settle_classes(findings, layout, ignore_zero)
    if layout.val is None:
        train, val = _held_out(splits[0], found)
        if val is not None:
            found.note_held_out(len(val.stems))
    if train is not None and val is not None:
        train, val = _with_suffixes(train, found), _with_suffixes(val, findings[-1])
    named = layout.classes is not None
    return AdeReading(folder, classes, findings, named, zero, splits, train, val)


def read_ade_evaluation(
    folder: Path, evaluation: AdeEvaluation, ignore_zero: bool | None, progress: Progress
) -> AdeReading:
    """Read what of a folder a model is evaluated on; see `folder.read_for_evaluation`."""
    split, held_out, names = evaluation
    findings, stems = inspect_ade('evaluation', split, decode=True, progress=progress)
    classes, zero = settle_classes([findings], AdeLayout(split, None, names), ignore_zero)
    whole = AdePart(split, stems)
    val = _held_out(whole, findings)[1] if held_out else whole
    if val is not None:
        findings.note_evaluated(len(val.stems) if held_out else None, str(split.images))
        val = _with_suffixes(val, findings)
    named = names is not None
    return AdeReading(folder, classes, [findings], named, zero, [whole], None, val)
