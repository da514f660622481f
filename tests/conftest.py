"""What several tests share: small networks, published-format weights, real photographs."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

ROOT = Path(__file__).resolve().parent.parent
DATA = Path(__file__).resolve().parent / 'data'
sys.path.insert(0, str(Path(__file__).resolve().parent))

from formula import tensor  # noqa: E402

# a folder with coco_tiny and ade_samples; real photographs are not part of the project
PHOTOGRAPHS = Path(os.environ.get('FASTERVIT_MM_TEST_DATA', ROOT.parent / 'shared' / 'data'))

SMALL = dict(dim=16, in_dim=8, depths=(1, 1, 2, 1), num_heads=(1, 1, 2, 4))


@pytest.fixture(scope='session')
def official_keys() -> dict:
    """Names and shapes of every published checkpoint, by our variant names."""
    published = json.loads((DATA / 'official_checkpoint_keys.json').read_text())
    return {
        name.replace('faster_vit', 'fastervit').removesuffix('_224')
        if '21k' not in name
        else name.replace('faster_vit', 'fastervit'): entry
        for name, entry in published.items()
    }


def published_tensor(name: str, shape: list[int]) -> torch.Tensor:
    """Deterministic stand-in for the entry ``name`` of a published file."""
    alias = name.replace('.to_global_feature.pos.', '.pos_embed.')
    return torch.from_numpy(np.array(tensor(alias, shape)))


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
    from fastervit_mm.shapes import write_shapes

    root = tmp_path_factory.mktemp('shapes')
    write_shapes(root, train=4, val=2, size=64)
    return root


def few(batch: int = 2) -> list[str]:
    """Options for a run of seconds without loader workers."""
    loaders = ('train_dataloader', 'val_dataloader', 'test_dataloader')
    return [
        f'train_dataloader.batch_size={batch}',
        'default_hooks.logger.interval=1',
        *(f'{loader}.num_workers=0' for loader in loaders),
        *(f'{loader}.persistent_workers=False' for loader in loaders),
    ]


def run_tool(tool: str, *arguments, expect: int = 0) -> str:
    """Run a tool from the project's root, as a user would; its output."""
    command = [sys.executable, f'tools/{tool}'] if tool.endswith('.py') else [f'tools/{tool}']
    path = f'{Path(sys.executable).parent}{os.pathsep}{os.environ["PATH"]}'
    done = subprocess.run(
        [*command, *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=dict(os.environ, PATH=path, CUDA_VISIBLE_DEVICES='-1'),
    )
    output = done.stdout + done.stderr
    assert done.returncode == expect, output[-4000:]
    return output
