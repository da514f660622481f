"""Detection: boxes and masks of objects, by mmdet."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from mmengine.config import Config
from mmengine.registry import init_default_scope
from PIL import Image
from torch import nn

from ..config.data_sets import datasets, reads_panoptic
from ..data.folder import OBJECTS
from ..errors import ArgumentError, FileError
from ..pictures import draw_objects
from ..report.results import ImageResult, Results
from .detection_data import DetectionData
from .detection_results import detection_images, detection_results
from .kept_detections import read_detections
from .pickled_detections import PICKLES
from .prepared_data import check_can_be_written
from .random_truth import random_objects


class Detection(DetectionData):
    """The functions of a detector's config; its data in `detection_data`."""

    name: ClassVar[str] = 'detection'
    scope: ClassVar[str] = 'mmdet'
    labels: ClassVar[str] = OBJECTS
    listed: ClassVar[bool] = True

    # Its evaluation

    def draw_predictions(
        self, cfg: Config, *, show: bool, folder: str | None, wait_time: float
    ) -> None:
        """Files go to a folder that the hook finds itself, in that of the run."""
        super().draw_predictions(cfg, show=show, folder=folder, wait_time=wait_time)
        if folder is not None:
            cfg.default_hooks.visualization.test_out_dir = folder

    def use_tta(self, cfg: Config) -> None:
        """Boxes can be merged, masks cannot: those are neither predicted nor evaluated."""
        super().use_tta(cfg)
        has_masks = 'segm' in cfg.test_evaluator.get('metric', ())
        if cfg.tta_model.type != 'DetTTAModel' or not has_masks:
            return
        print('warning: test-time augmentation merges boxes only: evaluating bbox without segm')
        cfg.test_evaluator.metric = 'bbox'
        roi_head = cfg.model.module.get('roi_head')
        if roi_head is not None and 'mask_head' in roi_head:
            roi_head.mask_head = roi_head.mask_roi_extractor = None

    def keep_predictions(self, cfg: Config, path: str) -> Any:
        """A metric that keeps them in the file ``path``: .json, or .pkl for mmdet's own tools."""
        if path.endswith('.json') and any(map(reads_panoptic, datasets(cfg, ('test_dataloader',)))):
            raise ArgumentError(
                f'--out is {path}; a .json file holds objects alone: give a .pkl file for panoptic data'
            )
        if path.endswith(('.json', *PICKLES)):
            check_can_be_written(Path(path))
        if path.endswith('.json'):
            from .keeping_detections import KeepDetections

            return KeepDetections(cfg, path)
        if not path.endswith(PICKLES):
            raise ArgumentError(f'--out is {path!r}; for a detector it must end in .json or .pkl')
        from mmdet.evaluation import DumpDetResults

        return DumpDetResults(out_file_path=path)

    def evaluate_file(self, cfg: Config, path: str, *, trust: bool = False) -> None:
        """Without running the detector."""
        if not Path(path).is_file():
            raise FileError(f'--eval-only {path} does not exist; --out writes it')
        from mmdet.registry import DATASETS
        from mmengine.evaluator import Evaluator

        init_default_scope(self.scope)
        evaluator = Evaluator(cfg.test_evaluator)
        evaluator.dataset_meta = DATASETS.build(cfg.test_dataloader.dataset).metainfo
        for name, value in evaluator.offline_evaluate(
            read_detections(cfg, Path(path), trust)
        ).items():
            print(f'{name}: {value:.4f}')

    def random_truth(
        self, model: nn.Module, count: int, size: tuple[int, int], device: str
    ) -> list[Any]:
        """Boxes and masks, at random."""
        return random_objects(count, size, device)

    # What a run has learnt

    def predictions_path(self, work_dir: Path) -> Path:
        """One file."""
        return work_dir / 'predictions.json'

    def prediction_files(self, cfg: Config, path: Path) -> list[Path]:
        """That file alone."""
        return [path]

    def results(self, cfg: Config, path: Path) -> Results:
        """AP of each class, F1 of each image."""
        return detection_results(cfg, path)

    def images(self, cfg: Config, path: Path, score: float) -> list[ImageResult]:
        """Each image that was predicted on."""
        return detection_images(cfg, path, score)

    # Predicting on new images

    def make_inferencer(self, cfg: Config, weights: str, device: str | None) -> Any:
        """Mmdet's; it reads no truth, so it needs nothing that reads it."""
        from mmdet.apis import DetInferencer

        for dataset in datasets(cfg, ('test_dataloader',)):
            if reads_panoptic(dataset):  # mmdet builds the step, which needs panopticapi
                dataset['pipeline'] = [
                    step
                    for step in dataset['pipeline']
                    if not step['type'].endswith('LoadPanopticAnnotations')
                ]
        return DetInferencer(
            model=cfg, weights=weights, device=device, scope=self.scope, show_progress=False
        )

    def infer(self, inferencer: Any, images: Sequence[np.ndarray]) -> list[Any]:
        """Samples with ``pred_instances``."""
        return inferencer(
            list(images),
            batch_size=len(images),
            return_datasamples=True,
            no_save_vis=True,
            no_save_pred=True,
        )['predictions']

    def draw(
        self, pixels: np.ndarray, sample: Any, classes: Sequence[str], score: float
    ) -> Image.Image:
        """Boxes, names, scores, and masks where there are some."""
        found = objects_of(sample, score)
        masks = list(found.masks.numpy().astype(bool)) if 'masks' in found else None
        return draw_objects(
            pixels,
            found.bboxes.numpy(),
            found.labels.tolist(),
            classes,
            found.scores.tolist(),
            masks,
        )

    def write(
        self,
        out: Path,
        name: str,
        sample: Any,
        image: dict[str, Any],
        classes: Sequence[str],
        score: float,
    ) -> list[dict[str, Any]]:
        """No file of its own: objects go into the list."""
        return coco_results(sample, image, classes, score)


def objects_of(sample: Any, score: float) -> Any:
    """The objects of a sample whose score is ``score`` or more, as tensors on the CPU."""
    found = sample.pred_instances.cpu()
    return found[found.scores >= score]


def coco_results(
    sample: Any, image: dict[str, Any], classes: Sequence[str], score: float
) -> list[dict[str, Any]]:
    """Objects in COCO's results format; category_id counts from 1 in the order of the classes.

    Args:
        sample: of mmdet.
        image: what each of its objects says about the image: its number, its file.
        classes: names.
        score: objects below it are left out.
    """
    from pycocotools import mask as coco_mask

    found = objects_of(sample, score)
    results: list[dict[str, Any]] = []
    for i in range(len(found)):
        x0, y0, x1, y1 = (round(v, 2) for v in found.bboxes[i].tolist())
        label = int(found.labels[i])
        results.append(
            dict(
                image,
                category_id=label + 1,
                category=classes[label],
                bbox=[x0, y0, x1 - x0, y1 - y0],
                score=round(float(found.scores[i]), 4),
            )
        )
        if 'masks' in found:
            mask = np.asfortranarray(found.masks[i].numpy().astype(np.uint8))
            rle = coco_mask.encode(mask)
            results[-1]['segmentation'] = dict(size=rle['size'], counts=rle['counts'].decode())
    return results
