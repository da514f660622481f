"""`fuse`: a trained backbone rewritten for inference, with the same outputs and less work.

What depends on weights alone is computed once: BatchNorm goes into the convolution before it, a
layer scale into the linear layer before it, and the position tables of a window become constants.
The carrier tokens' tables depend on the image's size and stay as they are. Then the same arithmetic
is given to the faster kernels: channels-last convolutions, and linear layers to oneDNN on a
CPU. ``docs/benchmarks.md`` has what each is worth.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import torch
from mmengine.logging import print_log
from timm.layers import Mlp
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

from ..network.backbone import TAKES_NO_WEIGHTS, FasterViT, backbones_in
from ..network.convolution import ConvBlock, PatchEmbed
from ..errors import ArgumentError
from ..network.hierarchical_attention import Attention, HATBlock, WindowBlock
from ..network.positions import token_grid
from ..network.stages import WindowStage


class ConstantTable(nn.Module):
    """A position table computed once, in place of the MLP that computed it.

    Args:
        table: what the MLP gave.
    """

    def __init__(self, table: Tensor) -> None:
        super().__init__()
        self.register_buffer('table', table)

    def forward(self, *_: Any) -> Tensor:
        return self.table


class TokenLinear(nn.Linear):
    """A linear layer, with GELU behind it or without, that oneDNN runs on a CPU.

    PyTorch gives fp32 linear layers to MKL, which leaves a quarter of an AMD CPU unused, and GELU
    a pass of its own.

    Args:
        layer: whose parameters are taken.
        activation: 'none' or 'gelu'.
    """

    def __init__(self, layer: nn.Linear, activation: str = 'none') -> None:
        with torch.device('meta'):
            super().__init__(layer.in_features, layer.out_features)
        self.weight, self.bias, self.activation = layer.weight, layer.bias, activation
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        if _onednn_takes(x):
            pointwise = torch.ops.mkldnn._linear_pointwise
            return pointwise(x, self.weight, self.bias, self.activation, [], 'none')
        out = self._as_convolution(x) if x.device.type == 'cpu' else super().forward(x)
        return F.gelu(out) if self.activation == 'gelu' else out

    def _as_convolution(self, x: Tensor) -> Tensor:
        """A 1×1 convolution is oneDNN's too; unlike `pointwise` it has gradients and autocast."""
        tokens = x.reshape(1, 1, -1, self.in_features).permute(0, 3, 1, 2)
        out = F.conv2d(tokens, self.weight[:, :, None, None], self.bias)
        return out.permute(0, 2, 3, 1).reshape(*x.shape[:-1], self.out_features)


def _onednn_takes(x: Tensor) -> bool:
    """Whether its fused linear layer may be used: eager inference in a dtype the CPU has."""
    return (
        x.device.type == 'cpu'
        and not torch.compiler.is_compiling()
        and not torch.jit.is_tracing()
        and not torch.is_grad_enabled()
        and not torch.is_autocast_enabled('cpu')
        and torch.backends.mkldnn.is_available()
        and (
            x.dtype == torch.float32
            or (x.dtype == torch.bfloat16 and torch.ops.mkldnn._is_mkldnn_bf16_supported())
        )
    )


def _fold_batch_norms(part: PatchEmbed | ConvBlock) -> int:
    """BatchNorm into the convolution in front of it; returns how many."""
    if isinstance(part, PatchEmbed):
        layers, pairs = part.conv_down, (('0', '1'), ('3', '4'))
    else:
        layers, pairs = part, (('conv1', 'norm1'), ('conv2', 'norm2'))
    for conv, norm in pairs:
        setattr(layers, conv, fuse_conv_bn_eval(getattr(layers, conv), getattr(layers, norm)))
        setattr(layers, norm, nn.Identity())
    return len(pairs)


def _fold_scale(block: WindowBlock, name: str, layer: nn.Linear) -> int:
    """The layer scale ``name`` into ``layer``, whose output it multiplies; returns how many."""
    gamma = getattr(block, name)
    if gamma is None:
        return 0
    layer.weight.mul_(gamma[:, None])
    layer.bias.mul_(gamma)
    setattr(block, name, None)
    return 1


def _fold_scales(stage: WindowStage) -> int:
    count = 0
    for block in stage.blocks:
        count += _fold_scale(block, 'gamma3', block.attn.proj)
        count += _fold_scale(block, 'gamma4', block.mlp.fc2)
        # the last block's gamma1 also scales what do_propagation adds
        if isinstance(block, HATBlock) and not (stage.do_propagation and block is stage.blocks[-1]):
            count += _fold_scale(block, 'gamma1', block.hat_attn.proj)
            count += _fold_scale(block, 'gamma2', block.hat_mlp.fc2)
    return count


def _use_token_linears(part: Attention | Mlp) -> int:
    """Put `TokenLinear` in place of the part's linear layers; returns how many."""
    if isinstance(part, Attention):
        part.qkv, part.proj = TokenLinear(part.qkv), TokenLinear(part.proj)
    else:
        part.fc1, part.act = TokenLinear(part.fc1, 'gelu'), nn.Identity()
        part.fc2 = TokenLinear(part.fc2)
    return 2


def _make_window_tables_constant(stage: WindowStage) -> int:
    weight = stage.blocks[0].attn.qkv.weight
    grid = token_grid(stage.window, stage.window, unit=stage.position_unit, device=weight.device)
    carriers = 0 if stage.global_tokenizer is None else stage.global_tokenizer.ct_size**2
    for block in stage.blocks:
        block.pos_embed = ConstantTable(block.pos_embed(grid).to(weight.dtype))
        bias = block.attn.pos_emb_funct(grid, carriers)
        block.attn.pos_emb_funct = ConstantTable(bias.to(weight.dtype))
    return 2 * len(stage.blocks)


def _refuse_weights(*_: Any) -> None:
    raise ArgumentError(TAKES_NO_WEIGHTS)


@torch.inference_mode(False)
@torch.no_grad()
def _fuse_backbone(backbone: FasterViT) -> Counter[str]:
    done: Counter[str] = Counter()
    for module in backbone.modules():
        if isinstance(module, (PatchEmbed, ConvBlock)):
            done['BatchNorm layers into convolutions'] += _fold_batch_norms(module)
    for stage in backbone.levels:
        if isinstance(stage, WindowStage):
            done['layer scales into linear layers'] += _fold_scales(stage)
            done['position tables of windows into constants'] += _make_window_tables_constant(stage)
    for module in list(backbone.modules()):
        if isinstance(module, (Attention, Mlp)):
            done['linear layers for oneDNN'] += _use_token_linears(module)
    backbone.to(memory_format=torch.channels_last)
    backbone.requires_grad_(False)
    backbone.register_load_state_dict_pre_hook(_refuse_weights)
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
    told = ', '.join(f'{count} {what}' for what, count in done.items()) or 'nothing, it was before'
    print_log(f'fused: {told}', logger='current')
    return model
