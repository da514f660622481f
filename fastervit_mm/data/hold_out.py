"""Which images of a folder without a validation split are held out for validation."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256

HELD_OUT = 0.2  # of the images, about


def place_of(name: str) -> float:
    """Where ``name`` falls between 0 and 1: evenly, and the same on every machine."""
    digest = sha256(name.encode(errors='surrogatepass')).digest()
    return int.from_bytes(digest[:8], 'big') / 2**64


def falls_to_validation(name: str) -> bool:
    """Whether the place of ``name`` is in the share that is held out."""
    return place_of(name) < HELD_OUT


def hold_out(names: Iterable[str]) -> set[str]:
    """Those of ``names`` that are held out: each by its own name alone.

    So images that are added or removed move no other, with two exceptions, for neither side may be
    empty: where no name falls to validation, the one with the lowest place goes there, until a lower
    one is added (of 10 images in one folder of nine, of 30 in one of 800); and where all do, the one
    with the highest place is trained on, until a higher one is added.

    Args:
        names: of images, at least two.
    """
    names = set(names)
    held = {name for name in names if falls_to_validation(name)}
    if not held:
        return {min(names, key=place_of)}
    if held == names:
        return held - {max(names, key=place_of)}
    return held
