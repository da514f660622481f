"""Errors a user can fix: their message is one line that says what came and what is allowed.

The command-line tools print that line and leave with status 1; anything else is a defect of ours
and keeps its traceback.
"""

from __future__ import annotations

import sys
from collections.abc import Callable


class UserError(Exception):
    """Base of the errors a user can fix."""


class ArgumentError(UserError, ValueError):
    """An argument, an option or a setting of a config that is not allowed."""


class FileError(UserError, OSError, ValueError):
    """A file that is not there, cannot be had, or does not hold what it should.

    A `ValueError` too, as `io.UnsupportedOperation` is: a file's content is a value.
    """


def exit_on_user_error(main: Callable[[], None]) -> None:
    """Run a tool's ``main``; a `UserError` becomes one line and exit status 1."""
    try:
        main()
    except UserError as error:
        sys.exit(f'error: {error}')
