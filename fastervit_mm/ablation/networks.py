"""The networks of the study: one stage of attention after a stem of stride 4, and a one-layer head.

With 112 px images the stage's map has 28×28 cells: 4×4 windows of 7, 2×2 of 14. No later stage is
built, so no window ever covers the whole map: what is far away arrives by carrier tokens or not at
all. Swin has its own stem and shifts every second window.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from ..network.backbone import FasterViT
from ..network.hierarchical_attention import CarrierTokens
from .scenes import TRAINED_SIDE

DIM, STEM_DIM, HEADS, BLOCKS = 32, 16, 2, 2


class Network(NamedTuple):
    """One row of the table.

    Attributes:
        title: in the table.
        swin: Swin instead of FasterViT.
        ct_size: carrier tokens along a window; 0: none.
        window: side of a window, cells.
        blocks: of the stage; twice as many without carriers have about as many parameters as with.
        pooling: carrier_pooling, in training.
        propagates: do_propagation: carrier tokens are added to the map after the last block.
    """

    title: str
    swin: bool = False
    ct_size: int = 0
    window: int = 7
    blocks: int = BLOCKS
    pooling: str = 'aligned'
    propagates: bool = True


NETWORKS = {
    'w7': Network('windows of 7'),
    'w7_deep': Network('windows of 7, twice the blocks', blocks=2 * BLOCKS),
    'w7_c1': Network('windows of 7, 1 carrier token a side', ct_size=1),
    'w7_c2': Network('windows of 7, 2 carrier tokens a side', ct_size=2),
    'w7_c3': Network('windows of 7, 3 carrier tokens a side', ct_size=3),
    'w7_c2_unpropagated': Network(
        'windows of 7, 2 a side, not added to the map', ct_size=2, propagates=False
    ),
    'w7_c2_stretched': Network(
        'windows of 7, 2 a side, stretched pooling', ct_size=2, pooling='stretched'
    ),
    'w14': Network('windows of 14', window=14),
    'w14_c2': Network('windows of 14, 2 carrier tokens a side', ct_size=2, window=14),
    'swin': Network('Swin, windows of 7', swin=True),
    'swin_deep': Network('Swin, windows of 7, twice the blocks', swin=True, blocks=2 * BLOCKS),
    'swin_c2': Network('Swin with HAT, windows of 7, 2 a side', swin=True, ct_size=2),
}


def _fastervit(network: Network) -> nn.Module:
    """One attention stage at stride 4; the stages after it are not built."""
    return FasterViT(
        dict(
            dim=DIM,
            in_dim=STEM_DIM,
            depths=(network.blocks, 1, 1, 1),
            num_heads=HEADS,
            do_propagation=network.propagates,
        ),
        stage_types=('hat' if network.ct_size else 'window', 'conv', 'conv', 'conv'),
        ct_size=network.ct_size or None,
        window_size=network.window,
        carrier_pooling=network.pooling,
        out_indices=(0,),
    )


def _swin(network: Network) -> nn.Module:
    """One stage of mmdet's Swin, or of ours with carrier tokens."""
    from mmdet.models.backbones import SwinTransformer  # seconds: only where it is needed

    settings: dict[str, Any] = dict(
        embed_dims=DIM,
        depths=(network.blocks,),
        num_heads=(HEADS,),
        strides=(4,),
        window_size=network.window,
        out_indices=(0,),
        drop_path_rate=0.0,
    )
    if not network.ct_size:
        return SwinTransformer(**settings)
    from ..models.swin_hat import SwinHAT

    settings |= dict(ct_size=network.ct_size, do_propagation=network.propagates)
    return SwinHAT(hat_stages=(0,), **settings)


class Segmentor(nn.Module):
    """A backbone's one map, and a 1×1 convolution: (B, 3, H, W) -> (B, classes, H / 4, W / 4).

    Args:
        network: of `NETWORKS`.
        classes: how many.
    """

    backbone: Any

    def __init__(self, network: Network, classes: int) -> None:
        super().__init__()
        self.backbone = (_swin if network.swin else _fastervit)(network)
        self.backbone.init_weights()
        self.head = nn.Conv2d(DIM, classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.backbone(x)[0])

    def use_pooling(self, pooling: str) -> None:
        """Pool carrier tokens by another rule from now on: 'aligned' or 'stretched'."""
        for module in self.modules():
            if isinstance(module, CarrierTokens):
                module.pooling = pooling


def parameters(model: nn.Module) -> int:
    """How many numbers training sets."""
    return sum(p.numel() for p in model.parameters())


def multiply_adds(model: nn.Module, side: int = TRAINED_SIDE) -> float:
    """Of one image of ``side`` px: convolutions, matrix products, attention."""
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter, sdpa_kernel(SDPBackend.MATH):
        model.eval()(torch.zeros(1, 3, side, side))
    return counter.get_total_flops() / 2
