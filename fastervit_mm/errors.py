"""Errors a user can fix: their message is one line that says what came and what is allowed.

The command-line tools print that line and leave with status 1; anything else is a defect of ours
and keeps its traceback.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


class UserError(Exception):
    """Base of the errors a user can fix."""


class ArgumentError(UserError, ValueError):
    """An argument, an option or a setting of a config that is not allowed."""


class FileError(UserError, OSError, ValueError):
    """A file that is not there, cannot be had, or does not hold what it should.

    A `ValueError` too, as `io.UnsupportedOperation` is: a file's content is a value.
    """


# what libraries raise where a value is of another kind than they take
ODD = (AssertionError, AttributeError, IndexError, KeyError, TypeError, ValueError)


def exit_on_user_error(main: Callable[[], None]) -> None:
    """Run a tool's ``main``; a `UserError` becomes one line and exit status 1, Ctrl-C status 130."""
    try:
        main()
    except UserError as error:
        sys.exit(f'error: {error}')
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        sys.exit(
            f'error: no room is left on the disk for {error.filename or "what is written"} '
            f'({error.strerror}); make room: what was whole before is whole'
        )
    except KeyboardInterrupt as stop:
        print(f'\ninterrupted: {stop}' if str(stop) else '\ninterrupted', file=sys.stderr)
        sys.exit(130)


def check_folder(folder: Path | str, option: str) -> None:
    """``folder`` must be one, or be such that it can be made; nothing is made yet.

    Args:
        folder: to write to later.
        option: that names it.

    Raises:
        FileError: it is a file, or below one, or the user may not write there.
    """
    path = Path(folder).absolute()
    there = next(p for p in (path, *path.parents) if os.path.lexists(p))
    if not there.is_dir() or not os.access(there, os.W_OK):
        why = 'cannot be written to' if there.is_dir() else 'is a file, not a folder'
        raise FileError(f'{option} {folder}: {there} {why}; name another folder')


@contextmanager
def reading(path: Path | str, remedy: str) -> Iterator[None]:
    """Inside, the text file ``path`` is read.

    Args:
        path: of the file.
        remedy: the way out.

    Raises:
        FileError: it cannot be, or holds something else: bytes that are no text, broken JSON.
    """
    try:
        yield
    except UserError:
        raise
    except (OSError, ValueError) as error:
        reason = ' '.join(str(getattr(error, 'strerror', None) or error).split())
        raise FileError(f'{path} cannot be read ({reason:.200}); {remedy}') from None


@contextmanager
def writing(path: Path | str, remedy: str = 'make room, or name another place') -> Iterator[None]:
    """Inside, ``path`` is written.

    Args:
        path: a file or folder.
        remedy: the way out.

    Raises:
        FileError: it cannot be: a full disk, no permission, a file where a folder should be.
    """
    try:
        yield
    except UserError:
        raise
    except OSError as error:
        reason = error.strerror or error
        at = error.filename if error.filename not in (None, str(path)) else ''
        raise FileError(
            f'{path} cannot be written ({reason}{f": {at}" * bool(at)}); {remedy}'
        ) from None
