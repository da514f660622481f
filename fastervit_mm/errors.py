"""Errors a user can fix: their message is one line that says what came and what is allowed.

The command-line tools print that line and leave with status 1; anything else is a defect of ours
and keeps its traceback.
"""

from __future__ import annotations

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


def exit_on_user_error(main: Callable[[], None]) -> None:
    """Run a tool's ``main``; a `UserError` becomes one line and exit status 1, Ctrl-C status 130."""
    try:
        main()
    except UserError as error:
        sys.exit(f'error: {error}')
    except KeyboardInterrupt as stop:
        print(f'\ninterrupted: {stop}' if str(stop) else '\ninterrupted', file=sys.stderr)
        sys.exit(130)


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
