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
from ..config.run_folder import CONFIG, CONFIGS, FOLDER, RECORD, read_record
from ..operators import operators_in_use
from ..weights.whole_writing import write_whole

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


def write_record(work_dir: Path, config: str = '') -> None:
    """Write this process's command, its folder, config and versions into ``work_dir``.

    Args:
        work_dir: of the run.
        config: name of the resolved config there. Default: not known.
    """
    work_dir.mkdir(parents=True, exist_ok=True)
    command = 'python ' + shlex.join(sys.argv)
    record: dict[str, Any] = {'command': command, FOLDER: str(work_dir.resolve())}
    earlier = read_record(work_dir).get(CONFIGS, [])
    names = [*(name for name in earlier if name != config), config]
    record |= {CONFIG: config, CONFIGS: names, 'versions': versions()}
    write_whole(work_dir / RECORD, json.dumps(record, indent=1))
