"""How well a segmentor's kept label maps fit the truth that its config evaluates it on."""

from __future__ import annotations

import copy
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.config import Config
from mmengine.registry import DATASETS, init_default_scope
from PIL import Image

from ..data.files import stem_of
from ..errors import ArgumentError, FileError
from ..pictures import draw_labels
from ..report.results import ImageResult, Results
from ..report.scores import class_iou, label_confusion
from .pipeline import image_reader, pipeline_step

SCORE_NAME = 'mean IoU'


def validation_set(cfg: Config) -> Any:
    """The data set that a segmentor is evaluated on, without its pipeline."""
    init_default_scope(cfg.default_scope)
    return DATASETS.build(dict(cfg.test_dataloader.dataset, pipeline=[], serialize_data=False))


def label_map_files(cfg: Config, folder: Path) -> list[Path]:
    """The label maps that a whole evaluation writes into ``folder``, in the order of its images.

    Raises:
        ArgumentError: no images, or several of one file name: their maps overwrite each other.
    """
    return _files_of(validation_set(cfg), folder)


def _files_of(dataset: Any, folder: Path) -> list[Path]:
    images = [dataset.get_data_info(i)['img_path'] for i in range(len(dataset))]
    files = [folder / f'{Path(image).stem}.png' for image in images]
    if not files:
        raise ArgumentError(
            f'{dataset.data_prefix["img_path"]} holds no validation image that ends in '
            f'{dataset.img_suffix}; fix data_prefix or img_suffix of test_dataloader.dataset'
        )
    name, count = Counter(path.stem for path in files).most_common(1)[0]
    if count > 1:
        raise ArgumentError(
            f'{count} validation images are called {name}; label maps are kept by file name, so '
            'each needs its own, in sub-folders too: rename them and their labels'
        )
    return files


class LabelMaps:
    """The truth and the predicted label maps of all validation images.

    Args:
        cfg: the whole config.
        folder: of the predicted ones, as tools/test.py --out keeps them.

    Attributes:
        classes: names.

    Raises:
        ArgumentError: the config names no classes, or its images have no names of their own.
        FileError: label maps are missing.
    """

    def __init__(self, cfg: Config, folder: Path) -> None:
        self._dataset = validation_set(cfg)
        names = self._dataset.metainfo.get('classes')
        if names is None:
            raise ArgumentError('the config names no classes (test_dataloader.dataset.metainfo)')
        self.classes: tuple[str, ...] = tuple(names)
        self._files = _files_of(self._dataset, folder)
        missing = [path.name for path in self._files if not path.is_file()]
        if missing:
            raise FileError(
                f'{folder} lacks {len(missing)} of {len(self._files)} label maps (such as '
                f'{missing[0]}); tools/test.py --out {folder} writes them'
            )
        self._read = image_reader(cfg.test_dataloader.dataset)
        self._load_labels = pipeline_step(cfg.test_dataloader.dataset, 'LoadAnnotations')

    def __len__(self) -> int:
        return len(self._files)

    def name(self, index: int) -> str:
        """Of an image: its path below the images' folder, without suffix."""
        return stem_of(self._image(index), Path(self._dataset.data_prefix['img_path']))

    def labels(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Truth and prediction of an image, (H, W) class indices."""
        first = 1 if self._dataset.reduce_zero_label else 0  # class in the files
        found = np.asarray(Image.open(self._files[index])).astype(int) - first
        info = copy.deepcopy(self._dataset.get_data_info(index))
        return self._load_labels(info)['gt_seg_map'].astype(int), found

    def confusion(self, index: int) -> np.ndarray:
        """(classes, classes) pixels of an image: row the truth, column the prediction."""
        return label_confusion(*self.labels(index), len(self.classes))

    def pictures(self, index: int) -> tuple[Image.Image, Image.Image]:
        """The truth and the prediction drawn over an image."""
        pixels = self._read(self._image(index))
        truth, found = self.labels(index)
        return draw_labels(pixels, truth, self.classes), draw_labels(pixels, found, self.classes)

    def result(self, index: int, confusion: np.ndarray) -> ImageResult:
        """An image's mean IoU over the classes that occur in it; 0 where nothing is labelled."""
        score = float(np.nanmean(class_iou(confusion))) if confusion.any() else 0.0
        return ImageResult(score, self.name(index), partial(self.pictures, index))

    def _image(self, index: int) -> Path:
        return Path(self._dataset.get_data_info(index)['img_path'])


def segmentation_images(cfg: Config, label_maps: Path) -> list[ImageResult]:
    """Each validation image.

    Args:
        cfg: the whole config.
        label_maps: folder of tools/test.py --out.

    Raises:
        FileError: label maps are missing.
    """
    maps = LabelMaps(cfg, label_maps)
    return [maps.result(i, maps.confusion(i)) for i in range(len(maps))]


def segmentation_results(cfg: Config, label_maps: Path) -> Results:
    """From the label maps of tools/test.py --out and the truth that the config names.

    Raises:
        FileError: label maps are missing.
    """
    maps = LabelMaps(cfg, label_maps)
    results = Results(maps.classes, SCORE_NAME)
    results.confusion = np.zeros((len(maps.classes),) * 2, int)
    for i in range(len(maps)):
        confusion = maps.confusion(i)
        results.confusion += confusion
        results.images.append(maps.result(i, confusion))
    iou = class_iou(results.confusion)
    results.head = ['class', 'pixels', 'IoU']
    results.per_class = [
        [name, int(results.confusion[k].sum()), float(iou[k])]
        for k, name in enumerate(maps.classes)
    ]
    return results
