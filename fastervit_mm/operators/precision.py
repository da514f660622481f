"""The precision in which operators compute, and what they do in deterministic runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

WHOLE = (torch.float32, torch.float64)


def in_full(*tensors: Tensor) -> tuple[Tensor, ...]:
    """The tensors in fp32, or in fp64 where the first is.

    torchvision has few operators in fp16 and none in bf16, and coordinates in them are coarse.
    """
    dtype = tensors[0].dtype if tensors[0].dtype in WHOLE else torch.float32
    return tuple(tensor.to(dtype) for tensor in tensors)


@contextmanager
def as_compiled() -> Iterator[None]:
    """Kernels that add in any order do not stop a deterministic run: mmcv's own never did.

    PyTorch warns of them instead.
    """
    strict = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    if not strict:
        yield
        return
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(True, warn_only=warn_only)
