"""`fuse`: a trained backbone, or layer, rewritten for inference: the same outputs, less work.

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
from ..network.layer import HierarchicalAttention
from ..network.reparameterization import REWRITINGS, Reparameterizable


def _refuse_weights(part: nn.Module, *_: Any) -> None:
    whole = isinstance(part, FasterViT)
    raise ArgumentError(
        TAKES_NO_WEIGHTS if whole else TAKES_NO_WEIGHTS.replace('backbone', 'layer')
    )


@torch.inference_mode(False)
@torch.no_grad()
def _fuse_part(part: Any) -> Counter[str]:  # PyTorch types no `to(memory_format=...)`
    done: Counter[str] = Counter()
    for module in list(part.modules()):
        if isinstance(module, Reparameterizable):
            done += module.reparameterize()
    part.to(memory_format=torch.channels_last)
    part.requires_grad_(False)
    call_before_loading(part, _refuse_weights)
    part.fused = True
    return done


def fuse(model: nn.Module) -> nn.Module:
    """Rewrite every FasterViT backbone and `HierarchicalAttention` in ``model``, in place.

    Maps stay equal to 1e-4 in fp32. Load weights before; afterwards what was rewritten takes none,
    and training it raises. The rest of a detector, segmentor or network is left as it is. What was
    done is written to the log.

    Args:
        model: a backbone or layer, or a model that holds one; put into evaluation mode.

    Returns:
        ``model`` itself.

    Raises:
        ValueError: there is neither in ``model``.
    """
    kinds = (FasterViT, HierarchicalAttention)
    parts = [m for m in model.modules() if isinstance(m, kinds)] or backbones_in(model)
    model.eval()
    done: Counter[str] = Counter()
    for part in parts:
        if not part.fused:
            done += _fuse_part(part)
    told = ', '.join(f'{done[what]} {what}' for what in REWRITINGS if done[what])
    print_log(f'fused: {told or "nothing, it was before"}', logger='current')
    return model
