"""What a run was started with: its command and the versions of what it stands on."""

from __future__ import annotations

import json
import platform
import shlex
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from ..compatibility import LINES
from ..operators import operators_in_use

FILE = 'run.json'
PACKAGES = (
    'fastervit_mm',
    'torch',
    'torchvision',
    'timm',
    *(package.name for line in LINES.values() for package in line),
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
    """What `write_record` wrote; empty where the run was not started by our tools."""
    path = work_dir / FILE
    return json.loads(path.read_text()) if path.is_file() else {}
