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


def pad_for_windows(x: Tensor, window: int) -> Tensor:
    """(B, C, H, W) with zeros below and to the right, at least as `pad_to_windows` adds them.

    Compiled code adds the same everywhere: it would be compiled again for sizes without padding.
    """
    if torch.compiler.is_compiling():
        return F.pad(x, (0, window - 1, 0, window - 1))
    return pad_to_windows(x, window)


def window_coordinates(
    rows: int, columns: int, side: int, device: torch.device | None = None
) -> tuple[Tensor, Tensor]:
    """Row and column, px, of each token of ``rows`` by ``columns`` windows of ``side`` by
    ``side`` tokens; windows and their tokens in raster order; each (rows * columns * side**2,).

    Arithmetic instead of reshapes: an axis of windows has length 1 at some sizes, and compiled
    code would be compiled again for each such axis.
    """
    token = torch.arange(rows * columns * side * side, device=device)
    window, inside = token // (side * side), token % (side * side)
    return (
        window // columns * side + inside // side,
        window % columns * side + inside % side,
    )


def to_windows(x: Tensor, window: int, rows: int, columns: int) -> Tensor:
    """(B, C, at least rows*w, at least columns*w) -> (B*rows*columns, w*w, C), windows and their
    tokens in raster order.
    """
    row, column = window_coordinates(rows, columns, window, x.device)
    tokens = x.permute(0, 2, 3, 1).flatten(1, 2)
    tokens = tokens.index_select(1, row * x.shape[-1] + column)
    return tokens.reshape(-1, window * window, x.shape[1])


def from_windows(tokens: Tensor, window: int, height: int, width: int) -> Tensor:
    """(B*nH*nW, w*w, C) -> (B, C, height, width), the inverse of `to_windows`, cropped.

    Args:
        tokens: windows in raster order, and so their tokens.
        window: side of a window, in px.
        height: of the map before padding, in px.
        width: of the map before padding, in px.
    """
    rows, columns = windows_along(height, window), windows_along(width, window)
    pixel = torch.arange(height * width, device=tokens.device)
    row, column = pixel // width, pixel % width
    number = row // window * columns + column // window
    inside = row % window * window + column % window
    tokens = tokens.reshape(-1, rows * columns * window * window, tokens.shape[-1])
    tokens = tokens.index_select(1, number * (window * window) + inside)
    return tokens.transpose(1, 2).unflatten(-1, (height, width))


def windows_along(side: int, window: int) -> int:
    """Windows of ``window`` px that cover ``side`` px."""
    return -(-side // window)


def carrier_kernel(window: int, ct_size: int) -> int:
    """Side, in px, of what a carrier token averages where two windows fit, by the published rule.

    It is never larger than a window.
    """
    return 2 * window - (2 * ct_size - 1) * (window // ct_size)


def carrier_positions(
    side: int, window: int, ct_size: int, pooling: str, device: torch.device | None = None
) -> tuple[Tensor, int]:
    """First pixels, (ct_size * side / window,), and kernel, px, of the carriers along one axis.

    Args:
        side: the padded map's side, a multiple of ``window``, in px.
        window: side of a window, in px.
        ct_size: carrier tokens along a window.
        pooling: 'aligned' keeps every carrier token on its own window at any size; 'stretched' is
            the published rule, whose kernels grow and drift into the neighbouring windows.
        device: of the result.
    """
    count = ct_size * (side // window)
    index = torch.arange(count, device=device)
    if pooling == 'stretched':
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


def pool_carriers(
    x: Tensor, window: int, ct_size: int, rows: int, columns: int, pooling: str
) -> Tensor:
    """Average a map to carrier tokens: (B, C, at least rows*w, at least columns*w)
    -> (B, C, rows*c, columns*c).
    """
    by_row, by_column = (
        averaging_matrix(
            side, *carrier_positions(count * window, window, ct_size, pooling, x.device), x.dtype
        )
        for side, count in zip(x.shape[-2:], (rows, columns), strict=True)
    )
    # channels last: two products of a few large matrices instead of one a channel
    pooled = by_row @ x.permute(0, 2, 3, 1).flatten(2)  # (B, rows*c, W*C)
    pooled = by_column @ pooled.unflatten(2, (x.shape[3], x.shape[1]))
    return pooled.permute(0, 3, 1, 2)
