"""Random number generators of a process: their states, kept and brought back."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch


def random_states() -> dict[str, Any]:
    """State of every random number generator of this process, in types safe loading accepts."""
    name, keys, position, has_gauss, cached = np.random.get_state()
    states = dict(
        python=random.getstate(),
        numpy=(name, [int(key) for key in keys], position, has_gauss, cached),
        torch=torch.get_rng_state(),
    )
    if torch.cuda.is_available():
        states['cuda'] = torch.cuda.get_rng_state()
    return states


def set_random_states(states: dict[str, Any]) -> None:
    """Undo what happened to the generators since `random_states`."""
    version, keys, gauss = states['python']
    random.setstate((version, tuple(keys), gauss))
    name, keys, *rest = states['numpy']
    np.random.set_state((name, np.array(keys, dtype=np.uint32), *rest))
    torch.set_rng_state(states['torch'].cpu())
    if 'cuda' in states and torch.cuda.is_available():
        torch.cuda.set_rng_state(states['cuda'].cpu())


def are_random_states(states: Any) -> bool:
    """Whether these are states that generators take up; they stay as they are."""
    before = random_states()
    try:
        set_random_states(states)
    except Exception:  # each of the generators has its own dozen of errors
        return False
    finally:
        set_random_states(before)
    return True
