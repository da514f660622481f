"""Every config of the project, read once for all tests."""

from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

from mmengine.config import Config

from tests.helpers import ROOT

CONFIGS = ROOT / 'configs'
PATHS = sorted(p for p in CONFIGS.rglob('*.py') if '_base_' not in p.parts)
NAMES = [str(p.relative_to(CONFIGS).with_suffix('')) for p in PATHS]


@cache
def _read(path: Path) -> Config:
    return Config.fromfile(path)


def read(name: str) -> Config:
    """A copy of the config ``name``, such as 'detection/cascade_fastervit_0_3x'."""
    return deepcopy(_read(CONFIGS / f'{name}.py'))


def as_dict(name: str) -> dict[str, Any]:
    return _read(CONFIGS / f'{name}.py').to_dict()
