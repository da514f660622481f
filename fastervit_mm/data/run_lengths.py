"""Masks as run lengths (RLE), checked before pycocotools reads them: it trusts them blindly."""

from __future__ import annotations

from typing import Any

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
    counts: list[int] = []
    value = length = 0
    for character in text:
        bits = ord(character) - FIRST
        if not 0 <= bits < 2 * MORE or length == LONGEST:
            return None
        value |= (bits & (MORE - 1)) << BITS * length
        length += 1
        if bits & MORE:
            continue
        if bits & SIGN:
            value -= 1 << BITS * length
        counts.append(value + (counts[-2] if len(counts) > 2 else 0))
        value = length = 0
    return None if length else counts
