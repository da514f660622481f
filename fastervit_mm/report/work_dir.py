"""What a run has left in its work dir: config, checkpoints, logged curves."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from ..errors import FileError

Curves = dict[str, list[tuple[float, float]]]  # name -> (step, value), in order


def find_config(work_dir: Path) -> Path:
    """The resolved config that training wrote into ``work_dir``.

    Raises:
        FileError: none, or several.
    """
    found = sorted(work_dir.glob('*.py'))
    if len(found) != 1:
        raise FileError(
            f'{work_dir} holds {len(found)} configs; a work dir of tools/train.py holds one'
        )
    return found[0]


def find_checkpoint(work_dir: Path) -> Path:
    """The best checkpoint of a run, or else its last.

    Raises:
        FileError: there is none.
    """
    best = sorted(work_dir.glob('best_*.pth'), key=lambda p: p.stat().st_mtime)
    if best:
        return best[-1]
    last = work_dir / 'last_checkpoint'
    if not last.is_file():
        raise FileError(f'{work_dir} holds no checkpoint; training writes one')
    path = Path(last.read_text().strip())
    return path if path.is_file() else work_dir / path.name  # where the work dir was moved


def is_complete(files: Iterable[Path], checkpoint: Path) -> bool:
    """Whether all ``files`` are there, and none is older than ``checkpoint``."""
    made = checkpoint.stat().st_mtime
    return all(path.is_file() and path.stat().st_mtime >= made for path in files)


def read_curves(work_dir: Path) -> Curves:
    """Logged scalars of all parts of a run, later parts replacing earlier ones."""
    curves: dict[str, dict[float, float]] = {}
    logs = sorted(work_dir.glob('*/vis_data/scalars.json'))
    for path in logs:
        for line in path.read_text().splitlines():
            entry = json.loads(line)
            step = entry.get('step')
            for name, value in entry.items():
                if step is not None and isinstance(value, (int, float)) and name != 'step':
                    curves.setdefault(name, {})[step] = value
    return {name: sorted(points.items()) for name, points in curves.items()}
