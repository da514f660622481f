"""The folder of a run (its work dir): whose it is, whether it is used, and that it may be moved."""

from __future__ import annotations

import errno
import hashlib
import itertools
import json
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from mmengine.config import Config

from ..errors import ArgumentError, reading, writing
from ..weights.whole_writing import PART, put_in_place, write_whole

RECORD = 'run.json'  # what the run was started with
CONFIG = 'config'  # in the record: name of the resolved config in the folder
CHECKPOINT = re.compile(r'(epoch|iter)_\d+\.pth|best_.+\.pth')  # others may be the user's own
CONFIGS = 'configs'  # in the record: names of all that it had
OWN_MARK = 'written_by_train.txt'  # in a folder that training writes: nobody's own data
COMPLETE = 'complete'
WRITTEN = 'written'  # in BEFORE: hash of the config that the start has written
LOCK = '.training'
BEFORE = '.before'  # what the files were, while a run is made ready to go on
FOLDER = 'work_dir'  # in the record: where the folder was then, absolute


def as_begun(path: Path) -> Path:
    """A file of a run as it is while that runs: of a start that took up no checkpoint, nothing counts.

    Args:
        path: in the folder of the run.
    """
    kept = path.parent / BEFORE
    before = kept / path.name
    if not (kept / COMPLETE).is_file() or not before.is_file() or _is_edited(path):
        return path
    return before


def note_written(path: Path, text: str) -> None:
    """Note what a start writes as its config: where it ends early, that is told from an edit by hand.

    Args:
        path: of the config in the folder of the run; nothing is noted where none was there before.
        text: that will be written.
    """
    kept = path.parent / BEFORE
    if (kept / COMPLETE).is_file():
        write_whole(kept / WRITTEN, _hash(text.encode()))


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _is_edited(path: Path) -> bool:
    """Whether a config was changed by hand since a start that took up no checkpoint."""
    before, note = path.parent / BEFORE / path.name, path.parent / BEFORE / WRITTEN
    if path.suffix != '.py' or not path.is_file():
        return False
    known = [_hash(before.read_bytes())] + ([note.read_text()] if note.is_file() else [])
    return _hash(path.read_bytes()) not in known


def read_record(folder: Path) -> dict[str, Any]:
    """What the run in ``folder`` was started with; empty where our tools did not start it.

    Raises:
        FileError: it is torn, or something else.
    """
    path = as_begun(folder / RECORD)
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
    # it may state one below another current folder
    cfg.work_dir = str(folder if file.is_symlink() else file.parent)


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
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        file = open(folder / LOCK, 'a')
    with file:
        if not _lock(file):
            raise ArgumentError(
                f'another process is training in {folder} now; wait for it or end it, take a new '
                'folder beside it by --fresh, or name another with --work-dir'
            )
        yield


def _lock(file: IO[str]) -> bool:
    """Take the lock of a run, which the end of this process gives back; False: another one has it."""
    try:
        import fcntl

        # a lock of the process: workers that outlive it do not keep it
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except ImportError:
        return True  # a system without such locks
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EAGAIN):
            return False
        if error.errno not in (errno.ENOLCK, errno.ENOTSUP):  # disks without locks
            raise
    return True


def is_claimed(folder: Path) -> bool:
    """Whether another process trains in ``folder`` now."""
    path = folder / LOCK
    if not path.is_file():
        return False
    with open(path, 'a') as file:
        return not _lock(file)


@contextmanager
def unchanged_if_refused(folder: Path, config: str, begun: Callable[[], bool]) -> Iterator[None]:
    """Inside, a run is made ready to go on; where it does not come to that, its files are as they were.

    Its config, record and labels are written before a checkpoint can be compared with them. What they
    were lies beside them until `forget_before`; a run that is killed before that finds it again.

    Args:
        folder: of the run.
        config: name of the config that will be written.
        begun: whether it has taken up its checkpoint: from then on the files are the new ones.
    """
    kept = folder / BEFORE
    if (kept / COMPLETE).is_file():
        _put_back(folder, config)
    forget_before(folder)
    with writing(kept):
        for path in _described_by(folder, config):
            copy = kept / path.relative_to(folder)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, copy)
        kept.mkdir(exist_ok=True)
        (kept / COMPLETE).touch()
    try:
        yield
    except BaseException:
        if kept.is_dir() and not begun():
            _put_back(folder, config)
        raise
    finally:
        forget_before(folder)


