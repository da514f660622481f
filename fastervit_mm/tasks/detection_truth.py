"""What a detector is evaluated on, and what it finds, in COCO's terms."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from mmengine.config import Config
from mmengine.registry import init_default_scope

from .pipeline import image_reader


class Truth:
    """The annotations and images that a detector is evaluated on.

    Args:
        cfg: the whole config.

    Attributes:
        coco: pycocotools' reading of the annotation file.
        category_ids: COCO's id of each class.
        classes: names, in the same order.
    """

    def __init__(self, cfg: Config) -> None:
        from pycocotools.coco import COCO

        init_default_scope(cfg.default_scope)
        dataset = cfg.test_dataloader.dataset
        root = Path(dataset.data_root or '')
        self.coco = COCO(str(root / dataset.ann_file))
        self.category_ids: list[int] = self.coco.getCatIds()
        self.classes = tuple(c['name'] for c in self.coco.loadCats(self.category_ids))
        self._folder = root / dataset.data_prefix.img
        self._read = image_reader(dataset)

    def file_name(self, image_id: Any) -> str:
        """Of an image, as the annotation file states it."""
        return self.coco.loadImgs(image_id)[0]['file_name']

    def pixels(self, image_id: Any) -> np.ndarray:
        """(H, W, 3) uint8 RGB, as the config reads it."""
        return self._read(self._folder / self.file_name(image_id))

    def objects(self, image_id: Any) -> list[dict[str, Any]]:
        """COCO's annotations of an image; crowds are none."""
        return self.coco.loadAnns(self.coco.getAnnIds(image_id, iscrowd=False))

    def count(self, category_id: int) -> int:
        """Annotations of a category in all images, crowds too."""
        return len(self.coco.getAnnIds(catIds=[category_id]))


def coco_entries(truth: Truth, prediction: dict[str, Any]) -> list[dict[str, Any]]:
    """All detections of one image in COCO's results format, whatever their score."""
    found = prediction['pred_instances']
    boxes, labels, scores = (np.asarray(found[key]) for key in ('bboxes', 'labels', 'scores'))
    masks = found.get('masks')
    entries = []
    for k, (x0, y0, x1, y1) in enumerate(boxes.tolist()):
        entry: dict[str, Any] = dict(
            image_id=prediction['img_id'],
            category_id=truth.category_ids[int(labels[k])],
            bbox=[x0, y0, x1 - x0, y1 - y0],
            score=float(scores[k]),
        )
        if masks is not None:
            entry['segmentation'] = masks[k]
        entries.append(entry)
    return entries
