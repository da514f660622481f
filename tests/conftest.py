"""Fixtures that several tests share: published names, photographs, scenes, what was drawn."""

import gc
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from matplotlib.figure import Figure
from PIL import ImageDraw

import fastervit_mm  # noqa: F401  (mmcv.ops may have to come from it)
from tests.helpers import FIXTURES, PHOTOGRAPHS

if os.environ.get('FILL_UNINITIALISED'):  # make test-nan: what nobody wrote is NaN, not luck
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = True


def pytest_collection_finish() -> None:
    """What imports have made stays: mmengine collects garbage for each data set, a second each."""
    gc.freeze()


@pytest.fixture(autouse=True)
def own_scope() -> Iterator[None]:
    """No test finds the host library's scope that one before it left."""
    yield
    if 'mmengine.registry' in sys.modules:
        from mmengine.registry import DefaultScope

        DefaultScope._instance_dict.clear()


@pytest.fixture
def screen(monkeypatch) -> None:
    """A machine with a screen; nothing is shown on it."""
    monkeypatch.setenv('DISPLAY', ':0')


@pytest.fixture(scope='session')
def official_keys() -> dict:
    """Names and shapes of every published checkpoint, by our variant names."""
    published = json.loads((FIXTURES / 'official_checkpoint_keys.json').read_text())
    return {
        name.replace('faster_vit', 'fastervit').removesuffix('_224')
        if '21k' not in name
        else name.replace('faster_vit', 'fastervit'): entry
        for name, entry in published.items()
    }


@pytest.fixture(scope='session')
def coco_tiny() -> Path:
    folder = PHOTOGRAPHS / 'coco_tiny'
    if not folder.is_dir():
        pytest.skip(f'no photographs at {folder}; set FASTERVIT_MM_TEST_DATA')
    return folder


@pytest.fixture(scope='session')
def ade_samples() -> Path:
    folder = PHOTOGRAPHS / 'ade_samples'
    if not folder.is_dir():
        pytest.skip(f'no photographs at {folder}; set FASTERVIT_MM_TEST_DATA')
    return folder


@pytest.fixture(scope='session')
def shapes(tmp_path_factory) -> Path:
    """Four training and two validation scenes of 64 px, in both layouts."""
    from fastervit_mm.data.drawn_shapes import write_shapes

    root = tmp_path_factory.mktemp('shapes')
    write_shapes(root, train=4, val=2, size=64)
    return root


@pytest.fixture
def figures(monkeypatch) -> list[Figure]:
    """The matplotlib figures that get written, in that order."""
    seen: list[Figure] = []
    save = Figure.savefig

    def savefig(self, *args, **kwargs):
        seen.append(self)
        return save(self, *args, **kwargs)

    monkeypatch.setattr(Figure, 'savefig', savefig)
    return seen


@pytest.fixture
def written(monkeypatch) -> list[tuple]:
    """The texts that get drawn on pictures: (text, x, y, colour, font size), in that order."""
    seen: list[tuple] = []
    write = ImageDraw.ImageDraw.text

    def text(self, xy, text, fill=None, font=None, **kwargs):
        seen.append((text, *xy, fill, font.size))
        return write(self, xy, text, fill=fill, font=font, **kwargs)

    monkeypatch.setattr(ImageDraw.ImageDraw, 'text', text)
    return seen
