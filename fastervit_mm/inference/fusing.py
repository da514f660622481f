"""`fuse`: a trained backbone rewritten for inference, with the same outputs and less work.

What depends on weights alone is computed once: BatchNorm goes into the convolution before it, a
layer scale into the linear layer before it, and the position tables of a window become constants.
The carrier tokens' tables depend on the image's size and stay as they are. Then the same arithmetic
is given to the faster kernels: channels-last convolutions, and linear layers to oneDNN on a
CPU. Each module's own ``reparameterize`` does its part; here they are called and counted.
``docs/benchmarks.md`` has what each is worth.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import torch
from mmengine.logging import print_log
from torch import nn

from ..compatibility import call_before_loading
from ..errors import ArgumentError
from ..network.backbone import TAKES_NO_WEIGHTS, FasterViT, backbones_in
from ..network.reparameterization import REWRITINGS, Reparameterizable


def _refuse_weights(*_: Any) -> None:
    raise ArgumentError(TAKES_NO_WEIGHTS)


@torch.inference_mode(False)
@torch.no_grad()
def _fuse_backbone(backbone: FasterViT) -> Counter[str]:
    done: Counter[str] = Counter()
    for module in list(backbone.modules()):
        if isinstance(module, Reparameterizable):
            done += module.reparameterize()
    backbone.to(memory_format=torch.channels_last)
    backbone.requires_grad_(False)
    call_before_loading(backbone, _refuse_weights)
    backbone.fused = True
    return done


def fuse(model: nn.Module) -> nn.Module:
    """Rewrite every FasterViT backbone in ``model`` for inference, in place.

    Maps stay equal to 1e-4 in fp32. Load weights before; afterwards the backbone takes none, and
    training it raises. The rest of a detector or segmentor is left as it is. What was done is
    written to the log.

    Args:
        model: a backbone, or a detector or segmentor that holds one; put into evaluation mode.

    Returns:
        ``model`` itself.

    Raises:
        ValueError: there is no FasterViT in ``model``.
    """
    backbones = backbones_in(model)
    model.eval()
    done: Counter[str] = Counter()
    for backbone in backbones:
        if not backbone.fused:
            done += _fuse_backbone(backbone)
    told = ', '.join(f'{done[what]} {what}' for what in REWRITINGS if done[what])
    print_log(f'fused: {told or "nothing, it was before"}', logger='current')
    return model
