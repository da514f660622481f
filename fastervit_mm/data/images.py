"""What an image file is, before training trips over it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

import cv2
import mmcv
import numpy as np
from PIL import Image

from .text import is_text

EXIF_ORIENTATION = 0x0112
SWAPPING = (5, 6, 7, 8)  # EXIF orientations that exchange width and height
EXTREME = 'image more than 100 times as long as wide'  # resizing may leave it no pixel
TURNED = ('JPEG', 'MPO', 'PNG')  # formats that training's reader turns as EXIF says


class ImageFacts(NamedTuple):
    """What a file's header says.

    Attributes:
        size: width and height in px, as stored.
        kind: None for ordinary colour; else grey, 16-bit, palette, CMYK or alpha.
        rotation: EXIF orientation; 1 where there is none, or the pixels come turned already.
        fault: why it cannot be read; None: it can.
    """

    size: tuple[int, int] = (0, 0)
    kind: str | None = None
    rotation: int = 1
    fault: str | None = None

    @property
    def shown_size(self) -> tuple[int, int]:
        """Width and height in px after the EXIF rotation."""
        return self.size[::-1] if self.rotation in SWAPPING else self.size

    @property
    def extreme(self) -> bool:
        """Whether it is `EXTREME`."""
        return max(self.size) > 100 * min(self.size)


KINDS = {
    'RGB': None,
    'L': 'grey',
    '1': 'grey',
    'LA': 'grey',
    'P': 'palette',
    'CMYK': 'CMYK',
    'RGBA': 'alpha',
    'PA': 'palette',
}


def read_pixels(path: str | Path, turned: bool = True) -> np.ndarray | None:
    """(H, W, 3) uint8 BGR as training reads an image; None where it cannot.

    Args:
        path: of the image.
        turned: as EXIF says; or as stored.
    """
    flag = 'color' if turned else 'color_ignore_orientation'
    try:
        return mmcv.imfrombytes(Path(path).read_bytes(), flag)
    except cv2.error:  # most files that it cannot read give None, some this
        return None


def probe(path: str | Path, decode: bool = False) -> ImageFacts:
    """Facts of the image at ``path``; with ``decode`` training's reader and Pillow read its pixels.

    Pillow notices files that are cut short; training's reader makes up the rest.
    """
    if not os.path.isfile(path):  # unlike Path.is_file, no name is too long for it
        return ImageFacts(fault='missing')
    if not is_text(str(path)):
        return ImageFacts(fault='a name that is not UTF-8: rename it')
    try:
        with Image.open(path) as image:
            facts = _header(image)
            if decode and facts.fault is None:
                image.load()
                facts = facts._replace(fault=_fault_of_reader(path, facts))
            return facts
    except Exception as error:  # the decoders raise whatever a broken file makes of them
        return ImageFacts(fault=f'unreadable ({str(error) or type(error).__name__})')


def _header(image: Image.Image) -> ImageFacts:
    """What the header of an opened image says."""
    kind = '16-bit' if image.mode.startswith(('I', 'F')) else KINDS.get(image.mode)
    rotation = image.getexif().get(EXIF_ORIENTATION, 1)
    if rotation not in range(1, 9) or image.format == 'TIFF':  # which all readers turn, always
        rotation = 1
    fault = 'unreadable (PostScript, which is a program)' if image.format == 'EPS' else None
    if rotation != 1 and image.format not in TURNED:
        fault = f'an EXIF rotation, which is not read in {image.format}: turn its pixels'
    return ImageFacts(image.size, kind, rotation, fault)


def _fault_of_reader(path: str | Path, facts: ImageFacts) -> str | None:
    """Why training could not use an image that Pillow opens; None: it can."""
    pixels = read_pixels(path)
    if pixels is None:
        return 'unreadable (by OpenCV, which training reads with: convert it to PNG or JPEG)'
    size = pixels.shape[1::-1]
    if size != facts.shown_size:
        shown = '×'.join(map(str, facts.shown_size))
        return f'unreadable (OpenCV reads it as {size[0]}×{size[1]}, Pillow as {shown} px)'
    return None
