"""Modules that rewrite themselves for inference: what the method is called, what it returns.

A module rewrites its own layers; what belongs to a module below it, that one does when asked by a
method of its own. So the order in which `fuse` visits them does not matter.
"""

from __future__ import annotations

from collections import Counter
from typing import Protocol, runtime_checkable

# What can be done, in the words and in the order in which `fuse` logs it
BATCH_NORMS = 'BatchNorm layers into convolutions'
LAYER_SCALES = 'layer scales into linear layers'
POSITION_TABLES = 'position tables of windows into constants'
LINEAR_LAYERS = 'linear layers for oneDNN'
REWRITINGS = (BATCH_NORMS, LAYER_SCALES, POSITION_TABLES, LINEAR_LAYERS)


@runtime_checkable
class Reparameterizable(Protocol):
    """A module with the same outputs before and after `reparameterize`, and less work after."""

    def reparameterize(self) -> Counter[str]:
        """Rewrite the module in place, once, in evaluation mode.

        Returns:
            how many of each of `REWRITINGS` were done.
        """
        ...
