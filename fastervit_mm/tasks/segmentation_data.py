"""Pointing a segmentor's config at a folder in ADE20K's layout."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.config import Config
from mmengine.registry import DATASETS, init_default_scope
from PIL import Image

from ..config.data_sets import dataset_classes, datasets, head_class_counts, innermost_dataset
from ..config.host import registered
from ..data.ade import IGNORED, read_labels
from ..data.ade_reading import AdePart, AdeReading
from ..data.files import by_stem, image_files, stem_of
from ..data.layouts import is_ade20k, read_classes
from ..data.reading import Progress, Reading
from ..errors import ArgumentError
from ..weights.whole_writing import write_whole
from .base import Task
from .prepared_data import PreparedData, check_known, in_order_of, metainfo

LOOKED_AT = 200  # label maps of a folder, at most: it is looked at before a run, not read


class SegmentationData(Task):
    """The data part of `segmentation.Segmentation`."""

    def misfit(
        self, cfg: Config, folder: Path, loaders: tuple[str, ...], ignore_zero: bool | None
    ) -> str | None:
        """See `Task.misfit`; label maps may be looked into, where they tell what label 0 means."""
        init_default_scope(cfg.default_scope)
        trained = 'train_dataloader' in loaders
        for loader in loaders:
            found = list(datasets(cfg, (loader,)))
            if not found:
                return f'the data sets of {loader} have no data_root'
            for dataset in found:
                reason = _misfit_of_files(dataset, folder) or _misfit_of_classes(
                    dataset, folder, head_class_counts(cfg), ignore_zero, trained
                )
                if reason is not None:
                    return reason
        return None

    def training_data(self, cfg: Config, reading: Reading, folder: Path) -> PreparedData:
        """See `Task.training_data`; label maps in other numbers are written in the config's."""
        assert isinstance(reading, AdeReading) and reading.train and reading.val
        classes = in_order_of(cfg, reading.classes)
        labels = list(range(len(classes)))
        if classes != reading.classes:
            labels = [classes.index(name) for name in reading.classes]
        shared = dict(type='BaseSegDataset', metainfo=metainfo(classes))
        zero = reading.ignore_zero
        train = _numbered(reading.train, labels, zero, folder, 'train') | shared
        val = _numbered(reading.val, labels, zero, folder, 'val') | shared
        loaders = dict(train_dataloader=train, val_dataloader=val, test_dataloader=val)
        return PreparedData(loaders, len(classes), ignore_zero=train['reduce_zero_label'])

    def read_for_evaluation(
        self, cfg: Config, folder: Path, ignore_zero: bool | None, progress: Progress
    ) -> Reading:
        """See `Task.read_for_evaluation`; label 0 means what it means to the model where it can."""
        init_default_scope(cfg.default_scope)
        dataset = innermost_dataset(cfg, 'test_dataloader')
        names = read_classes(folder)
        if ignore_zero is None and (names is None or names == dataset_classes(dataset)):
            # of a few images, the labels alone do not tell it; but labels beyond the classes do
            ignore_zero = reduces_zero(dataset) or (False if names is None else None)
        return super().read_for_evaluation(cfg, folder, ignore_zero, progress)

    def evaluation_data(self, cfg: Config, reading: Reading, folder: Path) -> PreparedData:
        """See `Task.evaluation_data`; label maps in other numbers are written in the model's."""
        assert isinstance(reading, AdeReading) and reading.val
        init_default_scope(cfg.default_scope)
        classes = dataset_classes(innermost_dataset(cfg, 'test_dataloader'))
        if classes is None:
            raise ArgumentError('the config names no classes (test_dataloader.dataset.metainfo)')
        labels = _labels_of_model(reading, classes)
        settings = _numbered(reading.val, labels, reading.ignore_zero, folder, 'test')
        loaders = dict(test_dataloader=settings)
        return PreparedData(loaders, ignore_zero=settings['reduce_zero_label'])


def reduces_zero(dataset: dict[str, Any]) -> bool:
    """Whether label 0 means "unlabelled" to a data set, by its config or its class."""
    if 'reduce_zero_label' in dataset:
        return bool(dataset['reduce_zero_label'])
    options = inspect.signature(registered(DATASETS, dataset['type'])).parameters
    return 'reduce_zero_label' in options and options['reduce_zero_label'].default is True


def _folders(dataset: dict[str, Any], folder: Path) -> tuple[Path, Path]:
    """Images and label maps of a data set, were it pointed at ``folder``."""
    prefix = dataset.get('data_prefix') or {}
    return folder / prefix.get('img_path', ''), folder / prefix.get('seg_map_path', '')


def _misfit_of_files(dataset: dict[str, Any], folder: Path) -> str | None:
    """Why the files in ``folder`` are not those that a data set reads; None: they are."""
    if dataset.get('ann_file'):
        return 'it has a list of its images'
    found = []
    for part, key, suffix in zip(
        _folders(dataset, folder), ('img', 'seg_map'), ('.jpg', '.png'), strict=True
    ):
        wanted = dataset.get(f'{key}_suffix', suffix)
        if not part.is_relative_to(folder) or not part.is_dir():
            return f'{part} is not there'
        files = image_files(part)
        if not files or any(path.suffix != wanted for path in files):
            return f'{part} holds other files than {wanted}'
        found.append({stem_of(path, part) for path in files})
    return None if found[0] == found[1] else 'images and label maps are not of the same names'


