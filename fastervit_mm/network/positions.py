"""Where tokens are: coordinates, and the two small MLPs that turn them into position tables.

Everything here is a function of weights and grid size, computed in fp32 inside each forward and
never stored: a stored table goes stale when weights change (EMA, ``.data`` writes) and ties a
checkpoint to an image size. Source: FasterViT paper, section 3.3, after Swin V2 (arXiv 2111.09883).
"""

from __future__ import annotations

import math
from contextlib import nullcontext
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .windows import window_coordinates

HIDDEN = 512
POSITION_UNITS = ('side', 'token_count')


class TokenGrid(NamedTuple):
    """The geometry of N = height * width tokens, in the order in which they are stored.

    Shapes:
        coordinates: (N, 2) fp32, row and column of each token, about -1 .. 1.
        offsets: ((2h-1) * (2w-1), 2) fp32, log-spaced, one for each distinct row/column offset.
        pair_index: (N, N) int64, for query a and key b the row of ``offsets`` of a - b.
    """

    coordinates: Tensor
    offsets: Tensor
    pair_index: Tensor


def centred(index: Tensor, unit: int) -> Tensor:
    """``index`` tokens as a coordinate around the centre of a side of ``unit`` tokens."""
    half = max(unit // 2, 1)  # a side of 1 has no half
    return (index - unit // 2).float() / half


def log_offsets(side: int, device: torch.device | None = None) -> Tensor:
    """(2 * side - 1,) offsets -(side-1) .. side-1, log-spaced and signed, largest about 1.06."""
    scaled = torch.arange(1 - side, side, device=device).float() * (8 / max(side - 1, 1))
    return scaled.sign() * torch.log2(scaled.abs() + 1) / math.log2(8)


def token_grid(
    height: int,
    width: int,
    *,
    window: int | None = None,
    unit: str = 'side',
    device: torch.device | None = None,
) -> TokenGrid:
    """Geometry of a grid of tokens.

    Args:
        height: rows of the grid, in tokens.
        width: columns of the grid, in tokens.
        window: None stores the tokens in raster order; w stores them window by window, each w×w
            window in raster order (h and w are then multiples of it).
        unit: 'side' divides coordinates by half of each side, as the ImageNet weights were
            trained; 'token_count' by half of h*w on both axes, as the released detector was.
        device: of the result.
    """
    if window is None:
        token = torch.arange(height * width, device=device)
        rows, columns = token // width, token % width
    else:
        rows, columns = window_coordinates(height // window, width // window, window, device)
    units = (height, width) if unit == 'side' else (height * width, height * width)
    coordinates = torch.stack((centred(rows, units[0]), centred(columns, units[1])), dim=-1)
    offsets = torch.stack(
        torch.meshgrid(log_offsets(height, device), log_offsets(width, device), indexing='ij'),
        dim=-1,
    )
    row_index = rows[:, None] - rows[None, :] + (height - 1)
    column_index = columns[:, None] - columns[None, :] + (width - 1)
    return TokenGrid(
        coordinates, offsets.reshape(-1, 2), row_index * (2 * width - 1) + column_index
    )


class PositionMLP(nn.Module):
    """Linear(2 -> 512) -> ReLU -> Linear(512 -> dim, no bias), always evaluated in fp32.

    In half precision neighbouring carrier tokens of a large image fall on one coordinate.

    Args:
        dim: channels, or heads, of the result.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.cpb_mlp = nn.Sequential(
            nn.Linear(2, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, dim, bias=False)
        )

    def evaluate(self, points: Tensor) -> Tensor:
        """(M, 2) points -> (M, dim) fp32."""
        layers: Any = self.cpb_mlp
        first, _, last = layers
        with nullcontext() if points.is_meta else torch.autocast(points.device.type, enabled=False):
            hidden = F.linear(points, first.weight.float(), first.bias.float()).relu_()
            return F.linear(hidden, last.weight.float())


class PositionEmbedding(PositionMLP):
    """P(h, w): what is added to each token for where it is."""

    def forward(self, grid: TokenGrid) -> Tensor:
        """(N, dim) fp32 for the N tokens of ``grid``."""
        return self.evaluate(grid.coordinates)


class RelativePositionBias(PositionMLP):
    """What is added to the score of query a and key b for where they are to each other."""

    def forward(self, grid: TokenGrid, num_carriers: int = 0) -> Tensor:
        """(heads, N', N') fp32 for the N tokens of ``grid`` and ``num_carriers`` carrier tokens
        before them; in 0 .. 16, and 0 for the latter.
        """
        table = 16 * torch.sigmoid(self.evaluate(grid.offsets))
        bias = table.t()[:, grid.pair_index]
        return F.pad(bias, (num_carriers, 0, num_carriers, 0)) if num_carriers else bias


class ConstantTable(nn.Module):
    """A position table computed once, in place of the MLP that computed it.

    Args:
        table: what the MLP gave.
    """

    table: Tensor

    def __init__(self, table: Tensor) -> None:
        super().__init__()
        self.register_buffer('table', table)

    def forward(self, *_: Any) -> Tensor:
        return self.table
