"""A batch of two images with random truth, for a step of a whole model of mmdet or mmseg."""

from typing import Any

import torch


def detection_batch(*, masks: bool, stuff: bool) -> dict[str, Any]:
    """Images of 64 and 96 px with two objects each, and a class for each pixel if ``stuff``."""
    from mmdet.testing import demo_mm_inputs

    return demo_mm_inputs(
        2,
        [[3, 64, 96], [3, 96, 64]],
        num_items=[2, 2],
        num_classes=80,
        with_mask=masks,
        with_semantic=stuff,
    )


def segmentation_batch() -> dict[str, Any]:
    """Images of 64 px with a class for each pixel."""
    from mmengine.structures import PixelData
    from mmseg.structures import SegDataSample

    sample = SegDataSample(metainfo=dict(img_shape=(64, 64), ori_shape=(64, 64)))
    sample.gt_sem_seg = PixelData(data=torch.randint(0, 150, (1, 64, 64)))
    images = [torch.randint(0, 255, (3, 64, 64), dtype=torch.uint8) for _ in range(2)]
    return dict(inputs=images, data_samples=[sample, sample.clone()])