def _misfit_of_classes(
    dataset: dict[str, Any],
    folder: Path,
    head_counts: set[int],
    ignore_zero: bool | None,
    trained: bool,
) -> str | None:
    """Why the labels in ``folder`` are not those of a data set; None: they are.

    Where names do not tell it, at most `LOOKED_AT` label maps do, spread over the folder: a label
    that only others hold is not noticed, and the folder counts as what those looked at say.

    Args:
        dataset: its part of the config.
        folder: of labelled images.
        head_counts: every ``num_classes`` of the model.
        ignore_zero: what the user says of label 0.
        trained: the data are learnt from, not only evaluated on.
    """
    classes, zero = dataset_classes(dataset), reduces_zero(dataset)
    if classes is None or head_counts - {len(classes)}:
        return 'the config names no classes, or not as many as its heads have'
    if ignore_zero is not None and ignore_zero != zero:
        return 'label 0 is a class of the config'
    names = read_classes(folder)
    if names is None:
        if is_ade20k(folder) and str(dataset['type']).endswith('ADE20KDataset'):
            return None
        if trained:
            return 'it has no classes.txt'
        beyond = range(len(classes) + zero, IGNORED)  # label 0 is one more, where it is no class
        if any(_holds(path, beyond) for path in _spread(_folders(dataset, folder)[1])):
            return 'its label maps hold labels beyond the classes of the config'
        return None
    if names != classes:
        return 'classes.txt has other classes'
    if ignore_zero is not None or (zero and not trained):
        return None
    # labels up to the number of classes: 0 is none of them
    highest = [len(classes)]
    if any(_holds(path, highest) for path in _spread(_folders(dataset, folder)[1])) == zero:
        return None
    return 'its label maps do not tell that label 0 means what it means in the config'


def _spread(folder: Path) -> list[Path]:
    """Label maps in ``folder``, at most `LOOKED_AT`, neighbours far from each other."""
    files = image_files(folder)
    step = max(1, round(len(files) ** 0.5))
    return [path for first in range(step) for path in files[first::step]][:LOOKED_AT]


def _holds(path: Path, wanted: Sequence[int]) -> bool:
    """Whether a label map has a pixel of a wanted label; one that cannot be read has none."""
    try:
        labels = read_labels(path)
    except Exception:  # the decoders raise whatever a broken file makes of them
        return False
    return labels is not None and bool(np.isin(labels, wanted).any())


def _settings(part: AdePart, path: Path) -> dict[str, Any]:
    """Write the list of images to ``path``; the settings of a data set that reads them."""
    write_whole(path, '\n'.join(part.stems) + '\n')
    return dict(
        data_root='',
        ann_file=str(path),
        img_suffix=part.image_suffix,
        seg_map_suffix=part.label_suffix,
        data_prefix=dict(
            img_path=str(part.split.images.absolute()),
            seg_map_path=str(part.split.labels.absolute()),
        ),
    )


def _numbered(
    part: AdePart, labels: list[int], zero: bool, folder: Path, name: str
) -> dict[str, Any]:
    """The settings of a data set that reads ``part`` in the config's numbers.

    Args:
        part: images and label maps; these are written again where their numbers are others.
        labels: the config's class index of each class.
        zero: label 0 means "unlabelled" in ``part``.
        folder: for the list of images, and for label maps.
        name: of the split.
    """
    settings = _settings(part, folder / f'{name}.txt')
    if labels == list(range(len(labels))):
        return settings | dict(reduce_zero_label=zero)
    written = folder / f'{name}_labels'
    _write_labels(part, labels, 1 if zero else 0, written)
    settings['data_prefix']['seg_map_path'] = str(written)
    return settings | dict(seg_map_suffix='.png', reduce_zero_label=False)


def _labels_of_model(reading: AdeReading, classes: tuple[str, ...]) -> list[int]:
    """The model's class index of each class in a folder.

    Raises:
        ArgumentError: the model does not know one.
    """
    if reading.named:
        check_known(reading.folder, reading.classes, classes)
        return [classes.index(name) for name in reading.classes]
    if len(reading.classes) > len(classes):
        raise ArgumentError(
            f'the label maps in {reading.folder} hold {len(reading.classes)} classes, up to '
            f'{reading.classes[-1]}, and the model has {len(classes)}; name them in classes.txt'
        )
    return list(range(len(reading.classes)))


def _write_labels(part: AdePart, labels: Sequence[int], first: int, folder: Path) -> None:
    """Write the label maps of ``part`` with other labels.

    Args:
        part: images and label maps.
        labels: of each class, to be written.
        first: the label that the first class has in ``part``.
        folder: for the files.
    """
    table = np.full(IGNORED + 1, IGNORED, np.uint8)
    table[first : first + len(labels)] = labels
    maps = by_stem(part.split.labels)
    for stem in part.stems:
        values = read_labels(maps[stem])
        assert values is not None, f'{maps[stem]} has colours'  # such maps are no usable ones
        path = folder / f'{stem}.png'
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(table[values.astype(np.uint8)]).save(path)
