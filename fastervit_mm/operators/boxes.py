"""Non-maximum suppression: plain (torchvision), soft, and with the suppressed boxes named."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import torchvision
from torch import Tensor

from .precision import in_full

NAIVE, LINEAR, GAUSSIAN = 0, 1, 2  # how soft-NMS lowers a score, as mmcv numbers it


def nms(boxes: Tensor, scores: Tensor, *, iou_threshold: float, offset: int) -> Tensor:
    """Boxes that no better box covers.

    Args:
        boxes: (N, 4), corners x1, y1, x2, y2 in px.
        scores: (N,).
        iou_threshold: a box is left out when it covers a better one by more than this.
        offset: 1 where x2 and y2 are the last pixels inside, else 0.

    Returns:
        (K,) indices of the boxes that are kept, best first.
    """
    boxes, scores = in_full(boxes, scores)
    if offset:
        boxes = torch.cat((boxes[:, :2], boxes[:, 2:] + offset), dim=1)
    # mmcv compares in fp32, torchvision with fp64: an IoU of exactly 0.6 is not above 0.6
    return torchvision.ops.nms(boxes, scores, float(np.float32(iou_threshold)))


def _overlaps(box: np.ndarray, others: np.ndarray, offset: int = 0) -> np.ndarray:
    """IoU of a box (4,) with others (N, 4); NaN where both are empty."""
    low, high = np.maximum(box[:2], others[:, :2]), np.minimum(box[2:], others[:, 2:])
    shared = np.clip(high - low + offset, 0, None).prod(1)
    areas = (others[:, 2:] - others[:, :2] + offset).prod(1)
    with np.errstate(invalid='ignore', divide='ignore'):
        return shared / ((box[2:] - box[:2] + offset).prod() + areas - shared)


def _softened(method: int, iou_threshold: float, sigma: float) -> Callable[..., np.ndarray]:
    """What scores are multiplied by, from their boxes' overlaps with a better box."""
    if method == GAUSSIAN:
        return lambda overlaps: np.exp(-(overlaps**2) / sigma)
    if method == LINEAR:
        return lambda overlaps: np.where(overlaps >= iou_threshold, 1 - overlaps, 1)
    return lambda overlaps: np.where(overlaps >= iou_threshold, 0, 1)


def softnms(
    boxes: Tensor,
    scores: Tensor,
    dets: Tensor,
    *,
    iou_threshold: float,
    sigma: float,
    min_score: float,
    method: int,
    offset: int,
) -> Tensor:
    """Soft-NMS (https://arxiv.org/abs/1704.04503): overlapping boxes lose score, not their place.

    Args:
        boxes: (N, 4), corners in px, on the CPU.
        scores: (N,).
        dets: (N, 5), filled from the front: boxes with their new scores.
        iou_threshold: overlap from which ``NAIVE`` and ``LINEAR`` lower a score.
        sigma: width of ``GAUSSIAN``.
        min_score: boxes that fall below it are left out.
        method: `NAIVE`, `LINEAR` or `GAUSSIAN`.
        offset: 1 where x2 and y2 are the last pixels inside, else 0.

    Returns:
        (K,) indices of the boxes that are kept, in the order of ``dets``.
    """
    corners = boxes.detach().float().numpy()
    values = scores.detach().float().numpy().copy()
    order = np.arange(len(values))  # in mmcv's order, so that equal scores fall alike
    soften = _softened(method, iou_threshold, sigma)
    done = 0
    while done < len(order):
        best = done + _first_best(values[order[done:]])
        order[[done, best]] = order[[best, done]]
        rest = order[done + 1 :]
        weights = soften(_overlaps(corners[order[done]], corners[rest], offset))
        values[rest] *= weights.astype(values.dtype)
        order = np.concatenate((order[: done + 1], _closed_up(rest, ~(values[rest] < min_score))))
        done += 1
    kept = torch.from_numpy(order)
    dets[: len(kept)] = torch.from_numpy(np.column_stack((corners[order], values[order])))
    return kept


def _first_best(values: np.ndarray) -> int:
    """Where the largest value is, first of equal ones; NaN is larger than none, as in mmcv."""
    return 0 if np.isnan(values[0]) else int(np.nanargmax(values))


def _closed_up(order: np.ndarray, alive: np.ndarray) -> np.ndarray:
    """The entries that are alive; each gap is filled by the last one that is left."""
    count = int(alive.sum())
    closed, front = order[:count].copy(), alive[:count]
    closed[~front] = order[count:][alive[count:]][::-1]
    return closed


def nms_match(dets: Tensor, iou_threshold: float) -> list[list[int]]:
    """Groups of boxes: each box that is kept, with those that it suppresses.

    Args:
        dets: (N, 5), corners in px and scores, on the CPU.
        iou_threshold: a box is suppressed when it covers a better one by this or more.

    Returns:
        indices of each group, best first.
    """
    corners = dets[:, :4].float().numpy()
    order = dets[:, 4].float().sort(descending=True, stable=True).indices.numpy()
    groups = []
    while len(order):
        covered = _overlaps(corners[order[0]], corners[order[1:]]) >= iou_threshold
        groups.append([int(order[0]), *order[1:][covered].tolist()])
        order = order[1:][~covered]
    return groups
