"""The four stages: convolutional ones and window transformers.

A stage turns a map into a map of the same size, (B, C, H, W) -> (B, C, H, W); the step to the next
stage, ``downsample``, hangs below it because the published checkpoints name it so, but is called
by the backbone, after the stage's map was emitted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from .convolution import ConvBlock, Downsample
from .hierarchical_attention import CarrierTokens, HATBlock, WindowBlock, scaled, upsample_carriers
from .positions import token_grid
from .windows import (
    from_windows,
    pad_to_windows,
    room_for_windows,
    to_windows,
    windows_along,
)


@contextmanager
def _running_statistics_kept(module: nn.Module) -> Iterator[None]:
    """BatchNorm's running statistics stay: the forward pass has updated them already."""
    norms = [
        (m, m.momentum, m.num_batches_tracked)
        for m in module.modules()
        if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.training
    ]
    for norm, _, count in norms:
        norm.momentum = 0.0
        if count is not None:
            norm.num_batches_tracked = count.clone()  # SyncBatchNorm wants one to count in
    try:
        yield
    finally:
        for norm, momentum, count in norms:
            norm.momentum, norm.num_batches_tracked = momentum, count


def run_block(block: nn.Module, *args: Any, with_cp: bool) -> Any:
    """``block(*args)``; with ``with_cp`` its activations are computed again in the backward."""
    if not (with_cp and torch.is_grad_enabled() and block.training):
        return block(*args)

    def contexts() -> tuple[AbstractContextManager, AbstractContextManager]:
        return nullcontext(), _running_statistics_kept(block)

    return checkpoint(block, *args, use_reentrant=False, context_fn=contexts)


class ConvStage(nn.Module):
    """Stage 0 or 1.

    Args:
        dim: channels.
        drop_paths: drop path of each block; their number is the stage's depth.
        pad_window: the map is padded to multiples of it, in px, and cropped after; None: not.
        with_downsample: build the step to the next stage.
        with_cp: activation checkpointing.
    """

    def __init__(
        self,
        dim: int,
        drop_paths: Sequence[float],
        *,
        pad_window: int | None = None,
        with_downsample: bool = True,
        with_cp: bool = False,
    ) -> None:
        super().__init__()
        self.pad_window, self.with_cp = pad_window, with_cp
        self.blocks = nn.ModuleList(ConvBlock(dim, rate) for rate in drop_paths)
        self.downsample = Downsample(dim) if with_downsample else None

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        if self.pad_window is not None:
            x = pad_to_windows(x, self.pad_window)
        for block in self.blocks:
            x = run_block(block, x, with_cp=self.with_cp)
        return x[:, :, :height, :width]


class WindowStage(nn.Module):
    """Stage 2 or 3, without or with carrier tokens.

    Args:
        dim: channels.
        num_heads: heads.
        drop_paths: drop path of each block; their number is the stage's depth.
        window: side of a window, px of this stage's map.
        carriers: builds the carrier tokens' initialiser; None: windows exchange nothing.
        do_propagation: add the carrier tokens to the map after the last block.
        mlp_ratio, layer_scale: as in `WindowBlock`.
        position_unit: 'side' or 'token_count', see `positions.token_grid`.
        with_downsample: build the step to the next stage.
        with_cp: activation checkpointing.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        drop_paths: Sequence[float],
        *,
        window: int,
        carriers: Callable[[], CarrierTokens] | None = None,
        do_propagation: bool = False,
        mlp_ratio: float = 4,
        layer_scale: float | None = None,
        position_unit: str = 'side',
        with_downsample: bool = True,
        with_cp: bool = False,
    ) -> None:
        super().__init__()
        self.window, self.position_unit, self.with_cp = window, position_unit, with_cp
        block = WindowBlock if carriers is None else HATBlock
        self.blocks = nn.ModuleList(
            block(dim, num_heads, mlp_ratio=mlp_ratio, drop_path=rate, layer_scale=layer_scale)
            for rate in drop_paths
        )
        self.global_tokenizer = None if carriers is None else carriers()
        self.do_propagation = do_propagation and carriers is not None
        self.downsample = Downsample(dim) if with_downsample else None

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        rows, columns = windows_along(height, self.window), windows_along(width, self.window)
        run = self._run_windows if self.global_tokenizer is None else self._run_hat
        windows = run(room_for_windows(x, self.window), rows, columns)
        return from_windows(windows, self.window, height, width)

    def _run_windows(self, x: Tensor, rows: int, columns: int) -> Tensor:
        """Padded map -> (B*nH*nW, w*w, C)."""
        grid = token_grid(self.window, self.window, unit=self.position_unit, device=x.device)
        windows = to_windows(x, self.window, rows, columns)
        for block in self.blocks:
            windows = run_block(block, windows, grid, with_cp=self.with_cp)
        return windows

    def _run_hat(self, x: Tensor, rows: int, columns: int) -> Tensor:
        """Padded map -> (B*nH*nW, w*w, C), with carrier tokens on the way."""
        batch, channels = x.shape[:2]
        ct_size = self.global_tokenizer.ct_size
        first = self.global_tokenizer(x, rows, columns)  # (B, C, nH*c, nW*c)
        grid = token_grid(self.window, self.window, unit=self.position_unit, device=x.device)
        carrier_grid = token_grid(
            rows * ct_size,
            columns * ct_size,
            window=ct_size,
            unit=self.position_unit,
            device=x.device,
        )
        carriers = to_windows(first, ct_size, rows, columns).reshape(batch, -1, channels)
        windows = to_windows(x, self.window, rows, columns)
        for block in self.blocks:
            windows, carriers = run_block(
                block, windows, carriers, grid, carrier_grid, with_cp=self.with_cp
            )
        if self.do_propagation:
            own = carriers.reshape(windows.shape[0], -1, channels)  # (B*nW, c*c, C)
            windows = windows + scaled(
                upsample_carriers(own, ct_size, self.window), self.blocks[-1].gamma1
            )
        return windows
