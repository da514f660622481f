"""Files that are there when they are whole: written beside their place and renamed."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import torch

from ..errors import ArgumentError, FileError, writing

PART = '.part'  # of a file that is being written


def make_lasting(path: Path) -> None:
    """Write what the system still holds of a file or folder to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def put_in_place(part: Path, path: Path) -> None:
    """Give a file that was written beside ``path`` its name, in one step, on the disk."""
    make_lasting(part)
    part.replace(path)
    try:
        make_lasting(path.parent)
    except OSError as error:
        # some network disks have no way to do that for a folder; the file is there
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EBADF):
            raise


def write_whole(path: Path, text: str) -> None:
    """Write a text in one step: who reads it never sees half of it."""
    part = path.with_name(path.name + PART)
    part.write_text(text)
    put_in_place(part, path)


def save_whole(content: Any, path: Path) -> None:
    """``torch.save`` in one step: until ``path`` is whole, what was there stays.

    Args:
        content: to write.
        path: of the file.

    Raises:
        FileError: it cannot be written; what was there is as it was.
    """
    if path.exists() and not path.is_file():  # a folder, or a device, which renaming would replace
        raise FileError(f'{path} is no file; name another place')
    part = path.with_name(path.name + PART)
    with writing(path):
        try:
            with open(part, 'wb') as file:
                torch.save(content, file)
            put_in_place(part, path)
        except BaseException:
            part.unlink(missing_ok=True)
            raise


def check_other_file(source: Path | str, path: Path) -> None:
    """What is written must not replace what it is made of.

    Args:
        source: that is read.
        path: that is written.

    Raises:
        ArgumentError: they are the same file, by whatever names.
    """
    if path.exists() and Path(source).exists() and os.path.samefile(source, path):
        raise ArgumentError(f'{path} is the file that is read: name another one to write')
