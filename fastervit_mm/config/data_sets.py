"""The data a config reads: pointing it at another folder, and checking it before a run starts."""

from __future__ import annotations

import json
import mmap
import os
import re
import reprlib
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from mmengine.config import Config, ConfigDict
from mmengine.fileio import list_from_file
from mmengine.registry import DATASETS, init_default_scope

from ..errors import ArgumentError, FileError
from .host import registered

LOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader')
EVALUATORS = {'val_dataloader': 'val_evaluator', 'test_dataloader': 'test_evaluator'}
COCO_HELP = (
    'get COCO 2017 from cocodataset.org (train2017, val2017, annotations), name another folder with '
    'these names with --data FOLDER, or, after training on images of your own, use the config in '
    'the work dir without --data'
)


def nested_dicts(node: Any) -> Iterator[dict]:
    """Every dict in a config's tree, outermost first."""
    if isinstance(node, dict):
        yield node
        for value in node.values():
            yield from nested_dicts(value)
    elif isinstance(node, (list, tuple)):
        for value in node:
            yield from nested_dicts(value)


def datasets(cfg: Config, loaders: tuple[str, ...] = LOADERS) -> Iterator[ConfigDict]:
    """The innermost data sets (those with a ``data_root``) of a config's loaders."""
    for name in loaders:
        for node in nested_dicts((cfg.get(name) or {}).get('dataset')):
            if 'data_root' in node:
                yield node


def innermost_dataset(cfg: Config, loader: str) -> ConfigDict:
    """The data set of a loader that reads files, inside whatever wraps it.

    Raises:
        ArgumentError: the config has no such loader.
    """
    if not cfg.get(loader):
        raise ArgumentError(f'the config has no {loader}')
    dataset = cfg[loader].dataset
    while 'dataset' in dataset:
        dataset = dataset.dataset
    return dataset


def point_to_folder(
    cfg: Config, folder: str | os.PathLike, loaders: tuple[str, ...] = LOADERS
) -> None:
    """Point data sets and evaluators of ``cfg`` at ``folder``, laid out as the config expects.

    Args:
        cfg: changed in place.
        folder: takes the place of each data set's ``data_root``.
        loaders: those to point, with their evaluators; the others stay.
    """
    # longest first: one may begin like another; a fitted config has none, its files are absolute
    found = {str(dataset['data_root']) for dataset in datasets(cfg)} - {'', 'None'}
    roots = sorted(found, key=len, reverse=True)
    for dataset in datasets(cfg, loaders):
        dataset['data_root'] = str(folder)
    for loader in EVALUATORS.keys() & set(loaders):
        for evaluator in nested_dicts(cfg.get(EVALUATORS[loader])):
            for key, value in evaluator.items():
                root = next((r for r in roots if _is_below(value, r)), None)
                if root is not None:
                    evaluator[key] = os.path.join(folder, value[len(root) :].lstrip('/'))


def _is_below(value: Any, root: str) -> bool:
    """Whether a setting is a path below the folder ``root``."""
    return isinstance(value, str) and f'{value}/'.startswith(f'{root.rstrip("/")}/')


def read_json(path: str | os.PathLike) -> Any:
    """The content of a JSON file, in UTF-8 with or without a byte order mark, or in UTF-16.

    Raises:
        ValueError: it is none, in another encoding, or nested too deep.
    """
    try:
        return json.loads(Path(path).read_bytes())
    except UnicodeDecodeError as error:
        raise ValueError(f'{error}: save it as UTF-8') from None
    except RecursionError:
        raise ValueError('it is nested too deep') from None


def read_categories(annotation_file: str | os.PathLike) -> list[dict]:
    """The categories of a COCO annotation file, without parsing the rest of it where possible.

    Args:
        annotation_file: its path.

    Raises:
        ArgumentError: not JSON, or without categories.
    """
    try:
        with (
            open(annotation_file, 'rb') as file,
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as text,
        ):
            found = list(re.finditer(rb'"categories"\s*:\s*(?=\[)', text))
            if len(found) == 1:
                rest = text[found[0].end() : found[0].end() + 2_000_000].decode(errors='ignore')
                try:
                    return json.JSONDecoder().raw_decode(rest)[0]
                except (ValueError, RecursionError):
                    pass  # longer than that, or broken: read it all
        categories = read_json(annotation_file)['categories']
        if not isinstance(categories, list):
            raise TypeError(f'categories is {reprlib.repr(categories):.80}')
        return categories
    except (ValueError, KeyError, TypeError) as error:
        raise ArgumentError(
            f'annotation file {annotation_file} is not in COCO format '
            f'({type(error).__name__}: {error}); it needs images, annotations and '
            'categories'
        ) from None


def read_category_names(annotation_file: str | os.PathLike) -> list[str]:
    """The names of `read_categories`, in the order of the file: mmdet numbers classes by it.

    Raises:
        ArgumentError: as `read_categories`; or a category is no object.
    """
    categories = read_categories(annotation_file)
    for category in categories:
        if not isinstance(category, dict):
            raise ArgumentError(
                f'annotation file {annotation_file} is not in COCO format: a category is '
                f'{reprlib.repr(category):.80}, not an object with id and name'
            )
    return [str(category.get('name', category)) for category in categories]


