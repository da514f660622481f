"""The one reading of a folder of labelled images: what checking prints and what a run uses."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

from ..errors import ArgumentError
from .ade_reading import read_ade, read_ade_evaluation
from .coco_reading import read_coco, read_coco_evaluation
from .files import image_files
from .layouts import find_ade, find_ade_evaluation, find_coco, find_coco_evaluation
from .reading import Progress, Reading

OBJECTS, LABEL_MAPS = 'objects', 'label maps'  # what a task learns from

# of a folder, what is known of label 0, and a wrapper of loops; None: it is not in that layout
Read = Callable[[Path, bool | None, Progress], Reading | None]


def _coco(folder: Path, ignore_zero: bool | None, progress: Progress) -> Reading | None:
    found = find_coco(folder)
    return found and read_coco(folder, found, progress)


def _coco_evaluation(folder: Path, ignore_zero: bool | None, progress: Progress) -> Reading | None:
    found = find_coco_evaluation(folder)
    return found and read_coco_evaluation(folder, found, progress)


def _ade(folder: Path, ignore_zero: bool | None, progress: Progress) -> Reading | None:
    found = find_ade(folder)
    return found and read_ade(folder, found, ignore_zero, progress)


def _ade_evaluation(folder: Path, ignore_zero: bool | None, progress: Progress) -> Reading | None:
    found = find_ade_evaluation(folder)
    return found and read_ade_evaluation(folder, found, ignore_zero, progress)


class Format(NamedTuple):
    """How folders of one format are read.

    Attributes:
        labels: what it holds: `OBJECTS` or `LABEL_MAPS`.
        seen_by: what there is in such a folder, for messages.
        read: everything in the folder.
        read_for_evaluation: what a model is evaluated on.
    """

    labels: str
    seen_by: str
    read: Read
    read_for_evaluation: Read


# A new format is a row here (finder in layouts.py, reader in a module of its own that gives a
# CocoReading or an AdeReading) and a line in `format_of`; those of a kind are tried in this order.
FORMATS = {
    'COCO': Format(
        OBJECTS,
        "COCO's layout (a JSON file with images, annotations and categories)",
        _coco,
        _coco_evaluation,
    ),
    'ADE': Format(
        LABEL_MAPS,
        "ADE20K's (images/training and annotations/training)",
        _ade,
        _ade_evaluation,
    ),
}
MISSING = {
    OBJECTS: (
        'has no annotation file in COCO format (JSON with images, annotations and categories), '
        'which a detector needs'
    ),
    LABEL_MAPS: (
        'has no images/training and annotations/training (or train), which a segmentor needs'
    ),
}


def format_of(folder: Path) -> str:
    """The name in `FORMATS` of what lies in ``folder``.

    Raises:
        ArgumentError: neither.
    """
    ade = find_ade(folder)  # first: other JSON files may lie beside label maps
    if ade is not None and image_files(ade.train.labels):
        return 'ADE'
    if find_coco(folder) is not None:
        return 'COCO'
    if ade is not None:
        return 'ADE'
    kinds = ' nor in '.join(kind.seen_by for kind in FORMATS.values())
    raise ArgumentError(f'{folder} is neither in {kinds}')


def read_folder(
    folder: Path,
    labels: str | None = None,
    *,
    ignore_zero: bool | None = None,
    progress: Progress = iter,
) -> Reading:
    """Read everything in ``folder``: annotations, and every image wholly.

    What is wrong with it is in the reading's findings, also where training would fail.

    Args:
        folder: of labelled images.
        labels: `OBJECTS` or `LABEL_MAPS`; None: whichever it has.
        ignore_zero: label 0 of label maps means "unlabelled"; None: told from classes.txt, see
            `ade.class_names`.
        progress: wraps each loop over images, such as tqdm.

    Raises:
        ArgumentError: the folder has no such labels, or an annotation file is broken.
        FileError: annotations without their images.
    """
    labels = labels or FORMATS[format_of(folder)].labels
    readings = (kind.read(folder, ignore_zero, progress) for kind in formats_with(labels))
    return _first(readings, folder, labels)


def formats_with(labels: str) -> list[Format]:
    """The formats that hold ``labels``: `OBJECTS` or `LABEL_MAPS`."""
    return [kind for kind in FORMATS.values() if kind.labels == labels]


def _first(readings: Iterable[Reading | None], folder: Path, labels: str) -> Reading:
    """The first reading that there is."""
    for reading in readings:
        if reading is not None:
            return reading
    raise ArgumentError(f'{folder} {MISSING[labels]}')


def read_for_evaluation(
    folder: Path,
    labels: str,
    *,
    ignore_zero: bool | None = None,
    progress: Progress = iter,
) -> Reading:
    """`read_folder` of what a model is evaluated on alone.

    That is the validation split. Where there is none, it is the share that training holds out of
    images that are named for training, or all images where no name says so.

    Args:
        folder: as in `read_folder`.
        labels: `OBJECTS` or `LABEL_MAPS`.
        ignore_zero: as in `read_folder`.
        progress: as in `read_folder`.

    Raises:
        As `read_folder`.
    """
    kinds = formats_with(labels)
    readings = (kind.read_for_evaluation(folder, ignore_zero, progress) for kind in kinds)
    return _first(readings, folder, labels)
