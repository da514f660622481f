"""A look at each kept detection before it is evaluated: pycocotools and mmdet trust them blindly."""

from __future__ import annotations

from collections.abc import Container, Mapping
from typing import Any

import numpy as np
import torch

from ..data.run_lengths import usable_run_lengths
from ..data.text import shown

IDS = (int, float, str)  # of images and categories
LARGEST = 2.0**31  # of a coordinate, px, or a score
# of the predictions of an image with N objects: dimensions, kinds of numbers, what they are
ARRAYS = {
    'bboxes': ((4,), 'fiu', '(N, 4) numbers'),
    'labels': ((), 'iu', '(N,) whole numbers'),
    'scores': ((), 'fiu', '(N,) numbers'),
    'mask_scores': ((), 'fiu', '(N,) numbers'),
}


def fault_of_entry(
    entry: Any,
    sizes: Mapping[Any, tuple[int, int]],
    categories: Container[Any],
    has_masks: bool,
    needs_box: bool = True,
) -> str | None:
    """Why an entry cannot be evaluated, and what is allowed; None: it can.

    Args:
        entry: as the file states it.
        sizes: height and width of each image of the test data by its id, px.
        categories: ids of the classes.
        has_masks: entries have masks.
        needs_box: a mask alone is not enough. Default True.
    """
    keys = ['image_id', 'category_id', 'bbox', 'score', *(['segmentation'] if has_masks else [])]
    if isinstance(entry, dict) and {*keys} - entry.keys() == {'bbox'} and has_masks:
        if needs_box:
            return (
                f'this config evaluates boxes, and {shown(entry)} has no bbox; test_evaluator.metric='
                'segm evaluates masks alone'
            )
        entry = dict(entry, bbox=[0, 0, 0, 0])  # COCO takes that of the mask
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


def has_masks(prediction: Any) -> bool:
    """Whether mmdet's prediction of an image has masks."""
    found = prediction.get('pred_instances') if isinstance(prediction, dict) else None
    return isinstance(found, dict) and found.get('masks') is not None


def checked_prediction(
    prediction: Any, sizes: Mapping[Any, tuple[int, int]], labels: Container[int], masked: bool
) -> dict[str, Any]:
    """Mmdet's prediction of an image as its metrics take it, masks run-length encoded.

    Args:
        prediction: as a pickle states it.
        sizes: height and width of each image of the test data by its id, px.
        labels: of the classes.
        masked: predictions have masks.

    Raises:
        ValueError: it cannot be evaluated; the message says what is allowed.
    """
    if not isinstance(prediction, dict) or 'img_id' not in prediction:
        raise ValueError(f'{shown(prediction)} is no dict with img_id and pred_instances')
    image, found = prediction['img_id'], prediction.get('pred_instances')
    if type(image) not in IDS or image not in sizes:
        raise ValueError(f'image {shown(image)} is none of the test data')
    prediction = dict(prediction, ori_shape=sizes[image])
    if 'pred_panoptic_seg' in prediction:
        _check_panoptic(prediction['pred_panoptic_seg'], *sizes[image])
        if found is None:
            return prediction
    if not isinstance(found, dict):
        raise ValueError(f'pred_instances is {shown(found)}, no dict')
    arrays = {key: _array(key, found) for key in ARRAYS if key in found or key != 'mask_scores'}
    count = len(arrays['bboxes'])
    masks = [_run_lengths(mask) for mask in _listed(found.get('masks'))] if masked else None
    lengths = {key: len(value) for key, value in arrays.items()}
    lengths |= {} if masks is None else dict(masks=len(masks))
    if set(lengths.values()) != {count}:
        raise ValueError(f'it has {", ".join(f"{n} {key}" for key, n in lengths.items())}')
    boxes = arrays['bboxes'].astype(float)
    boxes[:, 2:] -= boxes[:, :2]
    columns = [boxes.tolist(), arrays['labels'].tolist()]
    for key in [key for key in ('scores', 'mask_scores') if key in arrays]:
        scores = arrays[key].tolist()
        for k, (box, label, score) in enumerate(zip(*columns, scores, strict=True)):
            entry = dict(image_id=image, category_id=label, bbox=box, score=score)
            if masks is not None:
                entry['segmentation'] = _as_text(masks[k])
            fault = fault_of_entry(entry, sizes, labels, masks is not None)
            if fault is not None:
                raise ValueError(f'object {k + 1} of {count}: {fault}')
    found = {key: value for key, value in found.items() if key != 'masks'}
    found |= {key: torch.from_numpy(value) for key, value in arrays.items()}
    found |= {} if masks is None else dict(masks=masks)
    return dict(prediction, pred_instances=found)


def _check_panoptic(found: Any, height: int, width: int) -> None:
    """A panoptic prediction must be a map of whole numbers of that size, px."""
    labels = found.get('sem_seg') if isinstance(found, dict) else None
    labels = labels.numpy() if isinstance(labels, torch.Tensor) else np.asarray(labels)
    if labels.shape != (1, height, width) or labels.dtype.kind not in 'iu':
        raise ValueError(
            f'pred_panoptic_seg is not sem_seg of (1, {height}, {width}) whole numbers'
        )


def _array(key: str, found: Mapping[str, Any]) -> np.ndarray:
    """The numbers of all objects of an image."""
    value, (dimensions, kinds, text) = found.get(key), ARRAYS[key]
    if isinstance(value, torch.Tensor):  # of bfloat16 numpy has none
        value = value.detach().cpu()
        value = (value.float() if value.dtype == torch.bfloat16 else value).numpy()
    if not isinstance(value, np.ndarray) or value.dtype.kind not in kinds:
        raise ValueError(f'{key} is {shown(value)}; it must be a tensor or array of {text}')
    kind = np.int64 if key == 'labels' else value.dtype.newbyteorder('=')  # torch has no other
    value = np.ascontiguousarray(value, kind) if value.ndim else value
    if value.ndim == 0 or value.shape[1:] != dimensions:
        raise ValueError(f'{key} has the shape {value.shape}; it must be {text}')
    return value


def _listed(masks: Any) -> list[Any]:
    """Masks of an image, one by one; none where it has no objects."""
    if isinstance(masks, torch.Tensor):
        masks = masks.detach().cpu().numpy()
    if isinstance(masks, np.ndarray) and masks.ndim != 3:
        raise ValueError(f'masks has the shape {masks.shape}; bitmaps must be (N, height, width)')
    if masks is not None and not isinstance(masks, (list, tuple, np.ndarray)):
        raise ValueError(f'masks is {shown(masks)}, no list')
    return [] if masks is None else list(masks)


def _run_lengths(mask: Any) -> Any:
    """A bitmap run-length encoded; anything else as it is."""
    from pycocotools import mask as coco_mask

    if isinstance(mask, torch.Tensor):
        mask = mask.detach().cpu().numpy()
    if not isinstance(mask, np.ndarray) or mask.ndim != 2 or mask.dtype.kind not in 'biu':
        return mask
    return coco_mask.encode(np.asfortranarray(mask != 0, np.uint8))


def _as_text(mask: Any) -> Any:
    """A mask of a pickle, whose counts are bytes, as COCO's results format has it."""
    if not isinstance(mask, dict) or not isinstance(mask.get('counts'), bytes):
        return mask
    size = mask.get('size')
    size = list(size) if isinstance(size, tuple) else size
    return dict(mask, counts=mask['counts'].decode('latin-1'), size=size)
