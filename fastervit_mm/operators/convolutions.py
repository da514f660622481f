"""Deformable convolution (torchvision) and convolution at chosen places, forward and backward.

mmcv passes buffers and wants them filled; those that it needs for its own columns stay empty.
"""

from __future__ import annotations

from typing import Any

import torch
import torchvision
from torch import Tensor
from torch.nn import functional as F

from .precision import as_compiled, in_full


def _convolve(
    input: Tensor, offset: Tensor, weight: Tensor, mask: Tensor | None, options: dict[str, Any]
) -> Tensor:
    """The deformable convolution of these, with ``stride``, ``padding`` and ``dilation``."""
    return torchvision.ops.deform_conv2d(input, offset, weight, mask=mask, **options)


def _options(o: dict[str, Any]) -> dict[str, tuple[int, int]]:
    """Torchvision's settings from those of mmcv's deformable convolution."""
    return dict(
        stride=(o['dH'], o['dW']),
        padding=(o['padH'], o['padW']),
        dilation=(o['dilationH'], o['dilationW']),
    )


def _modulated_options(o: dict[str, Any]) -> dict[str, tuple[int, int]]:
    """The same for the modulated one."""
    return dict(
        stride=(o['stride_h'], o['stride_w']),
        padding=(o['pad_h'], o['pad_w']),
        dilation=(o['dilation_h'], o['dilation_w']),
    )


def _off_map(
    offset: Tensor, size: torch.Size, kernel: torch.Size, options: dict[str, tuple[int, int]]
) -> Tensor:
    """Whether each sample lies off a map of ``size``: (B, groups, kH, kW, 1, H', W').

    At -1 px and at ``size`` a sample is off, as in mmcv: its offset gets no gradient. torchvision
    gives it one at exactly -1 px, where offsets of 0 put samples in the padding.
    """
    offsets = offset.unflatten(1, (-1, *kernel, 2))
    off = torch.zeros_like(offsets[:, :, :, :, 0], dtype=torch.bool)
    for axis in (0, 1):  # down, across
        step, pad, spread = (options[name][axis] for name in ('stride', 'padding', 'dilation'))
        starts = torch.arange(offset.shape[2 + axis], device=offset.device) * step - pad
        taps = torch.arange(kernel[axis], device=offset.device) * spread
        grid = taps[:, None, None, None] + starts[:, None]  # (kH, 1, H', 1)
        if axis:
            grid = grid.permute(1, 0, 3, 2)  # (1, kW, 1, W')
        at = offsets[:, :, :, :, axis] + grid
        off |= (at <= -1) | (at >= size[axis])
    return off.unsqueeze(4)


def _gradients(
    grad_output: Tensor,
    input: Tensor,
    offset: Tensor,
    weight: Tensor,
    mask: Tensor | None,
    options: dict[str, Any],
) -> tuple[Tensor, ...]:
    """Gradients of the input, the offset, the weight, and of the mask where there is one."""
    given = [t.detach() for t in (input, offset, weight, mask) if t is not None]
    with torch.enable_grad():
        leaves = [t.requires_grad_() for t in in_full(*given)]
        x, o, w = leaves[:3]
        output = _convolve(x, o, w, leaves[3] if mask is not None else None, options)
        with as_compiled():
            grads = list(torch.autograd.grad(output, leaves, grad_output.to(output.dtype)))
    kernel = weight.shape[2:]
    off = _off_map(leaves[1].detach(), input.shape[2:], kernel, options)
    grads[1] = grads[1].unflatten(1, (-1, *kernel, 2)).masked_fill(off, 0).flatten(1, 4)
    return tuple(grads)


def deform_conv_forward(
    input: Tensor,
    weight: Tensor,
    offset: Tensor,
    output: Tensor,
    columns: Tensor,
    ones: Tensor,
    **settings: int,
) -> None:
    """Fill ``output`` with a deformable convolution (https://arxiv.org/abs/1703.06211).

    Args:
        input: (B, C, H, W).
        weight: (C', C / groups, kH, kW).
        offset: (B, deformable groups · kH · kW · 2, H', W'), in px, y before x.
        output: (B, C', H', W'), filled.
        columns: not needed.
        ones: not needed.
        **settings: mmcv's names (``dH``, ``padH``, ``dilationH``, ...).
    """
    x, o, w = in_full(input, offset, weight)
    output.copy_(_convolve(x, o, w, None, _options(settings)))


