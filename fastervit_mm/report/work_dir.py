"""What a run has left in its work dir: config, checkpoints, logged curves."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from ..config.run_folder import CONFIG, read_record
from ..errors import FileError

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
        FileError: there is none.
    """
    best = sorted(work_dir.glob('best_*.pth'), key=lambda p: p.stat().st_mtime)
    if best:
        return best[-1]
    last = work_dir / 'last_checkpoint'
    if not last.is_file():
        raise FileError(f'{work_dir} holds no checkpoint; training writes one')
    named = Path(last.read_text().strip())
    own = work_dir / named.name  # a folder that was moved or copied has its own
    path = own if own.is_file() else named
    if not path.is_file():
        raise FileError(f'{last} names {named}, which is gone; training writes one')
    return path


def is_complete(files: Iterable[Path], checkpoint: Path) -> bool:
    """Whether all ``files`` are there, and none is older than ``checkpoint``."""
    made = checkpoint.stat().st_mtime
    return all(path.is_file() and path.stat().st_mtime >= made for path in files)


def read_curves(work_dir: Path) -> Curves:
    """Logged scalars of all parts of a run.

    A part that was resumed takes the place of what earlier ones logged from its first step on.
    """
    curves: Curves = {}
    for path in sorted(work_dir.glob('*/vis_data/scalars.json')):
        for name, points in _read_part(path).items():
            first = min(step for step, _ in points)
            kept = [point for point in curves.get(name, []) if point[0] < first]
            curves[name] = kept + sorted(dict(points).items())
    return curves


def _read_part(path: Path) -> Curves:
    """What one start of a run logged, in the order of the file.

    Raises:
        FileError: a line is none of mmengine's; but for a last one, which a kill may have cut off.
    """
    points: Curves = {}
    *whole, _ = path.read_text(errors='replace').split('\n')
    for number, line in enumerate(whole, start=1):
        try:
            entry = dict(json.loads(line))
        except (ValueError, TypeError):
            raise FileError(
                f'{path}, line {number}: {line!r:.80} is no JSON object; it is no log of '
                'training: move it away'
            ) from None
        step = entry.get('step')
        for name, value in entry.items():
            if step is not None and isinstance(value, (int, float)) and name != 'step':
                points.setdefault(name, []).append((step, value))
    return points
