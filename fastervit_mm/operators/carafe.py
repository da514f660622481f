"""CARAFE (https://arxiv.org/abs/1905.02188): each upsampled pixel from its own kernel, by PyTorch."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from .precision import in_full


def _reassemble(features: Tensor, masks: Tensor, kernel: int, groups: int, scale: int) -> Tensor:
    """(B, C, s·H, s·W) of features (B, C, H, W) and kernels (B, groups·kernel², s·H, s·W)."""
    height, width = features.shape[-2:]
    padded = F.pad(features, [kernel // 2] * 4)
    weights = masks.unflatten(1, (groups, kernel * kernel))
    total = weights.new_zeros(())
    for i in range(kernel * kernel):
        row, column = divmod(i, kernel)
        seen = padded[:, :, row : row + height, column : column + width]
        seen = seen.repeat_interleave(scale, 2).repeat_interleave(scale, 3)
        total = total + seen.unflatten(1, (groups, -1)) * weights[:, :, i, None]
    return total.flatten(1, 2)


def _gradients(
    grad_output: Tensor, features: Tensor, masks: Tensor, kernel: int, groups: int, scale: int
) -> tuple[Tensor, Tensor]:
    """Gradients of features and masks, one place of the kernel after the other: little memory."""
    f, m, grad = in_full(features, masks, grad_output)
    height, width = f.shape[-2:]
    reach = kernel // 2
    padded = F.pad(f, [reach] * 4)
    grad = grad.unflatten(1, (groups, -1))
    weights = m.unflatten(1, (groups, kernel * kernel))
    of_padded, of_masks = torch.zeros_like(padded), torch.empty_like(weights)
    for i in range(kernel * kernel):
        row, column = divmod(i, kernel)
        here = (..., slice(row, row + height), slice(column, column + width))
        seen = padded[here].repeat_interleave(scale, 2).repeat_interleave(scale, 3)
        of_masks[:, :, i] = (grad * seen.unflatten(1, (groups, -1))).sum(2)
        given = (grad * weights[:, :, i, None]).flatten(1, 2)
        of_padded[here] += (
            given.unflatten(3, (width, scale)).sum(4).unflatten(2, (height, scale)).sum(3)
        )
    inner = (..., slice(reach, reach + height), slice(reach, reach + width))
    return of_padded[inner], of_masks.flatten(1, 2)


def carafe_naive_forward(
    features: Tensor,
    masks: Tensor,
    output: Tensor,
    *,
    kernel_size: int,
    group_size: int,
    scale_factor: int,
) -> None:
    """Fill ``output`` (B, C, scale_factor·H, scale_factor·W).

    Args:
        features: (B, C, H, W).
        masks: (B, group_size · kernel_size², scale_factor·H, scale_factor·W).
        output: filled.
        kernel_size: side of a kernel, px of ``features``; odd.
        group_size: groups of channels with kernels of their own.
        scale_factor: how many times larger the output is.
    """
    f, m = in_full(features, masks)
    output.copy_(_reassemble(f, m, kernel_size, group_size, scale_factor))


def carafe_naive_backward(
    grad_output: Tensor,
    features: Tensor,
    masks: Tensor,
    grad_input: Tensor,
    grad_masks: Tensor,
    *,
    kernel_size: int,
    group_size: int,
    scale_factor: int,
) -> None:
    """Fill both gradients.

    Args: as of `carafe_naive_forward`.
    """
    found = _gradients(grad_output, features, masks, kernel_size, group_size, scale_factor)
    grad_input.copy_(found[0])
    grad_masks.copy_(found[1])


def carafe_forward(
    features: Tensor,
    masks: Tensor,
    rfeatures: Tensor,
    routput: Tensor,
    rmasks: Tensor,
    output: Tensor,
    **settings: int,
) -> None:
    """The same as `carafe_naive_forward`; ``rfeatures`` keeps the features for the backward.

    Args: as of `carafe_naive_forward`; ``routput`` and ``rmasks`` are not needed.
    """
    rfeatures.copy_(features)
    carafe_naive_forward(features, masks, output, **settings)


def carafe_backward(
    grad_output: Tensor,
    rfeatures: Tensor,
    masks: Tensor,
    rgrad_output: Tensor,
    rgrad_input_hs: Tensor,
    rgrad_input: Tensor,
    rgrad_masks: Tensor,
    grad_input: Tensor,
    grad_masks: Tensor,
    **settings: int,
) -> None:
    """The same as `carafe_naive_backward`.

    Args: as of `carafe_naive_forward`; ``rgrad_…`` are not needed.
    """
    carafe_naive_backward(grad_output, rfeatures, masks, grad_input, grad_masks, **settings)
