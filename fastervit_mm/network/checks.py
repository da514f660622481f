"""What a network refuses: arguments that are not among the allowed ones, tensors that are no maps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import ArgumentError


def check_choice(name: str, value: Any, allowed: Sequence[Any]) -> None:
    """Raise an ArgumentError unless ``value``, the argument ``name``, is one of ``allowed``."""
    if value not in allowed or isinstance(value, float):  # 1.0 equals 1, but counts nothing
        raise ArgumentError(f'{name} is {value!r}; allowed: {", ".join(map(repr, allowed))}')


def check_images(
    x: Tensor,
    in_channels: int,
    name: str = 'in_channels',
    network: nn.Module | None = None,
    *,
    what: str = 'image',
) -> None:
    """Raise an ArgumentError unless ``x`` is a batch of images (B, in_channels, H, W).

    Args:
        x: what came.
        in_channels: of the images.
        name: of the argument that says so. Default 'in_channels'.
        network: that takes them. Default None: its dtype is not asked.
        what: one of them is called. Default 'image'.
    """
    if not isinstance(x, Tensor):
        raise ArgumentError(
            f'the {what} batch is of type {type(x).__name__}; give a tensor of shape (B, '
            f'{in_channels}, H, W)'
        )
    if x.dim() != 4 or x.shape[1] != in_channels:
        raise ArgumentError(
            f'the {what} batch has shape {tuple(x.shape)}; expected (B, '
            f'{in_channels}, H, W), because {name} is {in_channels}'
        )
    batch, _, height, width = x.shape
    if min(batch, height, width) < 1:
        raise ArgumentError(
            f'the {what} batch has shape {tuple(x.shape)}; it must hold at least '
            f'one {what} of at least 1×1 px'
        )
    if not x.is_floating_point():
        raise ArgumentError(
            f'the {what} batch has dtype {x.dtype}; normalise it to floating point numbers first, '
            'such as (x.float() - mean) / std'
        )
    if x.dtype != torch.float64 or network is None:
        return
    dtype = next(network.parameters()).dtype
    if dtype != x.dtype:
        raise ArgumentError(
            f'the {what} batch has dtype {x.dtype}, the weights have {dtype}; give x.to({dtype})'
        )
