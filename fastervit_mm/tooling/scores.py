"""How well predictions fit the truth: of each class, each image, and which classes get mixed up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

MATCH_IOU = 0.5
MATCH_SCORE = 0.3


def box_iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(N, M) overlaps of boxes (N, 4) and (M, 4), x0 y0 x1 y1 in px."""
    top = np.maximum(a[:, None, :2], b[None, :, :2])
    bottom = np.minimum(a[:, None, 2:], b[None, :, 2:])
    inter = (bottom - top).clip(min=0).prod(-1)
    areas = [(x[:, 2:] - x[:, :2]).prod(-1) for x in (a, b)]
    return inter / np.maximum(areas[0][:, None] + areas[1][None, :] - inter, 1e-9)


def match_boxes(truth: np.ndarray, found: np.ndarray, scores: np.ndarray) -> list[tuple[int, int]]:
    """Pairs (truth, found) of boxes that overlap by ``MATCH_IOU`` or more, whatever their class;
    each box at most once, confident ones first.
    """
    pairs: list[tuple[int, int]] = []
    if len(truth) == 0 or len(found) == 0:
        return pairs
    overlap = box_iou(truth, found)
    for j in np.argsort(-scores):
        i = int(overlap[:, j].argmax())
        if overlap[i, j] >= MATCH_IOU:
            pairs.append((i, int(j)))
            overlap[i] = -1
    return pairs


def detection_confusion(
    matrix: np.ndarray,
    truth: np.ndarray,
    truth_labels: Sequence[int],
    found: np.ndarray,
    found_labels: Sequence[int],
    pairs: Sequence[tuple[int, int]],
) -> None:
    """Add one image to ``matrix`` (classes + 1, classes + 1): row the truth, column the
    prediction, the last of each the background.
    """
    nothing = len(matrix) - 1
    for i, j in pairs:
        matrix[truth_labels[i], found_labels[j]] += 1
    for i in set(range(len(truth))) - {i for i, _ in pairs}:
        matrix[truth_labels[i], nothing] += 1
    for j in set(range(len(found))) - {j for _, j in pairs}:
        matrix[nothing, found_labels[j]] += 1


def f1(right: int, truth: int, found: int) -> float:
    """Harmonic mean of precision and recall; 1 where there is nothing and nothing was found."""
    return 2 * right / (truth + found) if truth + found else 1.0


def label_confusion(truth: np.ndarray, found: np.ndarray, classes: int) -> np.ndarray:
    """(classes, classes) pixels of two label maps: row the truth, column the prediction.

    Pixels whose truth is no class are left out.
    """
    valid = (truth >= 0) & (truth < classes)
    pairs = truth[valid].astype(int) * classes + found[valid].clip(0, classes - 1)
    return np.bincount(pairs, minlength=classes**2).reshape(classes, classes)


def class_iou(matrix: np.ndarray) -> np.ndarray:
    """(classes,) IoU from a confusion of pixels; NaN for classes that do not occur."""
    right = np.diag(matrix).astype(float)
    union = matrix.sum(0) + matrix.sum(1) - right
    return np.divide(right, union, out=np.full(len(matrix), np.nan), where=union > 0)


def class_ap(coco: Any, results: list[dict], kind: str) -> list[float]:
    """AP (IoU 0.50:0.95) of each category of ``coco``; -1 where it has no object.

    Args:
        coco: a pycocotools.coco.COCO with the truth.
        results: in COCO's results format.
        kind: 'bbox' or 'segm'.
    """
    from contextlib import redirect_stdout
    from io import StringIO

    from pycocotools.cocoeval import COCOeval

    ids = coco.getCatIds()
    if not results:
        return [0.0 if coco.getAnnIds(catIds=[i]) else -1.0 for i in ids]
    with redirect_stdout(StringIO()):
        evaluation = COCOeval(coco, coco.loadRes(results), kind)
        evaluation.evaluate()
        evaluation.accumulate()
    precision = evaluation.eval['precision'][:, :, :, 0, -1]  # IoU, recall, class
    order = sorted(ids)  # COCOeval's, whatever that of the file
    return [
        float(p[p > -1].mean()) if (p > -1).any() else -1.0
        for p in (precision[:, :, order.index(i)] for i in ids)
    ]
