"""FasterViT as an OpenMMLab backbone: images of any size in, maps of strides 4 to 32 out.

Read from top to bottom: build, forward, then weights and freezing. The layers are in
`convolution`, `hierarchical_attention` and `stages`; ``docs/architecture.md`` shows the whole.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
from mmengine.model import BaseModule
from timm.layers import LayerNorm2d, trunc_normal_
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ..errors import ArgumentError
from ..registry import MODELS
from ..variants import NUM_STAGES, Variant, is_whole, resolve_variant
from ..weights.published import load_pretrained
from .checks import check_choice, check_images
from .convolution import PatchEmbed
from .depth import parameter_depth
from .positions import POSITION_UNITS
from .stages import ConvStage, WindowStage
from .windows import CARRIER_POOLINGS

TAKES_NO_WEIGHTS = 'the backbone is fused and takes no weights; load them, then call fuse'
OUT_NORMS = {'ln2d': partial(LayerNorm2d, eps=1e-6), 'bn': nn.BatchNorm2d, None: None}


def _check_out_indices(out_indices: Sequence[int]) -> tuple[int, ...]:
    indices = tuple(out_indices) if isinstance(out_indices, Sequence) else (out_indices,)
    if (
        not indices
        or not all(is_whole(i) and 0 <= i < NUM_STAGES for i in indices)
        or len(set(indices)) < len(indices)
    ):
        raise ArgumentError(
            f'out_indices is {indices}; give one or more different stages out of '
            f'0 to {NUM_STAGES - 1}'
        )
    return indices


def drop_path_rates(depths: Sequence[int], last: float) -> list[list[float]]:
    """Per stage and block: rising linearly from 0 at the network's first block to ``last``.

    timm has the same, but not yet in the oldest release that we take.
    """
    steps = max(sum(depths) - 1, 1)
    return [
        [last * (sum(depths[:i]) + j) / steps for j in range(depth)]
        for i, depth in enumerate(depths)
    ]


def build_stages(
    variant: Variant,
    count: int,
    *,
    carrier_pooling: str,
    position_unit: str,
    pad_all_stages: bool,
    with_cp: bool,
) -> nn.ModuleList:
    """The first ``count`` stages, each but the last with the step to the next."""
    stages = nn.ModuleList()
    rates = drop_path_rates(variant.depths, variant.drop_path_rate)
    for i in range(count):
        dim, window = variant.channels[i], variant.window_size[i]
        stage: ConvStage | WindowStage
        if variant.conv[i]:
            stage = ConvStage(
                dim,
                rates[i],
                pad_window=window if pad_all_stages else None,
                with_downsample=i < count - 1,
                with_cp=with_cp,
            )
        else:
            stage = WindowStage(
                dim,
                variant.num_heads[i],
                rates[i],
                window=window,
                ct_size=variant.carriers[i],
                carrier_pooling=carrier_pooling,
                do_propagation=variant.do_propagation,
                mlp_ratio=variant.mlp_ratio,
                layer_scale=variant.layer_scale,
                position_unit=position_unit,
                with_downsample=i < count - 1,
                with_cp=with_cp,
            )
        stages.append(stage)
    return stages


def init_layers(network: nn.Module) -> None:
    """Random weights as published.

    Linear layers: truncated normal of std 0.02, biases 0. Norms: 1 and 0. Convolutions: as PyTorch does.
    """
    for module in network.modules():
        if isinstance(module, nn.Linear):
            trunc_normal_(module.weight, std=0.02)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


@MODELS.register_module()
class FasterViT(BaseModule):
    """FasterViT (arXiv 2306.06189) for dense prediction.

    Stage i has ``dim * 2**i`` channels and stride ``4 * 2**i``. Its map is taken before the
    downsampling after it and has ceil(./2) of the image's height and width as often as the
    stride says. Stages after the last emitted one are not built. Parameter names are the
    published ones.

    Args:
        arch: a name of `variants.VARIANTS`, or a dict of the published constructor's keyword
            arguments (dim, in_dim, depths, num_heads are needed; defaults: window_size 7,
            ct_size 2, mlp_ratio 4, hat in stage 2 only, layer_scale None, do_propagation False,
            drop_path_rate 0). Default 'fastervit_0'.
        in_channels: channels of the image. Default 3.
        out_indices: stages whose maps are emitted, in this order. Default (0, 1, 2, 3).
        window_size: side of a window in tokens, one value or four. Weights trained with another
            window load. Default None: the variant's own.
        ct_size: side of a window's square of carrier tokens, one value or four. Default None: the
            variant's own.
        drop_path_rate: rate of the last block, rising linearly from 0. Default None: the
            variant's own.
        carrier_pooling: 'aligned' keeps carrier tokens on their windows at any size; 'stretched'
            is the published rule, for weights fine-tuned with it at other sizes than two windows.
            Default 'aligned'.
        position_unit: 'side', or 'token_count' as the released DINO detector was trained.
            Default 'side'.
        pad_all_stages: pad convolutional stages to multiples of their window too, as the released
            DINO detector does. Default False.
        out_norm: norm ``norm{i}`` on each emitted map: 'ln2d', 'bn' or None. Default 'ln2d'.
        frozen_stages: -1 freezes nothing, 0 the stem, i = 1 .. 4 the stem, the stages below i,
            the downsampling after them and their output norms. Default -1.
        norm_eval: keep BatchNorm layers in evaluation mode while training. Default False.
        with_cp: activation checkpointing of each block: less memory, more time. One training
            step of fastervit_2 (forward and backward, fp32, batch 1, 800×1280 px, CPU) peaked at
            3.75 GB resident memory without and 3.09 GB with it. Default False.
        channels_last: keep convolution weights channels-last, so that convolutions run so: faster in
            mixed precision on a GPU; on a CPU see ``docs/benchmarks.md``. Maps leave the backbone
            contiguous either way. Default False.
        init_cfg: ``dict(type='Pretrained')`` loads the published weights of ``arch``; with
            ``checkpoint=PATH_OR_URL`` those of a file, see `weights.published.load_pretrained`.
            None starts from random ones. Default None.
        stage_types: for each of the four stages 'conv', 'window' (window attention) or 'hat'
            (window attention with carrier tokens). Published weights fit their own types alone.
            Default None: the variant's own, ('conv', 'conv', 'hat', 'window') for most.

    Attributes:
        out_channels: of the emitted maps, in the order of ``out_indices``.
        out_strides: of the emitted maps, in px of the image, in the same order.
        fused: `fastervit_mm.fuse` has rewritten it for inference.

    Raises:
        ValueError: an argument that is not allowed; the message says what is.
    """

    def __init__(
        self,
        arch: str | Mapping[str, Any] = 'fastervit_0',
        in_channels: int = 3,
        out_indices: Sequence[int] = (0, 1, 2, 3),
        window_size: int | Sequence[int] | None = None,
        ct_size: int | Sequence[int] | None = None,
        drop_path_rate: float | None = None,
        carrier_pooling: str = 'aligned',
        position_unit: str = 'side',
        pad_all_stages: bool = False,
        out_norm: str | None = 'ln2d',
        frozen_stages: int = -1,
        norm_eval: bool = False,
        with_cp: bool = False,
        channels_last: bool = False,
        init_cfg: dict | None = None,
        stage_types: Sequence[str] | None = None,
    ) -> None:
        super().__init__(init_cfg)
        check_choice('carrier_pooling', carrier_pooling, CARRIER_POOLINGS)
        check_choice('position_unit', position_unit, POSITION_UNITS)
        check_choice('out_norm', out_norm, tuple(OUT_NORMS))
        check_choice('frozen_stages', frozen_stages, range(-1, NUM_STAGES + 1))
        if not is_whole(in_channels) or in_channels < 1:
            raise ArgumentError(
                f'in_channels is {in_channels!r}; it must be a number of at least 1'
            )
        variant = resolve_variant(
            arch,
            window_size=window_size,
            ct_size=ct_size,
            drop_path_rate=drop_path_rate,
            stage_types=stage_types,
        )
        self.arch = arch
        self.variant = variant
        self.in_channels = in_channels
        self.out_indices = _check_out_indices(out_indices)
        self.out_channels = tuple(variant.channels[i] for i in self.out_indices)
        self.out_strides = tuple(4 * 2**i for i in self.out_indices)
        self.frozen_stages, self.norm_eval = frozen_stages, norm_eval
        self.fused = False

        self.patch_embed = PatchEmbed(in_channels, variant.in_dim, variant.dim)
        self.levels: Any = build_stages(
            variant,
            max(self.out_indices) + 1,
            carrier_pooling=carrier_pooling,
            position_unit=position_unit,
            pad_all_stages=pad_all_stages,
            with_cp=with_cp,
        )
        norm = OUT_NORMS[out_norm]
        # of the emitted maps, in order: torch 2.4 compiles names rightly, and numbers wrongly
        self._norms = tuple(f'norm{i}' for i in self.out_indices)
        for i, name in zip(self.out_indices, self._norms, strict=True):
            self.add_module(name, nn.Identity() if norm is None else norm(variant.channels[i]))
        if channels_last:
            self.to(memory_format=torch.channels_last)
        self._freeze()

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """(B, in_channels, H, W) -> for each of ``out_indices`` a map (B, C_i, H_i, W_i).

        Raises:
            ValueError: no tensor, an empty image, another number of channels, whole numbers instead
                of normalised values, or from PyTorch, in training, a batch that leaves a BatchNorm
                a single value per channel. Pixels that are not finite give such maps, for their
                image alone: to look for them would hold up a GPU at each image.
        """
        check_images(x, self.in_channels, network=self)
        x = self.patch_embed(x)
        maps = {}
        for i, level in enumerate(self.levels):
            x = level(x)
            if f'norm{i}' in self._norms:
                # mmcv's RoIAlign reads channels-last maps as if they were not: values get lost
                maps[f'norm{i}'] = getattr(self, f'norm{i}')(x).contiguous()
            if level.downsample is not None:
                x = level.downsample(x)
        return tuple(maps[name] for name in self._norms)

    def init_weights(self) -> None:
        """Random weights (`init_layers`), then those of ``init_cfg`` where there is one.

        Raises:
            ValueError: a fused backbone.
        """
        if self.fused:
            raise ArgumentError(TAKES_NO_WEIGHTS)
        init_layers(self)
        if self.init_cfg:
            load_pretrained(self, self.init_cfg)
        self._is_init = True

    def get_layer_depth(self, param_name: str, prefix: str = '') -> tuple[int, int]:
        """Depth of a parameter, and how many depths there are; as mmpretrain's backbones tell it.

        Args:
            param_name: its name in the model.
            prefix: of the backbone's parameters there. Default ''.
        """
        depths = self.variant.depths[: len(self.levels)]
        return parameter_depth(param_name.removeprefix(prefix), depths), sum(depths) + 2

    def _freeze(self) -> None:
        """Put the frozen parts in evaluation mode, without gradients."""
        if self.frozen_stages < 0:
            return
        frozen: list[nn.Module] = [self.patch_embed]
        for i, level in enumerate(self.levels[: self.frozen_stages]):
            frozen += [level] + ([getattr(self, f'norm{i}')] if i in self.out_indices else [])
        for module in frozen:
            module.eval()
            module.requires_grad_(False)

    def train(self, mode: bool = True) -> FasterViT:
        """Training or evaluation mode; frozen parts, and BatchNorm with ``norm_eval``, stay.

        Raises:
            ValueError: training a backbone that `fuse` has rewritten.
        """
        if mode and self.fused:
            raise ArgumentError('the backbone is fused for inference; train it before fuse')
        super().train(mode)
        self._freeze()
        if mode and self.norm_eval:
            for module in self.modules():
                if isinstance(module, _BatchNorm):
                    module.eval()
        return self


def backbones_in(model: nn.Module) -> list[FasterViT]:
    """Every FasterViT in ``model``, itself included.

    Raises:
        ValueError: there is none.
    """
    found = [module for module in model.modules() if isinstance(module, FasterViT)]
    if not found:
        raise ArgumentError(
            f'{type(model).__name__} holds no fastervit_mm.FasterViT; give a backbone, or a model '
            'that has one'
        )
    return found
