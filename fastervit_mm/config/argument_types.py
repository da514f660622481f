"""Kinds of values that command lines take, for argparse."""

from __future__ import annotations

import argparse


def positive_int(text: str) -> int:
    """A number of at least 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f'{text} is not a number of at least 1')
    return int(text)
