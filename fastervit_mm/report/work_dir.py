"""What a run has left in its work dir: config, checkpoints, logged curves."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ..config.run_folder import CONFIG, read_record
from ..errors import FileError, reading

Curves = dict[str, list[tuple[float, float]]]  # name -> (step, value), in order


def find_config(work_dir: Path) -> Path:
    """The resolved config that training wrote into ``work_dir``.

    Raises:
        FileError: none, or several.
    """
    named = work_dir / str(read_record(work_dir).get(CONFIG) or '')
    if named.is_file():
        return named
    found = sorted(work_dir.glob('*.py'))
    if len(found) != 1:
        raise FileError(
            f'{work_dir} holds {len(found)} configs; a work dir of tools/train.py holds one'
        )
    return found[0]


def find_checkpoint(work_dir: Path) -> Path:
    """The best checkpoint of a run, or else its last.

    Raises:
        FileError: there is none, or none where ``last_checkpoint`` says.
    """
    best = sorted(work_dir.glob('best_*.pth'), key=lambda p: p.stat().st_mtime)
    if best:
        return best[-1]
    last = work_dir / 'last_checkpoint'
    if not last.is_file():
        raise FileError(f'{work_dir} holds no checkpoint; training writes one')
    with reading(last, 'write the name of a checkpoint into it'):
        named = Path(last.read_text().strip())
        own = work_dir / named.name  # a folder that was moved or copied has its own
        if own.is_file() or named.is_file():
            return own if own.is_file() else named
    raise FileError(
        f'{last} names {named}, which is not there; write the name of a checkpoint into it'
    )


def is_complete(files: Iterable[Path], checkpoint: Path) -> bool:
    """Whether all ``files`` are there, and none is older than ``checkpoint``."""
    made = checkpoint.stat().st_mtime
    return all(path.is_file() and path.stat().st_mtime >= made for path in files)


def _logged(path: Path) -> list[dict[str, Any]]:
    """The entries of a log; the last line is left out where a kill tore it.

    Raises:
        FileError: it is no such log.
    """
    with reading(path, 'move it out of the work dir'):
        lines = path.read_text(encoding='utf-8').splitlines(keepends=True)
        entries = []
        for number, line in enumerate(lines, 1):
            if number == len(lines) and not line.endswith('\n') and not line.endswith('}'):
                break
            entry = json.loads(line)
            if not isinstance(entry, dict):
                raise ValueError(f'line {number} is no JSON object')
            entries.append(entry)
    return entries


def read_curves(work_dir: Path) -> Curves:
    """Logged scalars of all parts of a run.

    A part that was resumed takes the place of what earlier ones logged from its first step on.

    Raises:
        FileError: a log is not what mmengine writes.
    """
    curves: Curves = {}
    for path in sorted(work_dir.glob('*/vis_data/scalars.json')):
        part: dict[str, dict[float, float]] = {}
        for entry in _logged(path):
            step = entry.pop('step', None)
            for name, value in entry.items():
                if isinstance(step, (int, float)) and isinstance(value, (int, float)):
                    part.setdefault(name, {})[step] = value
        for name, points in part.items():
            kept = [point for point in curves.get(name, []) if point[0] < min(points)]
            curves[name] = kept + sorted(points.items())
    return curves
