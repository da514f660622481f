"""Cutting a map into windows and putting it back; where carrier tokens are pooled from."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

CARRIER_POOLINGS = ('aligned', 'stretched')


def pad_to_windows(x: Tensor, window: int) -> Tensor:
    """(B, C, H, W) with zeros below and to the right, so that both sides are multiples of
    ``window`` px.
    """
    height, width = x.shape[-2:]
    return F.pad(x, (0, -width % window, 0, -height % window))


def to_windows(x: Tensor, window: int) -> Tensor:
    """(B, C, nH*w, nW*w) -> (B*nH*nW, w*w, C), windows and their tokens in raster order."""
    batch, channels, height, width = x.shape
    x = x.reshape(batch, channels, height // window, window, width // window, window)
    return x.permute(0, 2, 4, 3, 5, 1).reshape(-1, window * window, channels)


def from_windows(tokens: Tensor, window: int, height: int, width: int) -> Tensor:
    """(B*nH*nW, w*w, C) -> (B, C, height, width), the inverse of `to_windows`, cropped.

    Args:
        height, width: the map before padding, in px.
    """
    rows, columns = -(-height // window), -(-width // window)
    channels = tokens.shape[-1]
    x = tokens.reshape(-1, rows, columns, window, window, channels)
    x = x.permute(0, 1, 3, 2, 4, 5).reshape(-1, rows * window, columns * window, channels)
    return x[:, :height, :width].permute(0, 3, 1, 2)


def carrier_kernel(window: int, ct_size: int) -> int:
    """Side, in px, of what a carrier token averages where two windows fit: the published rule's.

    It is never larger than a window.
    """
    return 2 * window - (2 * ct_size - 1) * (window // ct_size)


def carrier_positions(
    side: int, window: int, ct_size: int, rule: str = 'aligned', device: torch.device | None = None
) -> tuple[Tensor, int]:
    """First pixels, (ct_size * side / window,), and kernel, px, of the carriers along one axis.

    Args:
        side: the padded map's side, a multiple of ``window``, in px.
        window: px. ct_size: carrier tokens along a window.
        rule: 'aligned' keeps every carrier token on its own window at any size; 'stretched' is
            the published rule, whose kernels grow and drift into the neighbouring windows.
    """
    count = ct_size * (side // window)
    index = torch.arange(count, device=device)
    if rule == 'stretched':
        stride = side // count
        return index * stride, side - (count - 1) * stride
    kernel = carrier_kernel(window, ct_size)
    # (i + 1/2) * window / ct_size - kernel / 2, over one denominator so that ties are exact
    start = ((2 * index + 1) * window - kernel * ct_size) / (2 * ct_size)
    return start.round().clamp(0, side - kernel).long(), kernel


def averaging_matrix(side: int, start: Tensor, kernel: int, dtype: torch.dtype) -> Tensor:
    """(len(start), side): row i averages ``kernel`` px from ``start[i]`` on."""
    offset = torch.arange(side, device=start.device)[None, :] - start[:, None]
    return ((offset >= 0) & (offset < kernel)).to(dtype) / kernel


def pool_carriers(x: Tensor, window: int, ct_size: int, rule: str = 'aligned') -> Tensor:
    """Average a padded map to carrier tokens: (B, C, nH*w, nW*w) -> (B, C, nH*c, nW*c)."""
    height, width = x.shape[-2:]
    rows, columns = (
        averaging_matrix(side, *carrier_positions(side, window, ct_size, rule, x.device), x.dtype)
        for side in (height, width)
    )
    return rows @ (x @ columns.t())
