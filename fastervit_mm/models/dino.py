"""DINO as published, on both OpenMMLab package lines.

onedl-mmdetection builds the decoder's ``ref_point_head`` on 4·C inputs and encodes each of a
reference box's four coordinates in C features; published DINO, and mmdet 3.3.0, take 2·C inputs and
C/2 features. So checkpoints would not move between the lines. The narrow encoding is contained in
the wide one, so a head that picks it out is all it takes. See ``docs/dino.md``.

Configs name this module in ``custom_imports``: importing it imports mmdet.
"""

from __future__ import annotations

import re
from typing import Any

import torch
from mmdet.models.detectors import DINO as MMDetDINO
from mmdet.models.layers import MLP
from torch import Tensor, nn

from ..errors import ArgumentError
from ..registry import MODELS

COORDINATES = 4  # of a reference box: y, x, w, h as the encodings are stored


def narrow_columns(embed_dims: int) -> Tensor:
    """(2 * embed_dims,) columns of the wide encoding (4 * embed_dims) that are the narrow one.

    Each coordinate has embed_dims / 2 (sine, cosine) pairs of falling frequency in the wide
    encoding; the narrow one has every second of them.
    """
    pairs = torch.arange(COORDINATES * embed_dims).reshape(COORDINATES, embed_dims // 2, 2)
    return pairs[:, ::2].reshape(-1)


class RefPointHead(MLP):
    """Published DINO's ``ref_point_head``: (..., 2·C) or (..., 4·C) encodings -> (..., C).

    Args:
        embed_dims: C.
    """

    def __init__(self, embed_dims: int) -> None:
        super().__init__(2 * embed_dims, embed_dims, embed_dims, 2)
        self.register_buffer('columns', narrow_columns(embed_dims), persistent=False)

    def forward(self, encoding: Tensor) -> Tensor:
        if encoding.shape[-1] == 2 * len(self.columns):
            encoding = encoding[..., self.columns]
        return super().forward(encoding)


@MODELS.register_module()
class DINO(MMDetDINO):
    """mmdet's DINO with the published decoder: checkpoints fit both package lines, and those of
    others load.

    Args:
        *args: those of `mmdet.models.DINO`.
        share_heads: all decoder layers share one class head and one box head, as published DINO's
            and the released detector's do; mmdet's have one each. A state dict has them once for
            each layer either way. Default True.
        **kwargs: those of `mmdet.models.DINO`.

    Raises:
        ValueError: while loading, where heads that are shared here differ in the checkpoint.
    """

    def __init__(self, *args: Any, share_heads: bool = True, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if share_heads:
            for branches in self._heads():
                # the last one is the encoder's own
                for i in range(1, len(branches) - 1):
                    branches[i] = branches[0]
            self._register_load_state_dict_pre_hook(self._check_shared)

    def _heads(self) -> tuple[nn.ModuleList, nn.ModuleList]:
        return self.bbox_head.cls_branches, self.bbox_head.reg_branches

    def _check_shared(self, state_dict: dict[str, Tensor], prefix: str, *_: Any) -> None:
        """Heads of a checkpoint that was trained with one for each layer would be mixed up."""
        pattern = re.compile(re.escape(prefix) + r'bbox_head\.(cls|reg)_branches\.(\d+)\.(.*)')
        last = len(self.bbox_head.cls_branches) - 1
        for name, value in state_dict.items():
            match = pattern.fullmatch(name)
            if match is None or int(match[2]) in (0, last):
                continue
            first = state_dict.get(f'{prefix}bbox_head.{match[1]}_branches.0.{match[3]}')
            if first is None or first.shape != value.shape or not torch.equal(first, value):
                raise ArgumentError(
                    f'the checkpoint has a head of its own for each decoder layer ({name} differs '
                    'from that of layer 0), this model shares one; '
                    'use --cfg-options model.share_heads=False'
                )

    def _init_layers(self) -> None:
        super()._init_layers()
        self.decoder.ref_point_head = RefPointHead(self.embed_dims)
