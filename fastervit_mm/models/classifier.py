"""FasterViT as an image classifier with timm's interface: the backbone's own modules and a head."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from timm.layers import SelectAdaptivePool2d
from timm.models._features import feature_take_indices
from torch import Tensor, nn

from ..errors import ArgumentError
from ..network.backbone import build_stages, init_layers
from ..network.checks import check_choice, check_images
from ..network.convolution import PatchEmbed
from ..network.windows import CARRIER_POOLINGS
from ..variants import NUM_STAGES, is_whole, resolve_variant

POOLS = ('avg', 'max', 'avgmax', 'fast', 'fastavg', 'fastmax', 'fastavgmax', '')  # of timm


class FasterViTClassifier(nn.Module):
    """FasterViT (arXiv 2306.06189) for classification and features, for images of any size.

    Its parameters have the published names: those of `fastervit_mm.FasterViT` without norms of emitted
    maps, then ``norm`` and ``head``.

    Args:
        arch: as in `fastervit_mm.FasterViT`. Default 'fastervit_0'.
        in_chans: channels of the image. Default 3.
        num_classes: outputs; 0: no head, pooled features come out. Default 1000.
        global_pool: 'avg', another of timm's that keeps the number of channels ('max', 'avgmax', and
            these with 'fast' before them), or '': maps stay maps, for ``num_classes`` 0 alone.
            Default 'avg'.
        drop_rate: dropout before the head. Default 0.
        drop_path_rate: rate of the last block, rising linearly from 0. Default None: the variant's.
        window_size: side of a window in tokens, one value or four. Default None: the variant's.
        ct_size: side of a window's square of carrier tokens. Default None: the variant's.
        carrier_pooling: 'aligned' or 'stretched', as in `fastervit_mm.FasterViT`. Default 'aligned'.
        img_size: taken for timm's sake and not used: every size works. Default None.
        device: of the parameters. Default None: PyTorch's.
        dtype: of the parameters. Default None: PyTorch's.

    Attributes:
        num_features: channels of the last map, which are also those of its head's input.
        feature_info: of each stage, as timm's feature wrappers read it.

    Raises:
        ValueError: an argument that is not allowed; the message says what is.
    """

    def __init__(
        self,
        arch: str | Mapping[str, Any] = 'fastervit_0',
        in_chans: int = 3,
        num_classes: int = 1000,
        global_pool: str = 'avg',
        drop_rate: float = 0.0,
        drop_path_rate: float | None = None,
        window_size: int | Sequence[int] | None = None,
        ct_size: int | None = None,
        carrier_pooling: str = 'aligned',
        img_size: int | Sequence[int] | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        check_choice('carrier_pooling', carrier_pooling, CARRIER_POOLINGS)
        if not is_whole(in_chans) or in_chans < 1:
            raise ArgumentError(f'in_chans is {in_chans!r}; it must be a number of at least 1')
        _check_head(num_classes, global_pool)
        variant = resolve_variant(
            arch, window_size=window_size, ct_size=ct_size, drop_path_rate=drop_path_rate
        )
        self.variant = variant
        self.in_chans, self.num_classes, self.drop_rate = in_chans, num_classes, drop_rate
        self.num_features = self.head_hidden_size = variant.channels[-1]
        self.feature_info = [
            dict(num_chs=channels, reduction=4 * 2**i, module=f'levels.{i}')
            for i, channels in enumerate(variant.channels)
        ]
        with nullcontext() if device is None else torch.device(device):
            self.patch_embed = PatchEmbed(in_chans, variant.in_dim, variant.dim)
            self.levels: Any = build_stages(
                variant,
                NUM_STAGES,
                carrier_pooling=carrier_pooling,
                position_unit='side',
                pad_all_stages=False,
                with_cp=False,
            )
            self.norm: nn.Module = nn.BatchNorm2d(self.num_features)
            self.global_pool = _pool(global_pool)
            self.head_drop = nn.Dropout(drop_rate)
            self.head = _head(self.num_features, num_classes)
            init_layers(self)
        if dtype is not None:
            self.to(dtype)

    # Forward

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_chans, H, W) -> (B, num_classes) logits; see `forward_head` without a head."""
        return self.forward_head(self.forward_features(x))

    def forward_features(self, x: Tensor) -> Tensor:
        """(B, in_chans, H, W) -> (B, num_features, H/32, W/32), rounded up, normed, not pooled.

        Raises:
            ValueError: an empty image, or another number of channels.
        """
        check_images(x, self.in_chans, 'in_chans')
        x = self.patch_embed(x)
        for level in self.levels:
            x = level(x)
            if level.downsample is not None:
                x = level.downsample(x)
        return self.norm(x)

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Pooled features (B, num_features), and with a head their logits (B, num_classes).

        Args:
            x: of `forward_features`.
            pre_logits: without the head. Default False.
        """
        x = self.head_drop(self.global_pool(x))
        return x if pre_logits else self.head(x)

    def forward_intermediates(
        self,
        x: Tensor,
        indices: int | list[int] | None = None,
        norm: bool = False,
        stop_early: bool = False,
        output_fmt: str = 'NCHW',
        intermediates_only: bool = False,
    ) -> list[Tensor] | tuple[Tensor, list[Tensor]]:
        """The maps of stages, before the downsampling after them, as timm's `FeatureGetterNet` asks.

        Args:
            x: (B, in_chans, H, W).
            indices: stages; a number: so many last ones. Default None: all.
            norm: apply the last norm to the last stage's map. Default False.
            stop_early: leave out what comes after the last of ``indices``. Default False.
            output_fmt: 'NCHW' alone.
            intermediates_only: the maps alone. Default False.

        Returns:
            The result of `forward_features` (or the last map, with ``stop_early``), and the maps.
        """
        if output_fmt != 'NCHW':
            raise ValueError(f'output_fmt is {output_fmt!r}; allowed: NCHW')
        check_images(x, self.in_chans, 'in_chans')
        last = len(self.levels) - 1
        take, highest = feature_take_indices(len(self.levels), indices)
        maps = []
        x = self.patch_embed(x)
        for i, level in enumerate(self.levels):
            x = level(x)
            if i in take:
                maps.append(self.norm(x) if norm and i == last else x)
            if stop_early and i == highest:
                break
            if level.downsample is not None:
                x = level.downsample(x)
        if intermediates_only:
            return maps
        return (self.norm(x) if i == last else x), maps

    def prune_intermediate_layers(
        self,
        indices: int | list[int] = 1,
        prune_norm: bool = False,
        prune_head: bool = True,
    ) -> list[int]:
        """Remove what the stages ``indices`` do not need; their numbers.

        Args:
            indices: as in `forward_intermediates`. Default 1: the last.
            prune_norm: the last norm too. Default False.
            prune_head: the head too. Default True.
        """
        take, highest = feature_take_indices(len(self.levels), indices)
        if highest < len(self.levels) - 1:
            self.levels = self.levels[: highest + 1]
            self.levels[-1].downsample = None
            self.num_features = self.head_hidden_size = self.variant.channels[highest]
            prune_norm = prune_head = True  # they have other channels
        if prune_norm:
            self.norm = nn.Identity()
        if prune_head:
            self.reset_classifier(0, '')
        return take

    # What timm's factory, trainer and optimizers ask

    def get_classifier(self) -> nn.Module:
        """The head."""
        return self.head

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Another head, with random weights.

        Args:
            num_classes: outputs; 0: no head.
            global_pool: as in the constructor. Default None: it stays.

        Raises:
            ValueError: an argument that is not allowed; the network is as it was.
        """
        _check_head(num_classes, self.global_pool.pool_type if global_pool is None else global_pool)
        if global_pool is not None:
            self.global_pool = _pool(global_pool)
            self.global_pool.train(self.training)
        like = next(self.parameters())
        self.num_classes = num_classes
        self.head = _head(self.num_features, num_classes, device=like.device, dtype=like.dtype)
        init_layers(self.head)
        self.head.train(self.training)

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Activation checkpointing of each block: less memory, more time."""
        for level in self.levels:
            level.with_cp = enable

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """How parameters are grouped by depth, for timm's layer decay.

        Args:
            coarse: by stage. Default False: by block, as `fastervit_mm.network.depth` counts.
        """
        fine = [
            (r'^levels\.(\d+)\.(?:blocks\.(\d+))', None),
            (r'^levels\.(\d+)\.global_tokenizer', (0,)),
            (r'^levels\.(\d+)\.downsample', (99999,)),
            (r'^norm', (99999,)),
        ]
        return dict(stem=r'^patch_embed', blocks=r'^levels\.(\d+)' if coarse else fine)

    def no_weight_decay(self) -> set[str]:
        """Names of parameters that do not decay: none but those of one dimension, which timm knows."""
        return set()


def _check_head(num_classes: Any, global_pool: Any) -> None:
    """Raise an ArgumentError for a number of classes or a pooling that no head can have."""
    if not is_whole(num_classes) or num_classes < 0:
        raise ArgumentError(f'num_classes is {num_classes!r}; it must be a number of at least 0')
    check_choice('global_pool', global_pool, POOLS)
    if num_classes and not global_pool:
        raise ArgumentError(
            f"global_pool is '' with {num_classes} classes; a head takes pooled features: give "
            "global_pool='avg', or num_classes=0 for the map"
        )


def _pool(global_pool: str) -> SelectAdaptivePool2d:
    """Pooling to (B, C); '' keeps maps as they are."""
    return SelectAdaptivePool2d(pool_type=global_pool, flatten=bool(global_pool))


def _head(channels: int, num_classes: int, **settings: Any) -> nn.Module:
    """A linear layer, or nothing for no classes."""
    if num_classes < 1:
        return nn.Identity()
    return nn.Linear(channels, num_classes, **settings)