def deform_conv_backward_input(
    input: Tensor,
    offset: Tensor,
    grad_output: Tensor,
    grad_input: Tensor,
    grad_offset: Tensor,
    weight: Tensor,
    columns: Tensor,
    **settings: int,
) -> None:
    """Fill the gradients of the input and the offset.

    Args: as of `deform_conv_forward`.
    """
    found = _gradients(grad_output, input, offset, weight, None, _options(settings))
    grad_input.copy_(found[0])
    grad_offset.copy_(found[1])


def deform_conv_backward_parameters(
    input: Tensor,
    offset: Tensor,
    grad_output: Tensor,
    grad_weight: Tensor,
    columns: Tensor,
    ones: Tensor,
    *,
    scale: float,
    **settings: int,
) -> None:
    """Add the gradient of the weight, times ``scale``.

    Args: as of `deform_conv_forward`.
    """
    found = _gradients(grad_output, input, offset, grad_weight, None, _options(settings))
    grad_weight.add_(found[2].to(grad_weight.dtype), alpha=scale)


def modulated_deform_conv_forward(
    input: Tensor,
    weight: Tensor,
    bias: Tensor,
    ones: Tensor,
    offset: Tensor,
    mask: Tensor,
    output: Tensor,
    columns: Tensor,
    *,
    with_bias: bool,
    **settings: int,
) -> None:
    """Fill ``output`` with a deformable convolution, version 2 (https://arxiv.org/abs/1811.11168).

    Args:
        input: (B, C, H, W).
        weight: (C', C / groups, kH, kW).
        bias: (C',), or empty.
        ones: not needed.
        offset: (B, deformable groups · kH · kW · 2, H', W'), in px, y before x.
        mask: (B, deformable groups · kH · kW, H', W'), factors of what is sampled.
        output: (B, C', H', W'), filled.
        columns: not needed.
        with_bias: whether ``bias`` counts.
        **settings: mmcv's names (``stride_h``, ``pad_h``, ``dilation_h``, ...).
    """
    x, o, w, m, b = in_full(input, offset, weight, mask, bias)
    found = _convolve(x, o, w, m, _modulated_options(settings))
    output.copy_(found + b[:, None, None] if with_bias else found)


def modulated_deform_conv_backward(
    input: Tensor,
    weight: Tensor,
    bias: Tensor,
    ones: Tensor,
    offset: Tensor,
    mask: Tensor,
    columns: Tensor,
    grad_input: Tensor,
    grad_weight: Tensor,
    grad_bias: Tensor,
    grad_offset: Tensor,
    grad_mask: Tensor,
    grad_output: Tensor,
    *,
    with_bias: bool,
    **settings: int,
) -> None:
    """Fill all five gradients.

    Args: as of `modulated_deform_conv_forward`.
    """
    options = _modulated_options(settings)
    found = _gradients(grad_output, input, offset, weight, mask, options)
    targets = (grad_input, grad_offset, grad_weight, grad_mask)
    for target, grad in zip(targets, found, strict=True):
        target.copy_(grad)
    if with_bias:
        grad_bias.copy_(in_full(grad_output)[0].sum((0, 2, 3)))


def masked_im2col_forward(
    im: Tensor,
    mask_h_idx: Tensor,
    mask_w_idx: Tensor,
    col: Tensor,
    *,
    kernel_h: int,
    kernel_w: int,
    pad_h: int,
    pad_w: int,
) -> None:
    """Fill ``col`` (C · kernel_h · kernel_w, N) with what the kernel sees at N places.

    Args:
        im: (1, C, H, W).
        mask_h_idx: (N,) rows of the places.
        mask_w_idx: (N,) columns of the places.
        col: filled.
        kernel_h: kernel's height, px.
        kernel_w: kernel's width, px.
        pad_h: zeros above and below.
        pad_w: zeros left and right.
    """
    # as far as the kernel reaches from any place of the map
    padded = F.pad(im[0], (pad_w, kernel_w - 1, pad_h, kernel_h - 1))
    rows = mask_h_idx[:, None] + torch.arange(kernel_h, device=im.device)
    columns = mask_w_idx[:, None] + torch.arange(kernel_w, device=im.device)
    seen = padded[:, rows[:, :, None], columns[:, None, :]]  # (C, N, kernel_h, kernel_w)
    col.copy_(seen.permute(0, 2, 3, 1).reshape(col.shape))


def masked_col2im_forward(
    col: Tensor,
    mask_h_idx: Tensor,
    mask_w_idx: Tensor,
    im: Tensor,
    *,
    height: int,
    width: int,
    channels: int,
) -> None:
    """Write ``col`` (C, N) into N places of ``im`` (1, C, height, width); the others stay.

    Args: as of `masked_im2col_forward`.
    """
    im[0, :, mask_h_idx, mask_w_idx] = col.to(im.dtype)
