"""What a checkpoint of a run holds: what is written, and what one that is resumed must have."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor

PLAIN = (type(None), bool, int, float, complex, str, bytes, Tensor, np.ndarray, np.generic)


def is_plain(value: Any) -> bool:
    """Whether safe loading gives it back: numbers, names, tensors, and containers of them."""
    if isinstance(value, dict):
        return all(is_plain(part) for part in (*value.keys(), *value.values()))
    if type(value) in (list, tuple):
        return all(is_plain(part) for part in value)
    return isinstance(value, PLAIN)


def plain_states(schedulers: Any) -> Any:
    """States of schedulers without what is no plain data, such as OneCycleLR's own method.

    A scheduler that takes up such a state keeps what it was built with.

    Args:
        schedulers: states of them, or lists of these by name.
    """
    if isinstance(schedulers, dict):
        return {name: plain_states(states) for name, states in schedulers.items()}
    return [{k: v for k, v in state.items() if is_plain(v)} for state in schedulers]