def _joined(root: str | None, path: str) -> Path:
    return Path(os.path.join(root or '', path))


def _check_exists(path: Path, what: str, remedy: str) -> None:
    if not path.exists():
        raise FileError(f'{what} {path} does not exist (looked for in {Path.cwd()}); {remedy}')


def head_class_counts(cfg: Config) -> set[int]:
    """The number of classes of each of the model's heads that state one."""
    counts = map(head_class_count, nested_dicts(cfg.get('model')))
    return {count for count in counts if count is not None}


def head_class_count(head: dict) -> int | None:
    """How many classes a head's config states, those of stuff among them; None: it states none."""
    things, stuff = head.get('num_things_classes'), head.get('num_stuff_classes')
    if isinstance(things, int) and isinstance(stuff, int):
        return things + stuff
    count = head.get('num_classes')
    return count if isinstance(count, int) else None


def reads_panoptic(dataset: dict) -> bool:
    """Whether a data set's config reads COCO's panoptic annotations."""
    return str(dataset['type']).endswith('CocoPanopticDataset')


def _check_panopticapi() -> None:
    """What mmdet reads panoptic annotations with must be installed."""
    if find_spec('panopticapi') is None:
        raise ArgumentError(
            'panoptic data need the package panopticapi, which is not installed and which no registry has; '
            'pip install git+https://github.com/cocodataset/panopticapi.git'
        )


def dataset_classes(dataset: dict) -> tuple[str, ...] | None:
    """Class names a data set's config states, or those of its class in the host library."""
    classes = (dataset.get('metainfo') or {}).get('classes')
    if isinstance(classes, str):  # a file that lists them
        classes = list_from_file(classes)
    if classes is None:
        kind = registered(DATASETS, dataset['type'])
        classes = getattr(kind, 'METAINFO', {}).get('classes')
    return None if classes is None else tuple(classes)


def _check_coco_classes(cfg: Config, dataset: dict, annotation_file: Path) -> None:
    """The config's classes must be the annotations', in their order, and the heads have as many."""
    names = read_category_names(annotation_file)
    classes = dataset_classes(dataset)
    if classes is not None and set(classes) != set(names):
        odd = sorted(set(classes) ^ set(names))[:5]
        raise ArgumentError(
            f"the config's data set has {len(classes)} classes, {annotation_file} has "
            f'{len(names)} categories, and they differ (for instance {", ".join(odd)}); set '
            'metainfo.classes of every data set and num_classes of every head'
        )
    if classes is not None and list(classes) != names:  # mmdet numbers them as the file does
        number = next(i for i, name in enumerate(names) if name != classes[i])
        raise ArgumentError(
            f"the categories of {annotation_file} are in another order than the config's classes "
            f'(number {number + 1} is {names[number]} in the first, {classes[number]} in the second); set '
            'metainfo.classes of every data set to the order of the file, or give the folder with '
            '--data'
        )
    if head_class_counts(cfg) - {len(names)}:
        raise ArgumentError(
            f"num_classes of the config's heads is {sorted(head_class_counts(cfg))}, but "
            f'{annotation_file} has {len(names)} categories; set num_classes of every head to '
            f'{len(names)}'
        )


def check_data_files(cfg: Config, loaders: tuple[str, ...]) -> None:
    """Stop before a run starts where its data is missing or has other classes than the config.

    Args:
        cfg: the whole config.
        loaders: names of the loaders that will be used.

    Raises:
        FileError: a folder or an annotation file is missing.
        ArgumentError: the number of classes disagrees with the annotations, or what reads panoptic
            ones is not installed.
    """
    init_default_scope(cfg.default_scope)
    for dataset in datasets(cfg, loaders):
        if reads_panoptic(dataset):
            _check_panopticapi()
        coco = str(dataset['type']).endswith('CocoDataset')
        remedy = COCO_HELP if coco else 'name another folder in that layout with --data FOLDER'
        root = dataset['data_root']
        _check_exists(Path(root), 'data folder', remedy)
        if dataset.get('ann_file'):
            annotation_file = _joined(root, dataset['ann_file'])
            _check_exists(annotation_file, 'annotation file', remedy)
            if coco:
                _check_coco_classes(cfg, dataset, annotation_file)
        for prefix in (dataset.get('data_prefix') or {}).values():
            if prefix:
                _check_exists(_joined(root, prefix), 'image or label folder', remedy)
        classes = dataset_classes(dataset)
        if classes is not None and head_class_counts(cfg) - {len(classes)}:
            raise ArgumentError(
                f"num_classes of the config's heads is {sorted(head_class_counts(cfg))}, but its "
                f'data set has {len(classes)} classes; set num_classes of every head to '
                f'{len(classes)}'
            )
