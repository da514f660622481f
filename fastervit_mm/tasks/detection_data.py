"""Pointing a detector's config at a folder in COCO's layout."""

from __future__ import annotations

import copy
import json
import mmap
import os
import re
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.registry import init_default_scope

from ..config.data_sets import (
    EVALUATORS,
    dataset_classes,
    datasets,
    head_class_counts,
    innermost_dataset,
    nested_dicts,
    point_to_folder,
    read_category_names,
    reads_panoptic,
)
from ..data.coco import Content, category_names
from ..data.coco_reading import CocoPart, CocoReading
from ..data.reading import Reading
from ..errors import ArgumentError
from ..weights.whole_writing import write_whole
from .base import Task
from .prepared_data import PreparedData, check_known, in_order_of, metainfo

LARGEST_ID = 2**31  # of a category, as NumPy's arrays hold it


class DetectionData(Task):
    """The data part of `detection.Detection`."""

    def misfit(
        self, cfg: Config, folder: Path, loaders: tuple[str, ...], ignore_zero: bool | None
    ) -> str | None:
        """See `Task.misfit`.

        Raises:
            ArgumentError: the config is for panoptic data, and ``folder`` holds none in COCO's layout.
        """
        init_default_scope(cfg.default_scope)
        pointed = copy.deepcopy(cfg)
        point_to_folder(pointed, folder, loaders)
        orders = set()
        for loader in loaders:
            found = list(datasets(pointed, (loader,)))
            if not found:
                return f'the data sets of {loader} have no data_root'
            if any(map(reads_panoptic, found)):
                _check_panoptic(found, folder)
                continue
            for dataset in found:
                reason = _dataset_misfit(dataset, head_class_counts(cfg))
                if reason is not None:
                    return reason
                orders |= {_class_order(dataset), dataset_classes(dataset)}
            path = os.path.normpath(_annotation_file(found[0]))
            for node in nested_dicts(pointed.get(EVALUATORS.get(loader, ''))):
                if os.path.normpath(node.get('ann_file') or path) != path:
                    return f"the evaluator's ann_file is not that of {loader}"
        # mmdet numbers the classes as the file does: a config and its models have one order
        if len(orders) > 1:
            return 'the annotation files have their categories in another order'
        return None

    def training_data(self, cfg: Config, reading: Reading, folder: Path) -> PreparedData:
        """See `Task.training_data`."""
        assert isinstance(reading, CocoReading) and reading.train and reading.val
        by_id = category_names(reading.train.content['categories'])
        classes = in_order_of(cfg, by_id)
        parts = [reading.train, reading.val]
        ids = [category['id'] for category in reading.train.content['categories']]
        if classes != by_id or not all(type(i) is int and abs(i) < LARGEST_ID for i in ids):
            parts = [p._replace(content=_in_classes(p.content, classes)) for p in parts]
        shared = dict(metainfo=metainfo(classes))
        train = _written(parts[0], folder / 'train.json') | shared
        val = _written(parts[1], folder / 'val.json') | shared
        loaders = dict(train_dataloader=train, val_dataloader=val, test_dataloader=val)
        return PreparedData(loaders, len(classes), as_stored=reading.as_stored)

    def evaluation_data(self, cfg: Config, reading: Reading, folder: Path) -> PreparedData:
        """See `Task.evaluation_data`."""
        assert isinstance(reading, CocoReading) and reading.val
        classes = dataset_classes(innermost_dataset(cfg, 'test_dataloader'))
        if classes is None:
            raise ArgumentError('the config names no classes (test_dataloader.dataset.metainfo)')
        check_known(reading.folder, reading.classes, classes)
        part = reading.val._replace(content=_in_classes(reading.val.content, classes))
        settings = _written(part, folder / 'test.json')
        return PreparedData(dict(test_dataloader=settings), as_stored=reading.as_stored)


def _annotation_file(dataset: dict[str, Any]) -> Path:
    return Path(dataset['data_root'], dataset['ann_file'])


