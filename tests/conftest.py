"""Fixtures that several tests share: published names, real photographs, drawn scenes."""

import gc
import json
import os
from pathlib import Path

import pytest
import torch

from tests.helpers import FIXTURES, PHOTOGRAPHS

if os.environ.get('FILL_UNINITIALISED'):  # make test-nan: what nobody wrote is NaN, not luck
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = True


def pytest_collection_finish() -> None:
    """What imports have made stays: mmengine collects garbage for each data set, a second each."""
    gc.freeze()


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
