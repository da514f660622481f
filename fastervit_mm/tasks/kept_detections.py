"""Detections kept in a file: COCO's results format, which holds no code, or a pickle."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope

from ..config.data_sets import nested_dicts
from ..data.text import shown
from ..errors import FileError
from ..weights.whole_writing import write_whole
from .checked_detections import checked_prediction, fault_of_entry, has_masks
from .detection_truth import Truth, coco_entries
from .pickled_detections import PICKLES, read_pickle


def write_detections(path: Path, truth: Truth, predictions: Sequence[dict[str, Any]]) -> None:
    """Write detections as a list in COCO's results format.

    Args:
        path: file.
        truth: of the images, whose category ids are written.
        predictions: samples as dicts, masks run-length encoded.
    """
    entries = [entry for prediction in predictions for entry in coco_entries(truth, prediction)]
    for entry in entries:
        mask = entry.get('segmentation')
        if mask is not None and isinstance(mask['counts'], bytes):
            entry['segmentation'] = dict(mask, counts=mask['counts'].decode())
    write_whole(path, json.dumps(entries))


def read_detections(cfg: Config, path: Path, trust: bool = False) -> list[dict[str, Any]]:
    """Kept detections, one for each image of the test data, as mmdet's metrics take them.

    Args:
        cfg: the whole config.
        path: of `write_detections`, or a pickle of mmdet's ``DumpDetResults``.
        trust: let a pickle run code. Default False.

    Raises:
        FileError: it is neither, a pickle of more than numbers, or what cannot be evaluated.
    """
    if path.suffix in PICKLES:
        return _of_pickle(cfg, path, read_pickle(path, trust))
    try:
        entries = json.loads(path.read_text())
    except (ValueError, RecursionError) as error:
        raise _no_detections(path, f'{type(error).__name__}: {error}') from None
    if not isinstance(entries, list):
        raise _no_detections(path, f'{shown(entries)} is no list')
    return _by_image(cfg, path, entries)


def _no_detections(path: Path, reason: str) -> FileError:
    kind = "of mmdet's DumpDetResults" if path.suffix in PICKLES else "in COCO's results format"
    return FileError(
        f'{path} holds no detections {kind} ({reason}); tools/test.py --out writes them'
    )


def _test_images(cfg: Config) -> tuple[Any, dict[Any, tuple[int, int]]]:
    """The test data, and the height and width of each of its images by its id, px."""
    from mmdet.registry import DATASETS

    init_default_scope(cfg.default_scope)
    dataset = DATASETS.build(cfg.test_dataloader.dataset)
    images = (dataset.get_data_info(i) for i in range(len(dataset)))
    return dataset, {image['img_id']: (image['height'], image['width']) for image in images}


def _of_pickle(cfg: Config, path: Path, predictions: Any) -> list[dict[str, Any]]:
    """Predictions of a pickle as mmdet's metrics take them, after a look at each.

    Raises:
        FileError: one is none, or is of nothing in the test data.
    """
    if not isinstance(predictions, list) or not predictions:
        raise _no_detections(path, f'{shown(predictions)} is no list of predictions')
    dataset, sizes = _test_images(cfg)
    known = getattr(dataset, 'cat_ids', dataset.metainfo['classes'])
    things = dataset.metainfo.get('thing_classes', known)  # of panoptic data objects alone
    labels = range(min(len(known), len(things)))
    masked = any(has_masks(prediction) for prediction in predictions)
    checked = []
    for number, prediction in enumerate(predictions, start=1):
        try:
            checked.append(checked_prediction(prediction, sizes, labels, masked))
        except ValueError as error:
            place = f'prediction {number} of {len(predictions)}'
            text = ' '.join(str(error).split())  # an array's has lines
            raise _no_detections(path, f'{place}: {text}') from None
    return checked


def _by_image(cfg: Config, path: Path, entries: list[Any]) -> list[dict[str, Any]]:
    """Entries in COCO's results format as mmdet's metrics take them, after a look at each.

    Raises:
        FileError: one is none, or is of nothing in the test data.
    """
    _, sizes = _test_images(cfg)
    truth = Truth(cfg)
    masked = any(isinstance(entry, dict) and 'segmentation' in entry for entry in entries)
    with_boxes = _evaluates_boxes(cfg)
    index = {category: i for i, category in enumerate(truth.category_ids)}
    found: dict[Any, list[dict[str, Any]]] = {}
    for number, entry in enumerate(entries, start=1):
        fault = fault_of_entry(entry, sizes, index, masked, with_boxes)
        if fault is not None:
            raise _no_detections(path, f'entry {number} of {len(entries)}: {fault}')
        found.setdefault(entry['image_id'], []).append(entry)
    return [
        dict(
            img_id=image,
            ori_shape=size,
            pred_instances=_instances(found.get(image, []), index, masked),
        )
        for image, size in sizes.items()
    ]


def _evaluates_boxes(cfg: Config) -> bool:
    """Whether a metric of the tests asks for more than masks; those of COCO ask for boxes first."""
    evaluators = [node for node in nested_dicts(cfg.get('test_evaluator')) if 'type' in node]
    asked = [evaluator.get('metric', 'bbox') for evaluator in evaluators]
    return not asked or any(metric not in ('segm', ['segm'], ('segm',)) for metric in asked)


def _instances(
    entries: Sequence[dict[str, Any]], index: dict[int, int], masked: bool
) -> dict[str, Any]:
    """Boxes (x0, y0, x1, y1), labels, scores and encoded masks of one image."""
    from pycocotools.mask import toBbox

    found = [e['bbox'] if 'bbox' in e else toBbox(e['segmentation']) for e in entries]
    boxes = np.array(found, float).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    instances: dict[str, Any] = dict(
        bboxes=torch.from_numpy(boxes),
        labels=torch.tensor([index[entry['category_id']] for entry in entries], dtype=torch.long),
        scores=torch.tensor([entry['score'] for entry in entries], dtype=torch.float64),
    )
    if masked:
        instances['masks'] = [
            dict(m, counts=m['counts'].encode()) for m in (e['segmentation'] for e in entries)
        ]
    return instances