def _check_panoptic(found: list[Any], folder: Path) -> None:
    """Panoptic data are used as they are, or not at all: no other layout of them is read.

    Args:
        found: a loader's data sets, pointed at ``folder``.
        folder: that the user names.
    """
    for dataset in found:
        if not _annotation_file(dataset).is_file():
            raise ArgumentError(
                f'--data {folder} has no {dataset["ann_file"]}; a panoptic config reads the files of '
                "COCO's panoptic layout (docs/your_project.md) and no other, so give a folder with "
                'them, or use another config'
            )


def _class_order(dataset: dict[str, Any]) -> tuple[str, ...]:
    """Names of the classes as mmdet numbers them: in the order of the annotation file."""
    return tuple(read_category_names(_annotation_file(dataset)))


def _dataset_misfit(dataset: dict[str, Any], head_counts: set[int]) -> str | None:
    """Why the folder of a data set, pointed at it, cannot be used as it is.

    Args:
        dataset: its part of the config.
        head_counts: every ``num_classes`` of the model.
    """
    if not str(dataset['type']).endswith('CocoDataset') or not dataset.get('ann_file'):
        return f'its {dataset["type"]} reads no annotation file of COCO'
    stated, path = dataset['ann_file'], _annotation_file(dataset)
    if Path(stated).is_absolute():
        return f'its annotation file {stated} is not below a data_root'
    if not path.is_file():
        return f'{stated} is not there'
    try:
        names = read_category_names(path)
    except ArgumentError:
        return f'{stated} is not in COCO format'
    with open(path, 'rb') as file:
        if not file.read(64).lstrip().startswith(b'{'):
            return f'{stated} begins with a byte order mark, or is not UTF-8'
    if sorted(dataset_classes(dataset) or ()) != sorted(names):
        return f'{stated} has other classes'
    if head_counts - {len(names)}:
        return f'the heads of the config are not for the {len(names)} classes of {stated}'
    if _names_outside(path):
        return f'{stated} names files outside of the folder, or writes names in disguise'
    image = _first_image(path)
    folder = (dataset.get('data_prefix') or {}).get('img') or ''
    if image is None:
        return f'{stated} names no image'
    if not os.path.isfile(os.path.join(dataset['data_root'], folder, image)):
        return f'{image} of {stated} is not in {folder or "the folder"}'
    return None


def _first_image(annotation_file: Path) -> str | None:
    """The first file name in a COCO annotation file, which is not parsed for it."""
    found = _search(rb'"file_name"\s*:\s*("(?:[^"\\]|\\.)*")', annotation_file)
    try:
        return None if found is None else json.loads(found)
    except ValueError:  # broken: whoever reads the file says so
        return None


def _names_outside(annotation_file: Path) -> bool:
    """Whether a COCO annotation file names a file by an absolute path or one with '..'.

    Or may do so: nobody writes ASCII letters as escapes who has nothing to hide.
    """
    outside = rb'"file_name"\s*:\s*"(?:\\?/|\\\\|[A-Za-z]:|(?:[^"]*[/\\])?\.\.["/\\])'
    escaped = rb'\\u00[2-7]'
    return _search(rb'(' + outside + rb'|' + escaped + rb')', annotation_file) is not None


def _search(pattern: bytes, path: Path) -> bytes | None:
    """The first group of the first place that ``pattern`` fits in a file; None: there is none."""
    with open(path, 'rb') as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as text:
        found = re.search(pattern, text)
        return None if found is None else found[1]


def _written(part: CocoPart, path: Path) -> dict[str, Any]:
    """Write annotations to ``path``; the settings of a data set that reads them."""
    write_whole(path, json.dumps(part.content))
    return dict(data_root='', ann_file=str(path), data_prefix=dict(img=str(part.images.absolute())))


def _in_classes(content: Content, classes: tuple[str, ...]) -> Content:
    """The content in the categories of a config: its classes in their order, numbered from 1."""
    numbers = {name: number for number, name in enumerate(classes, start=1)}
    names = {c['id']: c['name'] for c in content['categories']}
    annotations = [
        {**a, 'category_id': numbers[names[a['category_id']]]} for a in content['annotations']
    ]
    categories = [dict(id=number, name=name) for name, number in numbers.items()]
    return {**content, 'categories': categories, 'annotations': annotations}
