"""`compile_backbones`: torch.compile for images of any size."""

from __future__ import annotations

from typing import Any

from mmengine.logging import print_log
from torch import nn

from ..network.backbone import backbones_in


def compile_backbones(model: nn.Module, **options: Any) -> nn.Module:
    """Compile every FasterViT backbone in ``model``, in place, once for images of any size.

    The first forward compiles, which takes minutes on a small CPU. One more compilation follows
    where a stage's map fits into a single window (images up to 112 or 224 px).

    Args:
        model: a backbone, or a detector or segmentor that holds one. Fuse it before, not after.
        options: for `torch.compile`, such as ``mode``; ``dynamic=True`` and ``fullgraph=True``
            unless given.

    Returns:
        ``model`` itself; its parameters and their names stay as they are.

    Raises:
        ValueError: there is no FasterViT in ``model``.
    """
    for backbone in backbones_in(model):
        backbone.compile(**{'dynamic': True, 'fullgraph': True, **options})
    print_log('compiling the backbone at its first image: minutes on a CPU', logger='current')
    return model
