"""The four stages: convolutional ones and window transformers.

A stage turns a map into a map of the same size, (B, C, H, W) -> (B, C, H, W); the step to the next
stage, ``downsample``, is its child because the published checkpoints name it so, but is called
by the backbone, after the stage's map was emitted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from .convolution import ConvBlock, Downsample
from .hierarchical_attention import CarrierTokens, HATBlock, WindowBlock
from .positions import TokenGrid, token_grid
from .reparameterization import POSITION_TABLES
from .windows import from_windows, pad_for_windows, pad_to_windows, to_windows, windows_along


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
    if torch.compiler.is_compiling():  # the compiler updates the statistics once by itself
        return checkpoint(block, *args, use_reentrant=False)

    def contexts() -> tuple[AbstractContextManager, AbstractContextManager]:
        return nullcontext(), _running_statistics_kept(block)

    return checkpoint(block, *args, use_reentrant=False, context_fn=contexts)


class ConvStage(nn.Module):
    """A convolutional stage: 0 and 1 of the published networks.

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
    """A window transformer, without or with carrier tokens: 2 and 3 of the published networks.

    Args:
        dim: channels.
        num_heads: heads.
        drop_paths: drop path of each block; their number is the stage's depth.
        window: side of a window, px of this stage's map.
        ct_size: carrier tokens along a window; None: windows exchange nothing.
        carrier_pooling: 'aligned' or 'stretched', see `windows.carrier_positions`.
        do_propagation: add the carrier tokens to the map after the last block.
        mlp_ratio: hidden width of an MLP over ``dim``.
        layer_scale: initial value of the per-channel scales; None: no scales.
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
        ct_size: int | None = None,
        carrier_pooling: str = 'aligned',
        do_propagation: bool = False,
        mlp_ratio: float = 4,
        layer_scale: float | None = None,
        position_unit: str = 'side',
        with_downsample: bool = True,
        with_cp: bool = False,
    ) -> None:
        super().__init__()
        self.window, self.position_unit, self.with_cp = window, position_unit, with_cp
        self.do_propagation = do_propagation and ct_size is not None
        self.blocks: Any = nn.ModuleList()  # it forgets the type of its modules
        for i, rate in enumerate(drop_paths, 1):
            scales: dict[str, Any] = dict(
                mlp_ratio=mlp_ratio, drop_path=rate, layer_scale=layer_scale
            )
            if ct_size is None:
                self.blocks.append(WindowBlock(dim, num_heads, **scales))
            else:
                last = self.do_propagation and i == len(drop_paths)
                self.blocks.append(HATBlock(dim, num_heads, **scales, propagates=last))
        self.global_tokenizer = (
            None if ct_size is None else CarrierTokens(dim, window, ct_size, carrier_pooling)
        )
        self.downsample = Downsample(dim) if with_downsample else None

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        rows, columns = windows_along(height, self.window), windows_along(width, self.window)
        x = pad_for_windows(x, self.window)
        if self.global_tokenizer is None:
            windows = self._run_windows(x, rows, columns)
        else:
            windows = self._run_hat(x, self.global_tokenizer, rows, columns)
        return from_windows(windows, self.window, height, width)

    def _run_windows(self, x: Tensor, rows: int, columns: int) -> Tensor:
        """Padded map -> (B*nH*nW, w*w, C)."""
        grid = self._window_grid(x.device)
        windows = to_windows(x, self.window, rows, columns)
        for block in self.blocks:
            windows = run_block(block, windows, grid, with_cp=self.with_cp)
        return windows

    def _run_hat(self, x: Tensor, tokenizer: CarrierTokens, rows: int, columns: int) -> Tensor:
        """Padded map -> (B*nH*nW, w*w, C), with carrier tokens on the way."""
        batch, channels = x.shape[:2]
        ct_size = tokenizer.ct_size
        first = tokenizer(x, rows, columns)  # (B, C, nH*c, nW*c)
        grid = self._window_grid(x.device)
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
            windows = self.blocks[-1].propagate(windows, carriers, ct_size, self.window)
        return windows

    def _window_grid(self, device: torch.device) -> TokenGrid:
        """Geometry of a window's tokens."""
        return token_grid(self.window, self.window, unit=self.position_unit, device=device)

    def reparameterize(self) -> Counter[str]:
        """The position tables of a window, which no image changes, into constants."""
        grid = self._window_grid(next(self.parameters()).device)
        num_carriers = 0 if self.global_tokenizer is None else self.global_tokenizer.ct_size**2
        count = sum(block.use_constant_tables(grid, num_carriers) for block in self.blocks)
        return Counter({POSITION_TABLES: count})
