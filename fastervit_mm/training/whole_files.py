"""Checkpoints that are whole or not there, whatever ends a run while it writes one."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import is_main_process
from torch import nn

from ..errors import FileError, UserError
from ..weights.safe_loading import ARCHIVE, check_archive, load_file
from ..weights.whole_writing import PART, put_in_place, write_whole
from .processes import say


def check_finite_weights(model: nn.Module) -> None:
    """Weights that are no numbers are not saved: earlier checkpoints must not go for them.

    Raises:
        UserError: a parameter or buffer holds NaN or infinity.
    """
    for name, value in model.state_dict().items():
        if value.is_floating_point() and not value.isfinite().all():
            raise UserError(
                f'the weights are no longer finite ({name}): they are not saved, the checkpoints before '
                'are whole; go on from one of them with a lower learning rate or gradient clipping'
            )


class _LateRemoval:
    """A file backend that removes nothing before it is told to.

    Args:
        backend: mmengine's.
    """

    def __init__(self, backend: Any) -> None:
        self.backend, self.waiting = backend, list[tuple[Any, str]]()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.backend, name)

    def remove(self, path: str) -> None:
        self.waiting.append((self.backend.remove, path))

    def rmtree(self, path: str) -> None:
        self.waiting.append((self.backend.rmtree, path))

    def remove_now(self, kept: set[str]) -> None:
        """What was to be removed, but for files that were written meanwhile."""
        for function, path in self.waiting:
            if path not in kept:
                function(path)


@contextmanager
def whole_checkpoints(runner: Any, hook: Any) -> Iterator[None]:
    """Inside, checkpoints are written beside their place, and older ones go when they are there.

    Args:
        runner: whose ``save_checkpoint`` the hook calls.
        hook: mmengine's CheckpointHook, with its ``file_backend``.

    Raises:
        FileError: a checkpoint cannot be written, such as on a full disk; the older ones are there.
    """
    before = vars(hook).get('file_backend')
    if before is None or isinstance(before, _LateRemoval):  # training has not begun; inside one
        yield
        return
    save, backend = runner.save_checkpoint, _LateRemoval(before)
    written: set[str] = set()

    def save_whole(out_dir: str, filename: str, *args: Any, **kwargs: Any) -> None:
        if '://' in out_dir:  # no disk of ours
            save(out_dir, filename, *args, **kwargs)
            return
        path = Path(out_dir, filename)
        part = path.with_name(path.name + PART)
        try:
            save(out_dir, part.name, *args, **kwargs)
            if is_main_process() and part.is_file():
                put_in_place(part, path)
            elif is_main_process() and part.is_dir():  # of a strategy that writes several files
                part.rename(path)
        except OSError as error:
            if part.is_file():
                part.unlink()
            raise FileError(
                f'checkpoint {path} cannot be written ({error.strerror or error}); make room and go on '
                'with --resume: the checkpoints before it are whole'
            ) from None
        written.add(str(path))

    runner.save_checkpoint, hook.file_backend = save_whole, backend
    try:
        yield
        backend.remove_now(written)
    except FileError:
        raise
    except OSError as error:
        raise FileError(
            f'last_checkpoint in {runner.work_dir} cannot be written, or an older checkpoint removed '
            f'({error.strerror or error}); make room and go on with --resume: the newest is whole'
        ) from None
    finally:
        runner.save_checkpoint = save
        hook.file_backend = before


def remove_parts(folder: Path) -> None:
    """Remove what a killed run was writing when it ended."""
    for part in folder.glob(f'*.pth{PART}'):
        if part.is_file():
            part.unlink()


def is_whole(path: Path) -> bool:
    """Whether a checkpoint is what was written, to its end; it is read for that (0.3 s for 500 MB).

    PyTorch's archives have checksums. A file of its older format has none, and is loaded.
    """
    if not path.is_file():
        return False
    with open(path, 'rb') as file:
        start = file.read(4)
    try:
        if start == ARCHIVE:
            check_archive(path)
            torch._C.PyTorchFileReader(str(path))  # its table of contents, as PyTorch reads it
        else:
            load_file(path)
    except Exception:  # damaged bytes make zipfile and PyTorch raise any
        return False
    return True


def step_of(name: str, template: str | None = None) -> int | None:
    """The step of a checkpoint by its name; None: that tells none.

    Args:
        name: of the file.
        template: of such names, such as 'model_{}.pth'. Default None: mmengine's.
    """
    match = re.fullmatch(_pattern(template), name)
    return None if match is None else int(match[1])


def _pattern(template: str | None) -> str:
    """Of the names of checkpoints; its group is the step."""
    if template is None:
        return r'(?:epoch|iter)_(\d+)\.pth'
    return r'(\d+)'.join(map(re.escape, template.split('{}')))


def newest_whole(folder: Path, template: str | None = None, last: str = '') -> Path | None:
    """The checkpoint of the most steps in ``folder`` that is what was written.

    Args:
        folder: of checkpoints.
        template: of their names, such as 'model_{}.pth'. Default None: mmengine's.
        last: name of the run's last one; later ones were left when it went back to an earlier
            one. Default '': not known.
    """
    limit = step_of(last, template)
    steps = {
        step: path
        for path in folder.glob('*')
        if (step := step_of(path.name, template)) is not None and (limit is None or step <= limit)
    }
    return next(
        (steps[step] for step in sorted(steps, reverse=True) if is_whole(steps[step])), None
    )


def note_start_point(work_dir: Path, checkpoint: Path, template: str | None = None) -> None:
    """Let ``last_checkpoint`` name what a run goes on from: it may have moved, or gone back.

    Best checkpoints of later steps, which it left when it went back, get other names.

    Args:
        work_dir: of the run.
        checkpoint: of the run.
        template: of the names of checkpoints. Default None: mmengine's.
    """
    write_whole(work_dir / 'last_checkpoint', str(checkpoint))
    step = step_of(checkpoint.name, template)
    if step is None:
        return
    for best in checkpoint.parent.glob('best_*.pth'):
        found = re.fullmatch('best_.+_' + _pattern(template), best.name)
        if found is not None and int(found[1]) > step:
            best.replace(best.with_name(f'left_{best.name}'))
            say(f'{best} is of a later step than the run goes on from: it is left_{best.name} now')
