"""The one reading of a folder of labelled images: what checking prints and what a run uses."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from ..errors import ArgumentError
from .ade_reading import read_ade, read_ade_evaluation
from .coco_reading import read_coco, read_coco_evaluation
from .layouts import (
    find_ade,
    find_ade_evaluation,
    find_coco,
    find_coco_evaluation,
    image_files,
)
from .reading import Progress, Reading

NEITHER = (
    "is neither in COCO's layout (a JSON file with images, annotations and categories) nor in "
    "ADE20K's (images/training and annotations/training)"
)

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


class Layout(NamedTuple):
    """How folders for one task are read.

    Another file format is found and read here too: its reader gives the same kind of reading.

    Attributes:
        read: everything in the folder.
        read_for_evaluation: what a model is evaluated on.
        missing: what to say of a folder that is not in this layout.
    """

    read: Read
    read_for_evaluation: Read
    missing: str


LAYOUTS = {
    'COCO': Layout(
        _coco,
        _coco_evaluation,
        'has no annotation file in COCO format (JSON with images, annotations and categories), '
        'which a detector needs',
    ),
    'ADE': Layout(
        _ade,
        _ade_evaluation,
        'has no images/training and annotations/training (or train), which a segmentor needs',
    ),
}


def layout_of(folder: Path) -> str:
    """The name in `LAYOUTS` of what lies in ``folder``.

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
    raise ArgumentError(f'{folder} {NEITHER}')


def read_folder(
    folder: Path,
    layout: str | None = None,
    *,
    ignore_zero: bool | None = None,
    progress: Progress = iter,
) -> Reading:
    """Read everything in ``folder``: annotations, and every image wholly.

    What is wrong with it is in the reading's findings, also where training would fail.

    Args:
        folder: of labelled images.
        layout: name in `LAYOUTS`; None: whichever it has.
        ignore_zero: label 0 of label maps means "unlabelled"; None: told from classes.txt, see
            `ade.class_names`.
        progress: wraps each loop over images, such as tqdm.

    Raises:
        ArgumentError: the folder is not in that layout, or an annotation file is broken.
        FileError: annotations without their images.
    """
    kind = LAYOUTS[layout or layout_of(folder)]
    reading = kind.read(folder, ignore_zero, progress)
    if reading is None:
        raise ArgumentError(f'{folder} {kind.missing}')
    return reading


def read_for_evaluation(
    folder: Path,
    layout: str,
    *,
    ignore_zero: bool | None = None,
    progress: Progress = iter,
) -> Reading:
    """`read_folder` of what a model is evaluated on alone.

    That is the validation split. Where there is none, it is the share that training holds out of
    images that are named for training, or all images where no name says so.

    Args:
        folder: as in `read_folder`.
        layout: name in `LAYOUTS`.
        ignore_zero: as in `read_folder`.
        progress: as in `read_folder`.

    Raises:
        As `read_folder`.
    """
    kind = LAYOUTS[layout]
    reading = kind.read_for_evaluation(folder, ignore_zero, progress)
    if reading is None:
        raise ArgumentError(f'{folder} {kind.missing}')
    return reading
