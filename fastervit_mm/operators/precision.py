"""The precision in which operators compute what comes in half precision."""

from __future__ import annotations

import torch
from torch import Tensor

WHOLE = (torch.float32, torch.float64)


def in_full(*tensors: Tensor) -> tuple[Tensor, ...]:
    """The tensors in fp32, or in fp64 where the first is.

    torchvision has few operators in fp16 and none in bf16, and coordinates in them are coarse.
    """
    dtype = tensors[0].dtype if tensors[0].dtype in WHOLE else torch.float32
    return tuple(tensor.to(dtype) for tensor in tensors)
