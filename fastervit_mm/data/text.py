"""Names and values from files of strangers, made fit to be printed and written."""

from __future__ import annotations

import reprlib
from typing import Any

LONGEST = 80  # characters of a value that is shown
_BRIEF = reprlib.Repr()
_BRIEF.maxstring = _BRIEF.maxlong = _BRIEF.maxother = 2 * LONGEST
_BRIEF.maxlist = _BRIEF.maxdict = LONGEST


def is_text(text: str) -> bool:
    """Whether ``text`` can be written as UTF-8: JSON and file systems have names that cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def printable(text: str) -> str:
    """``text`` on one line that can be written anywhere: line breaks and the like as escapes."""
    return ''.join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def shown(value: Any) -> str:
    """Any value of a JSON file, briefly: nested however deep, it may be thousands of characters."""
    return _BRIEF.repr(value)[:LONGEST]
