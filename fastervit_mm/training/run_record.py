"""What a run was started with: its command and the versions of what it stands on."""

from __future__ import annotations

import json
import platform
import shlex
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from ..errors import reading
from ..operators import operators_in_use

FILE = 'run.json'
PACKAGES = (
    'fastervit_mm',
    'torch',
    'torchvision',
    'timm',
    'onedl-mmengine',
    'onedl-mmcv',
    'onedl-mmdetection',
    'onedl-mmsegmentation',
    'mmengine',
    'mmcv',
    'mmcv-lite',
    'mmdet',
    'mmsegmentation',
    'numpy',
)


def versions() -> dict[str, str]:
    """Of Python and the packages that are installed, and whose operators mmcv uses."""
    found = {'python': platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue  # of the other package line
    operators = operators_in_use()
    return found if operators is None else found | {'operators of mmcv': operators}


def write_record(work_dir: Path) -> None:
    """Write this process's command and versions into ``work_dir``."""
    work_dir.mkdir(parents=True, exist_ok=True)
    record = dict(command='python ' + shlex.join(sys.argv), versions=versions())
    (work_dir / FILE).write_text(json.dumps(record, indent=1))


def read_record(work_dir: Path) -> dict[str, Any]:
    """What `write_record` wrote; empty where the run was not started by our tools.

    Raises:
        FileError: it is something else.
    """
    path = work_dir / FILE
    if not path.exists():
        return {}
    with reading(path, 'move it out of the work dir'):
        record = json.loads(path.read_text())
        if not isinstance(record, dict) or not isinstance(record.get('versions', {}), dict):
            raise ValueError('it is no record of a run')
    return record
