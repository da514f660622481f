"""Models that know the truth but for mistakes which depend on the image, and testing with them."""

from pathlib import Path
from typing import Any

import torch
from mmdet.registry import MODELS as DETECTORS
from mmengine.model import BaseModel
from mmengine.runner import Runner
from mmengine.structures import InstanceData, PixelData
from mmseg.registry import MODELS as SEGMENTORS
from torch import nn

from tests.helpers import call_tool, few

CONFIGS = dict(
    coco='configs/detection/cascade_fastervit_shapes.py',
    ade='configs/segmentation/upernet_fastervit_shapes.py',
)


class Knowing(BaseModel):
    """A model of one weight; what else its config says does not matter to it."""

    def __init__(self, data_preprocessor: dict, **others: Any) -> None:
        super().__init__(data_preprocessor)
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, inputs: Any, data_samples: list, mode: str) -> list:
        return [self.answer(sample) for sample in data_samples]


@DETECTORS.register_module()
class KnowingDetector(Knowing):
    """Boxes are shifted, scored and, for every third image, named wrongly, by the image's number."""

    def answer(self, sample: Any) -> Any:
        truth, number = sample.gt_instances, int(sample.img_id)
        boxes = truth.bboxes + (number % 5) * 2.0
        labels = truth.labels if number % 3 else (truth.labels + 1) % 3
        scores = torch.linspace(0.9, 0.5, len(labels)) - 0.01 * number
        masks = torch.as_tensor(truth.masks.masks, dtype=torch.bool)
        masks = masks.roll(number % 4, dims=-1)
        sample.pred_instances = InstanceData(
            bboxes=boxes, labels=labels, scores=scores, masks=masks
        )
        return sample


@SEGMENTORS.register_module()
class KnowingSegmentor(Knowing):
    """The label map is shifted by the size of the first class in it."""

    def answer(self, sample: Any) -> Any:
        truth = sample.gt_sem_seg.data.clone()
        truth[truth == 255] = 0
        sample.pred_sem_seg = PixelData(data=truth.roll(int((truth == 0).sum()) % 7, dims=-1))
        return sample


def tested(layout: str, data: Path, work_dir: Path) -> dict[str, float]:
    """Test in this process of its group by tools/test.py, with ``--out``; all metrics.

    Args:
        layout: 'coco' or 'ade'.
        data: folder of drawn shapes.
        work_dir: gets the predictions, ``kept.json`` or ``kept/``.
    """
    import os

    checkpoint = data / 'knowing.pth'
    launcher = 'pytorch' if 'WORLD_SIZE' in os.environ else 'none'
    kind = 'Detector' if layout == 'coco' else 'Segmentor'
    seen: dict[str, float] = {}
    test = Runner.test

    def test_and_note(runner: Runner) -> dict[str, float]:
        seen.update(test(runner))
        return seen

    Runner.test = test_and_note
    call_tool(
        *('test.py', CONFIGS[layout], checkpoint, '--data', data / layout, '--work-dir', work_dir),
        *(
            '--launcher',
            launcher,
            '--out',
            work_dir / ('kept.json' if layout == 'coco' else 'kept'),
        ),
        *('--cfg-options', *few(), f'model.type=Knowing{kind}'),
    )
    return seen


def write_checkpoint(data: Path) -> None:
    """The one weight of either model."""
    torch.save(dict(state_dict=dict(weight=torch.zeros(1)), meta={}), data / 'knowing.pth')
