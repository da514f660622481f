"""Detections kept in a file: COCO's results format, which holds no code; pickles read with care."""

from __future__ import annotations

import io
import json
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope

from ..errors import FileError
from ..weights.safe_loading import latin1, no_bytes, plain_numpy, with_arrays
from ..weights.whole_writing import write_whole
from .detection_truth import Truth, coco_entries

PICKLES = ('.pkl', '.pickle')
# what a pickle of mmdet's detections is made of, beside numpy's arrays
_PLAIN = {('collections', 'OrderedDict'), ('torch._utils', '_rebuild_tensor_v2')}


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
        FileError: it is neither, or a pickle of more than numbers.
    """
    if path.suffix in PICKLES:
        return _read_pickle(path, trust)
    try:
        entries = json.loads(path.read_text())
        return _by_image(cfg, entries)
    except (ValueError, KeyError, TypeError) as error:
        raise FileError(
            f"{path} holds no detections in COCO's results format ({type(error).__name__}: {error}); "
            'tools/test.py --out writes them'
        ) from None


def _by_image(cfg: Config, entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    from mmdet.registry import DATASETS

    init_default_scope(cfg.default_scope)
    dataset = DATASETS.build(cfg.test_dataloader.dataset)
    truth = Truth(cfg)
    found: dict[Any, list[dict[str, Any]]] = {}
    for entry in entries:
        found.setdefault(entry['image_id'], []).append(entry)
    has_masks = any('segmentation' in entry for entry in entries)
    index = {category: i for i, category in enumerate(truth.category_ids)}
    images = [dataset.get_data_info(i) for i in range(len(dataset))]
    unknown = set(found) - {image['img_id'] for image in images}
    if unknown:
        raise ValueError(f'image {min(unknown, key=str)} is none of the test data')
    return [
        dict(
            img_id=image['img_id'],
            ori_shape=(image['height'], image['width']),
            pred_instances=_instances(found.get(image['img_id'], []), index, has_masks),
        )
        for image in images
    ]


def _instances(
    entries: Sequence[dict[str, Any]], index: dict[int, int], has_masks: bool
) -> dict[str, Any]:
    """Boxes (x0, y0, x1, y1), labels, scores and encoded masks of one image."""
    boxes = np.array([entry['bbox'] for entry in entries], float).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    instances: dict[str, Any] = dict(
        bboxes=torch.from_numpy(boxes),
        labels=torch.tensor([index[entry['category_id']] for entry in entries], dtype=torch.long),
        scores=torch.tensor([entry['score'] for entry in entries], dtype=torch.float64),
    )
    if has_masks:
        instances['masks'] = [
            dict(m, counts=m['counts'].encode() if isinstance(m['counts'], str) else m['counts'])
            for m in (entry['segmentation'] for entry in entries)
        ]
    return instances


def _load_storage(content: bytes) -> Any:
    return torch.load(io.BytesIO(content), map_location='cpu', weights_only=True)


_STAND_INS = {
    **plain_numpy(),
    ('torch.storage', '_load_from_bytes'): _load_storage,
    ('_codecs', 'encode'): latin1,
    ('builtins', 'bytes'): no_bytes,
    ('__builtin__', 'bytes'): no_bytes,
}


class _PlainUnpickler(pickle.Unpickler):
    """Reads numbers, tensors and plain containers, and nothing that could run code."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in _STAND_INS:
            return _STAND_INS[module, name]
        if (module, name) not in _PLAIN:
            raise pickle.UnpicklingError(f'it holds {module}.{name}')
        return super().find_class(module, name)


def _read_pickle(path: Path, trust: bool) -> list[dict[str, Any]]:
    with open(path, 'rb') as file:
        try:
            return pickle.load(file) if trust else with_arrays(_PlainUnpickler(file).load())
        except Exception as error:  # a pickle of anything can raise anything
            raise FileError(
                f'{path} cannot be read as kept detections ({error}); --trust reads any pickle, which '
                'MAY RUN ANY CODE; better: tools/test.py --out predictions.json'
            ) from None
