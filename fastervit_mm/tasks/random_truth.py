"""Random truth for both tasks, so that a step of a whole model can be timed without data."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

OBJECTS = 8  # of an image


def _meta(size: tuple[int, int]) -> dict[str, Any]:
    """What a data sample says about an image of ``size`` (height, width) px that was not resized."""
    return dict(
        img_shape=size,
        ori_shape=size,
        pad_shape=size,
        batch_input_shape=size,
        scale_factor=(1.0, 1.0),
        flip=False,
    )


def random_objects(count: int, size: tuple[int, int], device: str) -> list[Any]:
    """Data samples of mmdet, each with `OBJECTS` boxes and their masks, all of class 0.

    Args:
        count: images.
        size: of an image, (height, width), px.
        device: of boxes and classes.
    """
    from mmdet.structures import DetDataSample
    from mmdet.structures.mask import BitmapMasks
    from mmengine.structures import InstanceData

    height, width = size
    samples = []
    for _ in range(count):
        corner = torch.rand(OBJECTS, 2) * torch.tensor([width, height]) * 0.6
        side = torch.tensor([width, height]) * 0.3
        boxes = torch.cat((corner, corner + side), 1)
        masks = torch.zeros(OBJECTS, *size, dtype=torch.uint8).numpy()
        for mask, (x0, y0, x1, y1) in zip(masks, boxes.int().tolist(), strict=True):
            mask[y0:y1, x0:x1] = 1
        truth = InstanceData(
            bboxes=boxes.to(device),
            labels=torch.zeros(OBJECTS, dtype=torch.long, device=device),
            masks=BitmapMasks(masks, *size),
        )
        samples.append(DetDataSample(metainfo=_meta(size), gt_instances=truth))
    return samples


def random_label_maps(
    model: nn.Module, count: int, size: tuple[int, int], device: str
) -> list[Any]:
    """Data samples of mmseg, each with a class for each pixel.

    Args:
        model: a segmentor, whose classes are used.
        count: images.
        size: of an image, (height, width), px.
        device: of the label maps.
    """
    from mmengine.structures import PixelData
    from mmseg.structures import SegDataSample

    head: Any = model.decode_head
    labels = torch.randint(0, head.num_classes, (count, 1, *size))
    return [
        SegDataSample(metainfo=_meta(size), gt_sem_seg=PixelData(data=label.to(device)))
        for label in labels
    ]
