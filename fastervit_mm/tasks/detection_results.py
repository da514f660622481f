"""How well a detector's kept predictions fit the objects that its config evaluates it on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.config import Config
from PIL import Image

from ..pictures import draw_objects
from ..report.results import ImageResult, Results
from ..report.scores import MATCH_SCORE, class_ap, detection_confusion, f1, match_boxes
from .detection_truth import Truth, coco_entries
from .kept_detections import read_detections

SCORE_NAME = 'F1 at IoU 0.5'


class DetectedImage:
    """The objects of one image, and what a detector found there.

    Args:
        truth: of all images.
        prediction: of this one, as tools/test.py --out keeps it.
        score: detections below it are neither counted nor drawn.

    Attributes:
        image_id: in the annotation file.
        objects: COCO's annotations.
        true_boxes: (N, 4) of the objects: x0, y0, x1, y1 in px.
        true_labels: N class indices.
        boxes: (M, 4) of the detections.
        labels: (M,) class indices.
        scores: (M,) 0 to 1.
        masks: M run-length encoded masks; None: the detector gives none.
    """

    def __init__(self, truth: Truth, prediction: dict[str, Any], score: float) -> None:
        self.truth = truth
        self.image_id = prediction['img_id']
        self.objects = truth.objects(self.image_id)
        corners = [[x, y, x + w, y + h] for x, y, w, h in (a['bbox'] for a in self.objects)]
        self.true_boxes = np.array(corners).reshape(-1, 4)
        self.true_labels = [truth.category_ids.index(a['category_id']) for a in self.objects]
        found = prediction['pred_instances']
        scores = np.asarray(found['scores'])
        kept = np.flatnonzero(scores >= score)
        self.boxes, self.scores = np.asarray(found['bboxes'])[kept], scores[kept]
        self.labels = np.asarray(found['labels']).astype(int)[kept]
        masks = found.get('masks')
        self.masks = None if masks is None else [masks[k] for k in kept]
        self._pairs = match_boxes(self.true_boxes, self.boxes, self.scores)

    def result(self) -> ImageResult:
        """Its F1, whose objects must be found with their class."""
        right = sum(self.true_labels[i] == self.labels[j] for i, j in self._pairs)
        score = f1(right, len(self.objects), len(self.boxes))
        return ImageResult(score, self.truth.file_name(self.image_id), self.pictures)

    def add_to(self, confusion: np.ndarray) -> None:
        """Add its objects and detections to a confusion matrix of `detection_confusion`."""
        detection_confusion(
            confusion,
            self.true_boxes,
            self.true_labels,
            self.boxes,
            self.labels.tolist(),
            self._pairs,
        )

    def pictures(self) -> tuple[Image.Image, Image.Image]:
        """The objects and the detections drawn on the image; masks where the detector gives some."""
        from pycocotools import mask as coco_mask

        pixels = self.truth.pixels(self.image_id)
        true_masks = masks = None
        if self.masks is not None:
            true_masks = [self.truth.coco.annToMask(a).astype(bool) for a in self.objects]
            masks = [coco_mask.decode(mask).astype(bool) for mask in self.masks]
        classes = self.truth.classes
        left = draw_objects(pixels, self.true_boxes, self.true_labels, classes, masks=true_masks)
        right = draw_objects(
            pixels, self.boxes, self.labels.tolist(), classes, self.scores.tolist(), masks
        )
        return left, right


def detection_images(
    cfg: Config, predictions: Path, score: float = MATCH_SCORE
) -> list[ImageResult]:
    """Each image that ``predictions`` holds.

    Args:
        cfg: the whole config.
        predictions: of tools/test.py --out.
        score: detections below it are neither counted nor drawn.
    """
    truth = Truth(cfg)
    return [DetectedImage(truth, p, score).result() for p in read_detections(cfg, predictions)]


def detection_results(cfg: Config, predictions: Path) -> Results:
    """From the predictions of tools/test.py --out and the truth that the config names."""
    truth = Truth(cfg)
    kept = read_detections(cfg, predictions)
    results = Results(truth.classes, SCORE_NAME)
    results.confusion = np.zeros((len(truth.classes) + 1,) * 2, int)
    for prediction in kept:
        image = DetectedImage(truth, prediction, MATCH_SCORE)
        image.add_to(results.confusion)
        results.images.append(image.result())
    has_masks = any(p['pred_instances'].get('masks') is not None for p in kept)
    kinds = ['bbox', 'segm'] if has_masks else ['bbox']
    results.head = ['class', 'objects', *(f'{kind} AP' for kind in kinds)]
    results.per_class = class_rows(truth, kept, kinds)
    return results


def class_rows(
    truth: Truth, predictions: Sequence[dict[str, Any]], kinds: Sequence[str]
) -> list[list[Any]]:
    """A row for each class: name, objects, AP of each of ``kinds`` ('bbox', 'segm')."""
    entries = [entry for p in predictions for entry in coco_entries(truth, p)]
    columns = [class_ap(truth.coco, entries, kind) for kind in kinds]
    return [
        [name, truth.count(i), *(ap if ap >= 0 else '–' for ap in aps)]
        for i, name, *aps in zip(truth.category_ids, truth.classes, *columns, strict=True)
    ]
