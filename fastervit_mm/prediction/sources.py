"""What inputs name: images, folders, globs, videos and cameras; their names and their frames."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from glob import glob
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, UnidentifiedImageError
from PIL.JpegImagePlugin import JpegImageFile

from ..data.files import IMAGE_SUFFIXES, image_files
from ..errors import FileError

# a detector with 100 masks took 170 bytes for each pixel here, a segmentor of 150 classes 610:
# 11 and 41 GB at this size (docs/training.md)
MAX_PIXELS = 2**26
UNREADABLE = 'no image or video that can be read'
VIDEO_SUFFIXES = ('.mp4', '.avi', '.mov', '.mkv', '.webm', '.m4v')


class Source(NamedTuple):
    """A file, or a camera, to predict on.

    Attributes:
        path: of the file, or the camera's number.
        file: path below the folder that all inputs share, as predictions.json states it.
        name: for the files written, without suffix; no other source has it.
    """

    path: str
    file: str
    name: str


class Frame(NamedTuple):
    """An image to predict on.

    Attributes:
        name: for the files written.
        file: of its `Source`.
        pixels: (H, W, 3) BGR; None: they are not to be had.
        number: in a video, from 1.
        fault: why there are no pixels.
    """

    name: str
    file: str
    pixels: np.ndarray | None
    number: int | None = None
    fault: str | None = None


def is_camera(text: str) -> bool:
    """Whether ``text`` is a camera's number, and no file or folder is called so."""
    return text.isdecimal() and not Path(text).exists()


def expand(inputs: Sequence[str]) -> list[Source]:
    """The files and cameras that ``inputs`` name: files, folders, globs, cameras' numbers.

    What several of them name is there once.

    Raises:
        FileError: one of them names nothing.
    """
    found: dict[str, str] = {}  # by absolute path: the path
    cameras: list[str] = []
    folders: list[str] = []
    for text in inputs:
        if is_camera(text):
            cameras += [text] if text not in cameras else []
            continue
        files = _files_of(text)
        found |= {os.path.abspath(f): f for f in files}
        folders += [text] if Path(text).is_dir() else [os.path.dirname(f) for f in files]
    top = os.path.commonpath([os.path.abspath(f) for f in folders]) if folders else ''
    below = [os.path.relpath(path, top) for path in found]
    names = zip(found.values(), below, _names(below, [f'camera{c}' for c in cameras]), strict=True)
    return [*map(Source._make, names), *(Source(c, f'camera{c}', f'camera{c}') for c in cameras)]


def _files_of(text: str) -> list[str]:
    """The files that ``text`` names: a folder's images, a file, or what a glob finds.

    Raises:
        FileError: none.
    """
    path = Path(text)
    if path.is_dir():
        files = [str(p) for p in image_files(path)]
        if not files:
            raise FileError(
                f'{text} is a folder without images ({", ".join(IMAGE_SUFFIXES)}); leave it out, '
                'or name its videos themselves'
            )
        return files
    files = [text] if path.is_file() else sorted(glob(text, recursive=True))
    if not files:
        raise FileError(f'{text} names no image, folder, video or camera; fix it, or leave it out')
    return files


def _names(files: Sequence[str], taken: Sequence[str]) -> list[str]:
    """A name of its own for each of different ``files``: the stem where that is enough, or else
    the path, with its suffix only where needed.
    """
    choices = [(Path(f).stem, str(Path(f).with_suffix('')), f) for f in files]
    kinds = [_is_video(f) for f in files]  # a number comes after a video's name
    level = [0] * len(files)
    while True:
        names = [choice[i] for choice, i in zip(choices, level, strict=True)]
        counts = Counter([*zip(names, kinds, strict=True), *((name, True) for name in taken)])
        clashes = [
            i
            for i, entry in enumerate(zip(names, kinds, strict=True))
            if level[i] < 2 and (counts[entry] > 1 or _is_frame(names[i], counts))
        ]
        if not clashes:
            return names
        for i in clashes:
            level[i] += 1


def _is_frame(name: str, counts: Counter[tuple[str, bool]]) -> bool:
    """Whether a frame of one of the videos in ``counts`` is or may be called ``name``."""
    match = re.fullmatch(r'(.*)_\d{6,}', name)
    return match is not None and (match[1], True) in counts


def _is_video(path: str) -> bool:
    return Path(path).suffix.lower() in VIDEO_SUFFIXES


def read_image(path: str, max_pixels: int = MAX_PIXELS) -> tuple[np.ndarray | None, str | None]:
    """The pixels of a file, (H, W, 3) BGR, and None; or None and why there are none.

    The header is read first: a small file may state any size.

    Args:
        path: of a file.
        max_pixels: of larger images nothing is decoded.
    """
    import cv2

    if Path(path).suffix.lower() not in IMAGE_SUFFIXES:
        return None, UNREADABLE
    most, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None  # our limit takes its place
    try:
        with Image.open(path) as image:
            fault = _too_large(image.width, image.height, max_pixels)
            if fault is None and isinstance(image, JpegImageFile):
                eighth = max(image.width // 8, 1), max(image.height // 8, 1)
                image.draft('L', eighth)  # in half of the time
                image.load()  # OpenCV makes the missing rest of a JPEG grey
    except UnidentifiedImageError:  # what OpenCV alone reads could have any size
        fault = UNREADABLE
    except (OSError, ValueError, SyntaxError) as error:
        fault = f'unreadable ({error})'
    finally:
        Image.MAX_IMAGE_PIXELS = most
    if fault is not None:
        return None, fault
    try:
        pixels = cv2.imread(path)
    except (cv2.error, MemoryError):  # it has limits of its own
        pixels = None
    return pixels, UNREADABLE if pixels is None else None


def _too_large(width: int, height: int, max_pixels: int) -> str | None:
    """Why an image of this size is left out; None: it is not."""
    if width * height <= max_pixels:
        return None
    return (
        f'{width}x{height} px are more than {max_pixels} px; make it smaller, or allow more '
        'with --max-pixels, where there is memory for it'
    )


def frames_of(source: Source, max_pixels: int = MAX_PIXELS) -> Iterator[Frame]:
    """The frames of a video or camera, or the one image of a file; of larger ones, why not."""
    import cv2

    path, file, name = source
    camera = is_camera(path)
    if not camera and not _is_video(path):
        pixels, fault = read_image(path, max_pixels)
        yield Frame(name, file, pixels, fault=fault)
        return
    capture = cv2.VideoCapture(int(path) if camera else path)
    number = 0
    try:
        while True:
            more, pixels = capture.read()
            if not more:
                break
            number += 1
            fault = _too_large(pixels.shape[1], pixels.shape[0], max_pixels)
            pixels = None if fault is not None else pixels
            yield Frame(f'{name}_{number:06d}', file, pixels, number, fault)
    finally:  # a limit may end it early
        capture.release()
    if number == 0:
        yield Frame(name, file, None, fault=UNREADABLE)


def batches(
    sources: Sequence[Source], size: int, limit: int | None, max_pixels: int = MAX_PIXELS
) -> Iterator[list[Frame]]:
    """Frames of all sources in batches.

    Args:
        sources: of `expand`.
        size: of a batch; the last may be smaller.
        limit: most frames; None: all.
        max_pixels: of larger images there are no pixels.
    """
    found = (frame for source in sources for frame in frames_of(source, max_pixels))
    frames = islice(found, limit)
    while batch := list(islice(frames, size)):
        yield batch