def forget_before(folder: Path) -> None:
    """The run in ``folder`` has taken up its checkpoint: its files are the new ones."""
    (folder / BEFORE / COMPLETE).unlink(missing_ok=True)  # first: half of it must not be believed
    shutil.rmtree(folder / BEFORE, ignore_errors=True)


def _put_back(folder: Path, config: str) -> None:
    """Give the files of a run their contents of before, each in one step, and remove new ones."""
    kept = folder / BEFORE
    marks = (COMPLETE, WRITTEN)
    before = {p.relative_to(kept) for p in kept.rglob('*') if p.is_file() and p.name not in marks}
    for name in before:
        path = folder / name
        if path.parent == folder and _is_edited(path):
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(path.name + PART)
        shutil.copy2(kept / name, part)
        put_in_place(part, path)
    for path in _described_by(folder, config):
        if path.relative_to(folder) not in before:
            path.unlink()


def _described_by(folder: Path, config: str) -> list[Path]:
    """The files that say what the run in ``folder`` is and that our tools write.

    Args:
        folder: of the run.
        config: name of the config.
    """
    found = [folder / RECORD, folder / config]
    data = folder / 'data'
    if (data / OWN_MARK).is_file():
        found += [
            path for path in data.rglob('*') if path.suffix != '.pth'
        ]  # no weights of a start
    return [path for path in found if path.is_file()]


def check_not_overwritten(config: Path, folder: Path) -> None:
    """The resolved config, which goes into ``folder``, must not replace what the user wrote.

    Args:
        config: of the command line.
        folder: of the run.

    Raises:
        ArgumentError: it would.
    """
    written, record = folder / config.name, read_record(folder)
    own = record.get(CONFIGS, [config.name] if record else [])
    if written.exists() and config.name not in own:
        raise ArgumentError(
            f'--work-dir {folder} holds a file {config.name}, which the resolved config of the run would '
            'replace; name another folder'
        )


def checkpoint_folder(cfg: Config) -> Path:
    """Where the run of ``cfg`` keeps its checkpoints: its work dir, or one of its name elsewhere."""
    hook: Any = (cfg.get('default_hooks') or {}).get('checkpoint') or {}
    elsewhere, work_dir = hook.get('out_dir'), Path(cfg.work_dir)
    if not elsewhere or '://' in str(elsewhere):
        return work_dir
    return Path(elsewhere, work_dir.name)


def has_checkpoints(cfg: Config) -> bool:
    """Whether the run of ``cfg`` has left checkpoints, of whatever kind."""
    folder, elsewhere = Path(cfg.work_dir), checkpoint_folder(cfg)
    named = any(CHECKPOINT.fullmatch(path.name) for path in folder.glob('*.pth'))
    others = elsewhere != folder and any(elsewhere.glob('*.pth'))
    return named or others or (folder / 'last_checkpoint').is_file()


def is_used(folder: Path) -> bool:
    """Whether a run has left checkpoints or curves in ``folder``."""
    curves = (path.stat().st_size for path in folder.glob('*/vis_data/scalars.json'))
    checkpoints = (path for path in folder.glob('*.pth') if CHECKPOINT.fullmatch(path.name))
    return (folder / 'last_checkpoint').is_file() or any(checkpoints) or any(curves)


def unused_folder(cfg: Config, fresh: bool) -> Path:
    """The folder for a new run: the work dir of ``cfg``, where no other run is or has been.

    Args:
        cfg: stays as it is.
        fresh: where it is used, take the first unused one of ``folder-2``, ``folder-3`` …

    Raises:
        ArgumentError: it is used, and ``fresh`` is not set.
    """
    folder = Path(cfg.work_dir)
    elsewhere = checkpoint_folder(cfg)
    used = next((f for f in (folder, elsewhere) if is_used(f)), None)
    if used is None and not (fresh and is_claimed(folder)):
        return folder
    if not fresh:
        raise ArgumentError(
            f'{used} holds a run already; go on with it by --resume, take a new folder beside it by '
            '--fresh, or name another with --work-dir'
        )
    folder = folder if folder.name not in ('', '..') else folder.resolve()
    for number in itertools.count(2):
        beside = folder.with_name(f'{folder.name}-{number}')
        if not any(map(is_used, (beside, elsewhere.with_name(beside.name)))) and not is_claimed(
            beside
        ):
            break
    return beside
