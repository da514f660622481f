"""SwinHAT: mmdet's Swin whose first stages are hierarchical attention, the paper's plug-in experiment.

Configs name this module in ``custom_imports``: importing it imports mmdet. See ``docs/hat.md``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mmdet.models.backbones.swin import SwinTransformer
from torch import Tensor

from ..errors import ArgumentError
from ..network.backbone import init_layers
from ..network.layer import HierarchicalAttention
from ..registry import MODELS
from ..variants import is_whole
from ..weights.swin import load_swin

# of Swin's arguments those that hierarchical attention has no setting for, and what they may be
ONLY: dict[str, tuple[Any, ...]] = dict(
    qkv_bias=(True,),
    qk_scale=(None,),
    drop_rate=(0,),
    attn_drop_rate=(0,),
    act_cfg=(dict(type='GELU'),),
    norm_cfg=(dict(type='LN'), dict(type='LN', requires_grad=True)),  # the same, as mmseg writes it
)


class SwinHATStage(HierarchicalAttention):
    """A stage of Swin's, its blocks replaced by `HierarchicalAttention` of the same sizes.

    Args:
        stage: Swin's own, whose sizes and step to the next stage are taken.
        **hat: further arguments of `HierarchicalAttention`.
    """

    def __init__(self, stage: Any, **hat: Any) -> None:
        blocks, first = list(stage.blocks), stage.blocks[0]
        dim, attention = first.attn.w_msa.embed_dims, first.attn
        super().__init__(
            dim,
            len(blocks),
            attention.w_msa.num_heads,
            attention.window_size,
            mlp_ratio=first.ffn.feedforward_channels / dim,
            drop_path=[float(block.attn.drop.drop_prob) for block in blocks],
            with_cp=first.with_cp,
            **hat,
        )
        self.downsample = stage.downsample

    def forward(  # type: ignore[override]  # as Swin calls its stages
        self, x: Tensor, hw_shape: tuple[int, int]
    ) -> tuple[Tensor, tuple[int, int], Tensor, tuple[int, int]]:
        """(B, H * W, C) and (H, W) -> the same after the step to the next stage, and before it."""
        x = super().forward(x.transpose(1, 2).unflatten(2, tuple(hw_shape)))
        x = x.flatten(2).transpose(1, 2)
        if self.downsample is None:
            return x, hw_shape, x, hw_shape
        return *self.downsample(x, hw_shape), x, hw_shape


def _check_stages(stages: Any, count: int) -> tuple[int, ...]:
    """``hat_stages`` as a tuple; an ArgumentError unless they are different stages out of ``count``."""
    several = isinstance(stages, Sequence) and not isinstance(stages, str)
    found = tuple(stages) if several else (None,)
    if not all(is_whole(i) and 0 <= i < count for i in found) or len(set(found)) < len(found):
        raise ArgumentError(
            f'hat_stages is {found if several else repr(stages)}; give stages out of 0 to {count - 1}, '
            'each once, such as (0, 1)'
        )
    return found


@MODELS.register_module()
class SwinHAT(SwinTransformer):
    """Swin with hierarchical attention in place of the shifted windows of some stages.

    (B, in_channels, H, W) -> for each of ``out_indices`` a map (B, embed_dims * 2**i, H_i, W_i) of
    stride ``4 * 2**i``, for images of any size.

    Args:
        hat_stages: whose blocks are replaced. Default (0, 1), the first two, where maps are large
            and shifting windows carries least far.
        ct_size: side of a window's square of carrier tokens, in tokens, or one for each of
            ``hat_stages``. Default 2.
        layer_scale: as of `HierarchicalAttention`. Default None.
        do_propagation: as of `HierarchicalAttention`. Default False.
        **swin: arguments of mmdet's `SwinTransformer`; the rate of drop path is Swin's, but replaced
            stages drop a branch per window, not per image. ``init_cfg=dict(type='Pretrained',
            checkpoint=PATH_OR_URL)`` loads Swin's weights, the authors' files and mmdet's alike
            (``convert_weights`` is not asked): all of the stages that stay; of those replaced, norms,
            query-key-value, projection and MLP of a window. What else became of the file's entries
            and of the network's is written to the log.

    Raises:
        ValueError: an argument that is not allowed; the message says what is.

    Source: FasterViT paper (arXiv 2306.06189), hierarchical attention as a plug-in; Swin is
    arXiv 2103.14030.
    """

    def __init__(
        self,
        hat_stages: Sequence[int] = (0, 1),
        ct_size: int | Sequence[int] = 2,
        layer_scale: float | None = None,
        do_propagation: bool = False,
        **swin: Any,
    ) -> None:
        for name, allowed in ONLY.items():
            if name in swin and swin[name] not in allowed:
                raise ArgumentError(
                    f'{name} is {swin[name]!r}; hierarchical attention has no such setting, so it '
                    f'must be {allowed[0]}'
                )
        if swin.get('pretrained') is not None:
            raise ArgumentError(
                f'pretrained is {swin["pretrained"]!r}; it is not read: give '
                "init_cfg=dict(type='Pretrained', checkpoint=PATH_OR_URL)"
            )
        super().__init__(**swin)
        stages = _check_stages(hat_stages, len(self.stages))
        sizes = tuple(ct_size) if isinstance(ct_size, Sequence) else (ct_size,) * len(stages)
        if len(sizes) != len(stages):
            raise ArgumentError(
                f'ct_size is {sizes}; give one value, or one for each of hat_stages, {stages}'
            )
        self.hat_stages = stages
        for i, size in zip(stages, sizes, strict=True):
            self.stages[i] = SwinHATStage(
                self.stages[i],
                ct_size=size,
                layer_scale=layer_scale,
                do_propagation=do_propagation,
            )
        self._freeze_stages()

    def init_weights(self) -> None:
        """Random weights, then those of ``init_cfg`` where there is one.

        Raises:
            ValueError: the file does not fit, or cannot be had.
        """
        init_layers(self)
        if self.init_cfg:
            load_swin(self, self.hat_stages, self.init_cfg)
        self._is_init = True

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """(B, in_channels, H, W) -> a tuple of maps, see the class."""
        return tuple(super().forward(x))

    def train(self, mode: bool = True) -> SwinHAT:
        """Training or evaluation mode; frozen stages stay."""
        super().train(mode)  # mmdet's returns nothing
        return self
