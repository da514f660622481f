"""Focal loss (https://arxiv.org/abs/1708.02002), by sigmoid and by softmax.

mmcv passes buffers and wants them filled; it multiplies gradients by what comes from above itself.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from .precision import in_full


def _is_class(target: Tensor, logits: Tensor) -> Tensor:
    """(N, C): whether a row's class is this column; nowhere for the background."""
    return target[:, None] == torch.arange(logits.shape[1], device=logits.device)


def _class_weights(target: Tensor, weight: Tensor) -> Tensor | float:
    """(N,) weights of the classes (N,); 1 where there are none, and for classes without one."""
    if not weight.numel():
        return 1.0
    known = (target >= 0) & (target < len(weight))
    return torch.where(known, weight[target.clamp(0, len(weight) - 1)], weight.new_ones(()))


def _rows(weights: Tensor | float) -> Tensor | float:
    return weights[:, None] if isinstance(weights, Tensor) else weights


def sigmoid_focal_loss_forward(
    input: Tensor, target: Tensor, weight: Tensor, output: Tensor, *, gamma: float, alpha: float
) -> None:
    """Fill ``output`` (N, C) with the loss of each logit.

    Args:
        input: (N, C) logits.
        target: (N,) classes; C is the background.
        weight: (C,) of the classes, or empty.
        output: filled.
        gamma: how much less an easy example counts.
        alpha: share of the positives.
    """
    logits, weights = in_full(input, weight)
    p = logits.sigmoid()
    hit = alpha * (1 - p) ** gamma * F.logsigmoid(logits)
    miss = (1 - alpha) * p**gamma * F.logsigmoid(-logits)
    loss = -torch.where(_is_class(target, logits), hit, miss)
    output.copy_(loss * _rows(_class_weights(target, weights)))


def sigmoid_focal_loss_backward(
    input: Tensor, target: Tensor, weight: Tensor, grad_input: Tensor, *, gamma: float, alpha: float
) -> None:
    """Fill ``grad_input`` (N, C) with the gradient of each logit's own loss.

    Args: as of `sigmoid_focal_loss_forward`.
    """
    logits, weights = in_full(input, weight)
    p, q = logits.sigmoid(), (-logits).sigmoid()
    hit = alpha * q**gamma * (q - gamma * p * F.logsigmoid(logits))
    miss = (1 - alpha) * p**gamma * (gamma * q * F.logsigmoid(-logits) - p)
    grad = -torch.where(_is_class(target, logits), hit, miss)
    grad_input.copy_(grad * _rows(_class_weights(target, weights)))


def _of_target(softmax: Tensor, target: Tensor) -> Tensor:
    """(N,) probability of each target, never quite 0."""
    p = softmax.gather(1, target.clamp(min=0)[:, None])[:, 0]
    return p.clamp(min=torch.finfo(torch.float32).tiny)


def softmax_focal_loss_forward(
    input: Tensor, target: Tensor, weight: Tensor, output: Tensor, *, gamma: float, alpha: float
) -> None:
    """Fill ``output`` (N,) with the loss of each row.

    Args:
        input: (N, C) probabilities: mmcv takes the softmax itself.
        target: (N,) classes; below 0: no loss.
        weight: (C,) of the classes, or empty.
        output: filled.
        gamma: how much less an easy example counts.
        alpha: factor of the loss.
    """
    softmax, weights = in_full(input, weight)
    p = _of_target(softmax, target)
    loss = -alpha * (1 - p) ** gamma * p.log() * _class_weights(target, weights)
    output.copy_(torch.where(target >= 0, loss, 0.0))


def softmax_focal_loss_backward(
    input: Tensor,
    target: Tensor,
    weight: Tensor,
    buff: Tensor,
    grad_input: Tensor,
    *,
    gamma: float,
    alpha: float,
) -> None:
    """Fill ``grad_input`` (N, C) with the gradient of each row's loss by its logits.

    Args:
        buff: (N,) of mmcv's own; not needed.
        grad_input: filled.
        others: as of `softmax_focal_loss_forward`.
    """
    softmax, weights = in_full(input, weight)
    p = _of_target(softmax, target)
    # d loss / d p × p, which the softmax's own derivative multiplies
    rest = torch.where(p < 1, gamma * (1 - p) ** (gamma - 1) * p * p.log(), 0.0)
    slope = alpha * (rest - (1 - p) ** gamma)
    slope = torch.where(target >= 0, slope * _class_weights(target, weights), 0.0)
    mine = _is_class(target, softmax).to(softmax.dtype)
    grad_input.copy_(slope[:, None] * (mine - softmax))
