"""Hierarchical attention as a layer of its own: a map of any size in, one of the same shape out.

The backbone's third stage is this layer, with the step to the next stage: same modules, same names.
``docs/hat.md`` shows it in other networks.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Real
from typing import Any

from torch import Tensor

from ..errors import ArgumentError
from ..variants import is_whole
from .backbone import init_layers
from .checks import check_choice, check_images
from .positions import HIDDEN
from .stages import WindowStage
from .windows import CARRIER_POOLINGS, windows_along


def _is_number(value: Any) -> bool:
    return not isinstance(value, bool) and isinstance(value, Real) and math.isfinite(value)


def _check_whole(**counts: Any) -> None:
    """Raise an ArgumentError unless all are whole numbers of at least 1."""
    for name, value in counts.items():
        if not is_whole(value) or value < 1:
            raise ArgumentError(f'{name} is {value!r}; it takes a whole number of at least 1')


def _check_counts(dim: Any, depth: Any, num_heads: Any, window_size: Any, ct_size: Any) -> None:
    """Raise an ArgumentError for counts that no layer can have."""
    counts = dict(dim=dim, depth=depth, num_heads=num_heads, window_size=window_size)
    _check_whole(**counts, **({} if ct_size is None else dict(ct_size=ct_size)))
    if dim % num_heads:
        raise ArgumentError(
            f'num_heads is {num_heads}; it must divide dim, the {dim} channels of the map'
        )
    if ct_size is not None and ct_size > window_size:
        raise ArgumentError(
            f'ct_size is {ct_size}; it must lie between 1 and window_size, which is {window_size}'
        )


def _check_numbers(dim: int, mlp_ratio: Any, layer_scale: Any) -> None:
    """Raise an ArgumentError for what is no number, or leaves an MLP no hidden channel."""
    if not _is_number(mlp_ratio) or dim * mlp_ratio < 1:
        raise ArgumentError(
            f'mlp_ratio is {mlp_ratio!r}; it takes a finite number of at least 1 / dim, 1 / {dim}'
        )
    if layer_scale is not None and not _is_number(layer_scale):
        raise ArgumentError(f'layer_scale is {layer_scale!r}; it takes None or a finite number')


def _rates(drop_path: Any, depth: int) -> list[float]:
    """``drop_path`` once for each block."""
    several = isinstance(drop_path, Sequence) and not isinstance(drop_path, str)
    rates = list(drop_path) if several else [drop_path] * depth
    if len(rates) != depth or not all(_is_number(r) and 0 <= r < 1 for r in rates):
        raise ArgumentError(
            f'drop_path is {drop_path!r}; give one rate, or one for each of the {depth} blocks, of '
            'at least 0 and below 1'
        )
    return rates


class HierarchicalAttention(WindowStage):
    """Windows that attend to themselves, and to each other by a few carrier tokens each.

    (B, dim, H, W) -> (B, dim, H, W) for any H and W of at least 1 px, in any dtype that its
    weights have. Inside, the map is padded with zeros to whole windows. In each block all carrier
    tokens of a map attend to each other, then each window's pixels and its own carriers do: one
    block is enough for every pixel to hear of the whole map. Branches are residual, with norms of
    their own. It starts from random weights as published.

    Cost of an image, in multiply-adds, with n = ceil(H / w) · ceil(W / w) windows of w² pixels and
    c² carrier tokens each, d = dim and r = mlp_ratio, for each block: ``(n(w² + c²) + n c²) · (4 + 2r) d²``
    for linear layers, ``2 n (w² + c²)² d`` for windows and ``2 (n c²)² d`` for carriers. Only the
    last grows faster than the map. `multiply_adds` counts all of it.

    Args:
        dim: channels of the map.
        depth: blocks.
        num_heads: attention heads; it divides ``dim``.
        window_size: side of a window, px of the map. Default 7.
        ct_size: side of a window's square of carrier tokens, in tokens; at most ``window_size``.
            None: none, so that windows exchange nothing. Default 2.
        mlp_ratio: hidden width of an MLP over ``dim``. Default 4.
        drop_path: probability of leaving a branch out in training, per window (per image for
            carriers), or one for each block. Default 0.
        layer_scale: initial value of per-channel scales of the branches; None builds none.
            Default None.
        do_propagation: add the carrier tokens to the map after the last block. Default False.
        carrier_pooling: 'aligned' keeps carrier tokens on their windows at any size; 'stretched' is
            the published rule. Default 'aligned'.
        with_cp: activation checkpointing of each block: less memory, more time. Default False.

    Attributes:
        fused: `fastervit_mm.fuse` has rewritten it for inference.

    Raises:
        ValueError: an argument that is not allowed; the message says what is.

    Source: FasterViT paper (arXiv 2306.06189), section 3.3. Parameter names are those of a stage of
    the published checkpoints (``levels.2.``, without ``downsample``).
    """

    def __init__(
        self,
        dim: int,
        depth: int,
        num_heads: int,
        window_size: int = 7,
        ct_size: int | None = 2,
        mlp_ratio: float = 4,
        drop_path: float | Sequence[float] = 0.0,
        layer_scale: float | None = None,
        do_propagation: bool = False,
        carrier_pooling: str = 'aligned',
        with_cp: bool = False,
    ) -> None:
        _check_counts(dim, depth, num_heads, window_size, ct_size)
        _check_numbers(dim, mlp_ratio, layer_scale)
        check_choice('carrier_pooling', carrier_pooling, CARRIER_POOLINGS)
        super().__init__(
            dim,
            num_heads,
            _rates(drop_path, depth),
            window=window_size,
            ct_size=ct_size,
            carrier_pooling=carrier_pooling,
            do_propagation=do_propagation,
            mlp_ratio=mlp_ratio,
            layer_scale=layer_scale,
            with_downsample=False,
            with_cp=with_cp,
        )
        self.dim, self.num_heads, self.hidden = dim, num_heads, int(dim * mlp_ratio)
        self.fused = False
        init_layers(self)

    def forward(self, x: Tensor) -> Tensor:
        """(B, dim, H, W) -> (B, dim, H, W), stored with its channels last.

        Operators that read memory as if a map were contiguous, mmcv's RoIAlign among them, want
        ``.contiguous()``.

        Raises:
            ValueError: no tensor, an empty map, another number of channels, or whole numbers.
        """
        check_images(x, self.dim, 'dim', self, what='map')
        return super().forward(x)

    def train(self, mode: bool = True) -> HierarchicalAttention:
        """Training or evaluation mode.

        Raises:
            ValueError: training a layer that `fuse` has rewritten.
        """
        if mode and self.fused:
            raise ArgumentError('the layer is fused for inference; train it before fuse')
        super().train(mode)
        return self

    def multiply_adds(self, height: int, width: int) -> int:
        """Of one map, before `fuse`; the operations that a profiler counts are twice as many.

        Position tables among them are computed once for all maps of a batch.

        Args:
            height: of the map, px.
            width: of the map, px.

        Raises:
            ValueError: not whole numbers of at least 1.
        """
        _check_whole(height=height, width=width)
        dim, side, heads = self.dim, self.window, self.num_heads
        rows, columns = windows_along(height, side), windows_along(width, side)
        windows, pixels = rows * columns, side * side
        c = 0 if self.global_tokenizer is None else self.global_tokenizer.ct_size
        tokens, carriers = pixels + c * c, windows * c * c
        linear = 4 * dim * dim + 2 * dim * self.hidden
        block = windows * tokens * linear + 2 * windows * tokens**2 * dim
        block += _position_tables(side, side, dim, heads)
        if c == 0:
            return len(self.blocks) * block
        block += carriers * linear + 2 * carriers**2 * dim
        block += _position_tables(rows * c, columns * c, dim, heads)
        first = 9 * dim * windows * pixels  # a depthwise convolution, then averages along each axis
        first += rows * c * (windows * pixels + columns * c * columns * side) * dim
        return first + len(self.blocks) * block


def _position_tables(height: int, width: int, dim: int, heads: int) -> int:
    """Multiply-adds of a block's embedding and bias for a grid of tokens, whatever the batch."""
    offsets = (2 * height - 1) * (2 * width - 1)
    return HIDDEN * (height * width * (2 + dim) + offsets * (2 + heads))
