"""Kinds of values that command lines take, for argparse."""

from __future__ import annotations

import argparse


def positive_int(text: str) -> int:
    """A number of at least 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f'{text} is not a number of at least 1')
    return int(text)


def key_value(text: str) -> str:
    """KEY=VALUE as it is, for `timm.utils.ParseKwargs`, which takes it apart."""
    if '=' not in text or not text.split('=')[0].isidentifier():
        raise argparse.ArgumentTypeError(f'{text} is not KEY=VALUE')
    return text


def share(text: str) -> float:
    """A number from 0 to 1."""
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 <= number <= 1:  # NaN is not
        raise argparse.ArgumentTypeError(f'{text} is not a number from 0 to 1')
    return number
