"""Masks as run lengths: what pycocotools writes is taken, what would crash it is not."""

import numpy as np
import pytest
from pycocotools import mask

from fastervit_mm.data.run_lengths import decompressed, usable_run_lengths


def runs_of(pixels: np.ndarray) -> list[int]:
    """Counted pixel by pixel, column by column, beginning with those that are not set."""
    runs, value = [0], 0
    for pixel in pixels.flatten('F').tolist():
        if pixel != value:
            runs.append(0)
            value = pixel
        runs[-1] += 1
    return runs


@pytest.mark.parametrize('seed', range(20))
def test_what_pycocotools_writes_is_read_by_us_too(seed):
    rng = np.random.default_rng(seed)
    for share in rng.random(10):
        height, width = rng.integers(1, 50, 2).tolist()
        pixels = (rng.random((height, width)) < share).astype(np.uint8)
        text = mask.encode(np.asfortranarray(pixels))['counts'].decode()
        assert decompressed(text) == runs_of(pixels)
        stated = dict(size=[height, width], counts=text)
        assert usable_run_lengths(stated, height, width) == stated
        stated = dict(size=[height, width], counts=runs_of(pixels))
        assert usable_run_lengths(stated, height, width) == stated
        assert usable_run_lengths(stated, height, width + 1) is None


def test_large_numbers():
    pixels = np.zeros((5000, 4000), np.uint8, 'F')
    pixels[-1, -1] = 1
    assert decompressed(mask.encode(pixels)['counts'].decode()) == [19_999_999, 1]


def test_a_changed_text_is_taken_only_where_it_fills_the_image():
    """Then pycocotools reads it without a crash."""
    pixels = np.zeros((20, 30), np.uint8, 'F')
    pixels[3:9, 4:20] = 1
    text, rng, taken = mask.encode(pixels)['counts'], np.random.default_rng(0), 0
    for _ in range(2000):
        changed = bytearray(text)
        changed[rng.integers(len(text))] = rng.integers(40, 120)
        usable = usable_run_lengths(dict(size=[20, 30], counts=changed.decode()), 20, 30)
        if usable is not None:
            taken += 1
            assert mask.decode(usable).shape == (20, 30)
    assert 0 < taken < 2000
