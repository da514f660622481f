"""DINO as published, on both OpenMMLab package lines.

onedl-mmdetection builds the decoder's ``ref_point_head`` on 4·C inputs and encodes each of a
reference box's four coordinates in C features; published DINO, and mmdet 3.3.0, take 2·C inputs and
C/2 features. So checkpoints would not move between the lines. The narrow encoding is contained in
the wide one, so a head that picks it out is all it takes. See ``docs/dino.md``.

Configs name this module in ``custom_imports``: importing it imports mmdet.
"""

from __future__ import annotations

import torch
from mmdet.models.detectors import DINO as MMDetDINO
from mmdet.models.layers import MLP
from torch import Tensor

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

    It takes the arguments of `mmdet.models.DINO`.
    """

    def _init_layers(self) -> None:
        super()._init_layers()
        self.decoder.ref_point_head = RefPointHead(self.embed_dims)
