"""The convolutional parts: stem, block of stages 0 and 1, and the step between stages.

Attribute names are those of the published checkpoints.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import torch
from timm.layers import DropPath, LayerNorm2d
from torch import Tensor, nn
from torch.nn.modules.module import _global_forward_hooks, _global_forward_pre_hooks
from torch.nn.utils.fusion import fuse_conv_bn_eval

from .reparameterization import BATCH_NORMS


def is_observed(module: nn.Module) -> bool:
    """Whether a forward hook, which may keep what it is shown, is called inside ``module``."""
    if _global_forward_hooks or _global_forward_pre_hooks:
        return True
    waiting: list[nn.Module | None] = [module]
    while waiting:  # `modules()` does the same in several times the time
        one = waiting.pop()
        if one is None:
            continue
        if one._forward_hooks or one._forward_pre_hooks:
            return True
        waiting.extend(one._modules.values())
    return False


def add_branch(x: Tensor, branch: Tensor, block: nn.Module) -> Tensor:
    """``x + branch``; in inference on a CPU in the branch's memory, unless a hook may hold it.

    Fresh memory costs a CPU a tenth of the time of a large image. Mixed precision may give the two
    different dtypes: the sum then takes the wider one.

    Args:
        x: what ``block`` was given.
        branch: what modules of ``block`` made of it.
        block: whose hooks count.
    """
    if (
        torch.is_grad_enabled()
        or torch.compiler.is_compiling()
        or branch.dtype != x.dtype
        or branch.device.type != 'cpu'
        or is_observed(block)
    ):
        return x + branch
    return branch.add_(x)


class ReluInPlace(nn.Sequential):
    """Layers in a row, ReLUs in the memory of what they are given, unless a hook may hold it."""

    def forward(self, x: Tensor) -> Tensor:
        if torch.compiler.is_compiling() or is_observed(self):
            return super().forward(x)
        for layer in self:
            x = x.relu_() if isinstance(layer, nn.ReLU) else layer(x)
        return x


def fold_batch_norm(conv: Any, norm: Any) -> tuple[nn.Conv2d, nn.Identity]:
    """What takes the places of a convolution and the BatchNorm after it, in evaluation mode."""
    return fuse_conv_bn_eval(conv, norm), nn.Identity()


class PatchEmbed(nn.Module):
    """Stem: two 3×3 convolutions of stride 2, (B, in_channels, H, W) -> (B, dim, H/4, W/4).

    Args:
        in_channels: channels of the image.
        in_dim: channels between the convolutions.
        dim: channels of stage 0.
    """

    def __init__(self, in_channels: int, in_dim: int, dim: int) -> None:
        super().__init__()
        self.conv_down = ReluInPlace(
            nn.Conv2d(in_channels, in_dim, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(in_dim, eps=1e-4),
            nn.ReLU(),
            nn.Conv2d(in_dim, dim, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(dim, eps=1e-4),
            nn.ReLU(),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.conv_down(x)

    def reparameterize(self) -> Counter[str]:
        """Each BatchNorm into the convolution before it."""
        layers = self.conv_down
        layers[0], layers[1] = fold_batch_norm(layers[0], layers[1])
        layers[3], layers[4] = fold_batch_norm(layers[3], layers[4])
        return Counter({BATCH_NORMS: 2})


class ConvBlock(nn.Module):
    """x + DropPath(BN(conv(GELU(BN(conv(x)))))), (B, dim, H, W) -> the same shape.

    Args:
        dim: channels.
        drop_path: probability of leaving the branch out, per image.
    """

    def __init__(self, dim: int, drop_path: float = 0.0) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(dim, dim, 3, padding=1)
        self.norm1: nn.Module = nn.BatchNorm2d(dim)
        self.act1 = nn.GELU()
        self.conv2 = nn.Conv2d(dim, dim, 3, padding=1)
        self.norm2: nn.Module = nn.BatchNorm2d(dim)
        self.drop_path = DropPath(drop_path) if drop_path else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        branch = self.act1(self.norm1(self.conv1(x)))
        return add_branch(x, self.drop_path(self.norm2(self.conv2(branch))), self)

    def reparameterize(self) -> Counter[str]:
        """Each BatchNorm into the convolution before it."""
        self.conv1, self.norm1 = fold_batch_norm(self.conv1, self.norm1)
        self.conv2, self.norm2 = fold_batch_norm(self.conv2, self.norm2)
        return Counter({BATCH_NORMS: 2})


class Downsample(nn.Module):
    """Between stages: LayerNorm, 3×3 convolution of stride 2, (B, C, H, W) -> (B, 2C, H/2, W/2).

    Args:
        dim: C.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm = LayerNorm2d(dim, eps=1e-6)
        self.reduction = nn.Sequential(nn.Conv2d(dim, 2 * dim, 3, stride=2, padding=1, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        return self.reduction(self.norm(x))
