"""Segmentation: a class for each pixel, by mmseg."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from mmengine.config import Config
from PIL import Image
from torch import nn

from ..data.folder import LABEL_MAPS
from ..errors import ArgumentError, writing
from ..pictures import draw_labels
from ..report.results import ImageResult, Results
from .prepared_data import save_whole
from .random_truth import random_label_maps
from .segmentation_data import SegmentationData
from .segmentation_results import label_map_files, segmentation_images, segmentation_results


class Segmentation(SegmentationData):
    """The functions of a segmentor's config; its data in `segmentation_data`."""

    name: ClassVar[str] = 'segmentation'
    scope: ClassVar[str] = 'mmseg'
    labels: ClassVar[str] = LABEL_MAPS
    listed: ClassVar[bool] = False

    # Its evaluation

    def draw_predictions(
        self, cfg: Config, *, show: bool, folder: str | None, wait_time: float
    ) -> None:
        """Each image is drawn, not every fiftieth; files go where the visualizer saves."""
        super().draw_predictions(cfg, show=show, folder=folder, wait_time=wait_time)
        cfg.default_hooks.visualization.interval = 1
        if folder is not None:
            cfg.visualizer.save_dir = folder

    def keep_predictions(self, cfg: Config, path: str) -> None:
        """The evaluator itself keeps label maps, in the folder ``path``."""
        # in each process: mmseg's metric makes it in the main one alone, which may come too late
        with writing(f'--out {path}'):
            Path(path).mkdir(parents=True, exist_ok=True)
        cfg.test_evaluator.update(output_dir=path, keep_results=True)

    def evaluate_file(self, cfg: Config, path: str, *, trust: bool = False) -> None:
        """Not possible: label maps are kept without what the metric needs."""
        raise ArgumentError(
            '--eval-only needs the predictions of a detector; a segmentor keeps '
            'label maps, which are evaluated by running it'
        )

    def random_truth(
        self, model: nn.Module, count: int, size: tuple[int, int], device: str
    ) -> list[Any]:
        """A class for each pixel, at random."""
        return random_label_maps(model, count, size, device)

    # What a run has learnt

    def predictions_path(self, work_dir: Path) -> Path:
        """A folder."""
        return work_dir / 'label_maps'

    def prediction_files(self, cfg: Config, path: Path) -> list[Path]:
        """A label map for each validation image."""
        return label_map_files(cfg, path)

    def results(self, cfg: Config, path: Path) -> Results:
        """IoU of each class, mean IoU of each image."""
        return segmentation_results(cfg, path)

    def images(self, cfg: Config, path: Path, score: float) -> list[ImageResult]:
        """Each validation image."""
        return segmentation_images(cfg, path)

    # Predicting on new images

    def make_inferencer(self, cfg: Config, weights: str, device: str | None) -> Any:
        """Mmseg's."""
        from mmseg.apis import MMSegInferencer

        return MMSegInferencer(model=cfg, weights=weights, device=device, scope=self.scope)

    def infer(self, inferencer: Any, images: Sequence[np.ndarray]) -> list[Any]:
        """Samples with ``pred_sem_seg``."""
        found = inferencer(list(images), batch_size=len(images), return_datasamples=True)
        return found if isinstance(found, list) else [found]  # one image gives no list

    def draw(
        self, pixels: np.ndarray, sample: Any, classes: Sequence[str], score: float
    ) -> Image.Image:
        """The classes over the image, with a legend."""
        return draw_labels(pixels, label_map(sample), classes)

    def write(
        self,
        out: Path,
        name: str,
        sample: Any,
        image: dict[str, Any],
        classes: Sequence[str],
        score: float,
    ) -> list[dict[str, Any]]:
        """``out/labels/NAME.png``: the class index of each pixel. Nothing for the list."""
        path = out / 'labels' / f'{name}.png'
        save_whole(Image.fromarray(label_map(sample).astype(np.uint8)), path)
        return []


def label_map(sample: Any) -> np.ndarray:
    """(H, W) class indices of a segmentor's prediction."""
    return sample.pred_sem_seg.data[0].cpu().numpy()
