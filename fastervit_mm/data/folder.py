"""The one reading of a folder of labelled images: what checking prints and what a run uses."""

from __future__ import annotations

from pathlib import Path

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

NO_COCO = (
    'has no annotation file in COCO format (JSON with images, annotations and categories), which a '
    'detector needs'
)
NO_ADE = 'has no images/training and annotations/training (or train), which a segmentor needs'
NEITHER = (
    "is neither in COCO's layout (a JSON file with images, annotations and categories) nor in "
    "ADE20K's (images/training and annotations/training)"
)


def layout_of(folder: Path) -> str:
    """'COCO' or 'ADE', by what lies in ``folder``.

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
        layout: 'COCO' or 'ADE'; None: whichever it has.
        ignore_zero: label 0 of label maps means "unlabelled"; None: told from classes.txt, see
            `ade.class_names`.
        progress: wraps each loop over images, such as tqdm.

    Raises:
        ArgumentError: the folder is not in that layout, or an annotation file is broken.
        FileError: annotations without their images.
    """
    if (layout or layout_of(folder)) == 'COCO':
        coco = find_coco(folder)
        if coco is None:
            raise ArgumentError(f'{folder} {NO_COCO}')
        return read_coco(folder, coco, progress)
    ade = find_ade(folder)
    if ade is None:
        raise ArgumentError(f'{folder} {NO_ADE}')
    return read_ade(folder, ade, ignore_zero, progress)


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
        layout: 'COCO' or 'ADE'.
        ignore_zero: as in `read_folder`.
        progress: as in `read_folder`.

    Raises:
        As `read_folder`.
    """
    if layout == 'COCO':
        coco = find_coco_evaluation(folder)
        if coco is None:
            raise ArgumentError(f'{folder} {NO_COCO}')
        return read_coco_evaluation(folder, coco, progress)
    ade = find_ade_evaluation(folder)
    if ade is None:
        raise ArgumentError(f'{folder} {NO_ADE}')
    return read_ade_evaluation(folder, ade, ignore_zero, progress)
