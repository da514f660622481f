"""Detections kept in a file: COCO's results format, which holds no code; pickles read with care."""

from __future__ import annotations

import io
import json
import pickle
from collections.abc import Container, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope

from ..data.run_lengths import usable_run_lengths
from ..data.text import shown
from ..errors import FileError
from ..weights.safe_loading import latin1, no_bytes, plain_numpy, with_arrays
from ..weights.whole_writing import write_whole
from .detection_truth import Truth, coco_entries

PICKLES = ('.pkl', '.pickle')
IDS = (int, float, str)  # of images and categories
LARGEST = 2.0**31  # of a coordinate, px, or a score
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
    except (ValueError, RecursionError) as error:
        raise _no_detections(path, f'{type(error).__name__}: {error}') from None
    if not isinstance(entries, list):
        raise _no_detections(path, f'{shown(entries)} is no list')
    return _by_image(cfg, path, entries)


def _no_detections(path: Path, reason: str) -> FileError:
    return FileError(
        f"{path} holds no detections in COCO's results format ({reason}); "
        'tools/test.py --out writes them'
    )


def _by_image(cfg: Config, path: Path, entries: list[Any]) -> list[dict[str, Any]]:
    """Entries in COCO's results format as mmdet's metrics take them, after a look at each.

    Raises:
        FileError: one is none, or is of nothing in the test data.
    """
    from mmdet.registry import DATASETS

    init_default_scope(cfg.default_scope)
    dataset = DATASETS.build(cfg.test_dataloader.dataset)
    truth = Truth(cfg)
    has_masks = any(isinstance(entry, dict) and 'segmentation' in entry for entry in entries)
    index = {category: i for i, category in enumerate(truth.category_ids)}
    images = [dataset.get_data_info(i) for i in range(len(dataset))]
    sizes = {image['img_id']: (image['height'], image['width']) for image in images}
    found: dict[Any, list[dict[str, Any]]] = {}
    for number, entry in enumerate(entries, start=1):
        fault = fault_of_entry(entry, sizes, index, has_masks)
        if fault is not None:
            raise _no_detections(path, f'entry {number} of {len(entries)}: {fault}')
        found.setdefault(entry['image_id'], []).append(entry)
    return [
        dict(
            img_id=image['img_id'],
            ori_shape=(image['height'], image['width']),
            pred_instances=_instances(found.get(image['img_id'], []), index, has_masks),
        )
        for image in images
    ]


def fault_of_entry(
    entry: Any, sizes: Mapping[Any, tuple[int, int]], categories: Container[Any], has_masks: bool
) -> str | None:
    """Why an entry cannot be evaluated, and what is allowed; None: it can.

    Args:
        entry: as the file states it.
        sizes: height and width of each image of the test data by its id, px.
        categories: ids of the classes.
        has_masks: entries have masks.
    """
    keys = ['image_id', 'category_id', 'bbox', 'score', *(['segmentation'] if has_masks else [])]
    if not isinstance(entry, dict) or not all(key in entry for key in keys):
        return f'{shown(entry)} is no object with {", ".join(keys)}'
    image, category, box, score = (entry[key] for key in keys[:4])
    if type(image) not in IDS or image not in sizes:
        return f'image {shown(image)} is none of the test data'
    if type(category) not in IDS or category not in categories:
        return f'category {shown(category)} is none of the test data'
    if not isinstance(box, list) or len(box) != 4 or not all(map(_is_number, box)):
        return f'bbox {shown(box)} is not the 4 finite numbers x, y, width, height, px'
    if box[2] < 0 or box[3] < 0:
        return f'bbox {shown(box)} has a width or height below 0'
    if not _is_number(score):
        return f'score {shown(score)} is no finite number'
    return _fault_of_mask(entry['segmentation'], *sizes[image]) if has_masks else None


def _fault_of_mask(mask: Any, height: int, width: int) -> str | None:
    """The same of the mask of an object in an image of that size, px."""
    if isinstance(mask, dict) and isinstance(mask.get('counts'), str):
        if usable_run_lengths(mask, height, width) is not None:
            return None
    return (
        f'segmentation {shown(mask)} is not the size [{height}, {width}] of its image and, as '
        'counts, the compressed run lengths (text) of all its pixels'
    )


def _is_number(value: Any) -> bool:
    """Whether ``value`` is a finite number that fits any array; true and false are none."""
    return type(value) in (int, float) and abs(value) < LARGEST  # NaN is not below it


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
            dict(m, counts=m['counts'].encode()) for m in (e['segmentation'] for e in entries)
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
