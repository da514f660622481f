"""The folder of a run (its work dir): whose it is, whether it is used, and that it may be moved."""

from __future__ import annotations

import errno
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mmengine.config import Config

from ..errors import ArgumentError, reading

RECORD = 'run.json'  # what the run was started with
CONFIG = 'config'  # in the record: name of the resolved config in the folder
LOCK = '.training'
FOLDER = 'work_dir'  # in the record: where the folder was then, absolute


def read_record(folder: Path) -> dict[str, Any]:
    """What the run in ``folder`` was started with; empty where our tools did not start it.

    Raises:
        FileError: it is torn, or something else.
    """
    path = folder / RECORD
    if not path.exists():
        return {}
    with reading(path, 'move it out of the work dir'):
        record = json.loads(path.read_text())
        if not isinstance(record, dict) or not isinstance(record.get('versions', {}), dict):
            raise ValueError('it is no record of a run')
    return record


def follow_move(cfg: Config, file: Path) -> None:
    """Let the config of a run whose folder was moved or copied name the files that lie there now.

    Args:
        cfg: read from ``file``; changed in place.
        file: the config in the folder of the run. Another config stays as it is.
    """
    folder = file.resolve().parent
    before = read_record(folder).get(FOLDER) if cfg.get('work_dir') else None
    if not isinstance(before, str):
        return
    if before != str(folder):
        for key, value in cfg.items():
            cfg[key] = _moved(value, before, str(folder))
    cfg.work_dir = str(file.parent)  # it may state one below another current folder


def _moved(node: Any, before: str, after: str) -> Any:
    """A setting with every path below ``before`` below ``after``."""
    if isinstance(node, str):
        return after + node[len(before) :] if f'{node}/'.startswith(f'{before}/') else node
    if isinstance(node, dict):
        for key, value in node.items():
            node[key] = _moved(value, before, after)
        return node
    if isinstance(node, (list, tuple)):
        return type(node)(_moved(value, before, after) for value in node)
    return node


@contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """Inside, no other process trains in ``folder``; whatever ends this one gives it back.

    Raises:
        ArgumentError: another process does.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / LOCK, 'a') as file:
        try:
            import fcntl

            # a lock of the process: workers that outlive it do not keep it
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except ImportError:
            pass  # a system without such locks
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EAGAIN):
                raise ArgumentError(
                    f'another process is training in {folder} now; wait for it or end it, take a new '
                    'folder beside it by --fresh, or name another with --work-dir'
                ) from None
            if error.errno not in (errno.ENOLCK, errno.ENOTSUP):  # disks without locks
                raise
        yield


def is_used(folder: Path) -> bool:
    """Whether a run has left checkpoints or curves in ``folder``."""
    curves = (path.stat().st_size for path in folder.glob('*/vis_data/scalars.json'))
    return (folder / 'last_checkpoint').exists() or any(folder.glob('*.pth')) or any(curves)


def unused_folder(folder: Path, fresh: bool) -> Path:
    """The folder for a new run: ``folder``, where no other run has been.

    Args:
        folder: that the run shall have.
        fresh: where it is used, take the first unused one of ``folder-2``, ``folder-3`` …

    Raises:
        ArgumentError: it is used, and ``fresh`` is not set.
    """
    if not is_used(folder):
        return folder
    if not fresh:
        raise ArgumentError(
            f'{folder} holds a run already; go on with it by --resume, take a new folder beside it by '
            '--fresh, or name another with --work-dir'
        )
    number = 2
    while is_used(beside := folder.with_name(f'{folder.name}-{number}')):
        number += 1
    return beside
