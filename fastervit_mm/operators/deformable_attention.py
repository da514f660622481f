"""Multi-scale deformable attention on a GPU, by the formula that mmcv itself uses on a CPU."""

from __future__ import annotations

import torch
from torch import Tensor

from .precision import as_compiled, in_full


def _attend(value: Tensor, shapes: Tensor, locations: Tensor, weights: Tensor) -> Tensor:
    from mmcv.ops.multi_scale_deform_attn import multi_scale_deformable_attn_pytorch

    # as plain numbers, fetched from the GPU once instead of level by level
    return multi_scale_deformable_attn_pytorch(value, shapes.tolist(), locations, weights)


def ms_deform_attn_forward(
    value: Tensor,
    spatial_shapes: Tensor,
    level_start_index: Tensor,
    sampling_locations: Tensor,
    attention_weights: Tensor,
    *,
    im2col_step: int,
) -> Tensor:
    """What each query gathers from all levels.

    Args:
        value: (B, S, M, D): all levels' pixels, for M heads of D channels.
        spatial_shapes: (L, 2) height and width of each level, px.
        level_start_index: (L,); follows from ``spatial_shapes``.
        sampling_locations: (B, Q, M, L, P, 2), x and y from 0 to 1.
        attention_weights: (B, Q, M, L, P).
        im2col_step: of mmcv's own; not needed.

    Returns:
        (B, Q, M·D).
    """
    v, locations, weights = in_full(value, sampling_locations, attention_weights)
    return _attend(v, spatial_shapes, locations, weights).to(value.dtype)


def ms_deform_attn_backward(
    value: Tensor,
    spatial_shapes: Tensor,
    level_start_index: Tensor,
    sampling_locations: Tensor,
    attention_weights: Tensor,
    grad_output: Tensor,
    grad_value: Tensor,
    grad_sampling_loc: Tensor,
    grad_attn_weight: Tensor,
    *,
    im2col_step: int,
) -> None:
    """Fill the three gradients from ``grad_output`` (B, Q, M·D).

    Args: as of `ms_deform_attn_forward`; the gradients have their shapes.
    """
    inputs = [t.detach() for t in (value, sampling_locations, attention_weights)]
    with torch.enable_grad(), as_compiled():
        v, locations, weights = (t.requires_grad_() for t in in_full(*inputs))
        output = _attend(v, spatial_shapes, locations, weights)
        grads = torch.autograd.grad(output, (v, locations, weights), grad_output.to(output.dtype))
    for target, grad in zip((grad_value, grad_sampling_loc, grad_attn_weight), grads, strict=True):
        target.copy_(grad)
