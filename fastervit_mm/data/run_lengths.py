"""Masks as run lengths (RLE), checked before pycocotools reads them: it trusts them blindly."""

from __future__ import annotations

from typing import Any

import numpy as np

BITS, MORE, SIGN = 5, 32, 16  # of a character: those of the number; another follows; it is negative
FIRST = ord('0')
LONGEST = 7  # characters of one number: 32 bits, and a sign


def usable_run_lengths(segmentation: dict[str, Any], height: int, width: int) -> Any | None:
    """The mask, where its runs fill an image of ``height`` × ``width`` px exactly; else None.

    Args:
        segmentation: as the annotation file states it.
        height: of the image, px.
        width: the same.
    """
    stated = segmentation.get('counts')
    counts = decompressed(stated) if isinstance(stated, str) else stated
    if not isinstance(counts, list) or not all(type(count) is int for count in counts):
        return None
    if segmentation.get('size') != [height, width] or sum(counts) != height * width:
        return None
    return None if min(counts) < 0 else dict(size=[height, width], counts=stated)


def decompressed(text: str) -> list[int] | None:
    """The run lengths in COCO's text; None where it is none.

    A number is some characters from '0' on, 5 bits in each, the lowest first. From the fourth on, each
    is the difference to the number two before it.
    """
    if not text.isascii():
        return None
    if not text:
        return []
    bits = np.frombuffer(text.encode(), np.uint8).astype(np.int64) - FIRST
    ends = np.flatnonzero(bits & MORE == 0)
    if bits.min() < 0 or bits.max() >= 2 * MORE or bits[-1] & MORE:
        return None
    starts = np.append(0, ends[:-1] + 1)
    lengths = ends - starts + 1
    if lengths.max() > LONGEST:
        return None
    places = np.arange(len(bits)) - np.repeat(starts, lengths)
    counts = np.add.reduceat((bits & (MORE - 1)) << BITS * places, starts)
    counts -= np.where(bits[ends] & SIGN, 1 << BITS * lengths, 0)
    for first in (1, 2):
        counts[first::2] = counts[first::2].cumsum()
    return counts.tolist()
