"""What an image file is, before training trips over it."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from PIL import Image

EXIF_ORIENTATION = 0x0112
SWAPPING = (5, 6, 7, 8)  # EXIF orientations that exchange width and height


class ImageFacts(NamedTuple):
    """What a file's header says.

    Attributes:
        size: width and height in px, as stored.
        kind: None for ordinary colour; else grey, 16-bit, palette, CMYK or alpha.
        rotation: EXIF orientation; 1 where there is none.
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


def probe(path: Path, decode: bool = False) -> ImageFacts:
    """Facts of the image at ``path``; with ``decode`` all of its pixels are read too."""
    if not path.is_file():
        return ImageFacts(fault='missing')
    try:
        with Image.open(path) as image:
            kind = '16-bit' if image.mode.startswith(('I', 'F')) else KINDS.get(image.mode)
            facts = ImageFacts(image.size, kind, image.getexif().get(EXIF_ORIENTATION, 1))
            if decode:
                image.load()
            return facts
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        return ImageFacts(fault=f'unreadable ({str(error) or type(error).__name__})')
