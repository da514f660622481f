"""What a run uses of a folder: files that it can read, and the settings that read them."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from mmengine.config import Config
from mmengine.registry import init_default_scope
from PIL import Image

from ..config.data_sets import (
    EVALUATORS,
    LOADERS,
    dataset_classes,
    head_class_count,
    innermost_dataset,
    nested_dicts,
)
from ..data.layouts import OWN_MARK
from ..data.text import printable
from ..errors import ArgumentError, writing
from ..pictures import class_colour
from ..weights.whole_writing import write_whole


class PreparedData(NamedTuple):
    """Settings for a config; small, so that one process can send them to the others.

    Attributes:
        loaders: name of a loader -> settings of its innermost data set.
        class_count: for every head; None: the model's classes stay.
        as_stored: images are annotated without turning them as EXIF says; None: they are read as
            the config says.
        ignore_zero: label 0 of label maps means "unlabelled"; None: there are none.
    """

    loaders: dict[str, dict[str, Any]]
    class_count: int | None = None
    as_stored: bool | None = None
    ignore_zero: bool | None = None


def prepared_data_folder(work_dir: Path) -> Path:
    """The folder in ``work_dir`` for what is used of the data, marked as no data of its own."""
    folder = (work_dir / 'data').resolve()
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / OWN_MARK, 'What training uses of a folder of images; not a data set.\n')
    return folder


def check_can_be_written(path: Path) -> None:
    """A file can be written later, after hours of work; its folder is made.

    Raises:
        FileError: it cannot.
    """
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        there = path.exists()
        with open(path, 'ab'):
            pass
        if not there:
            path.unlink()


def save_whole(image: Image.Image, path: Path, **options: Any) -> None:
    """Write a picture in one step, into a folder that is made where there is none.

    Args:
        image: to write.
        path: its suffix names the format.
        **options: of ``image.save``.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f'{os.getpid()}.part')  # a longer name than the file's may be too long
    try:
        image.save(part, format=Image.registered_extensions()[path.suffix], **options)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def metainfo(classes: tuple[str, ...]) -> dict[str, Any]:
    """Names and colours of ``classes``, as a data set's config states them."""
    return dict(classes=classes, palette=[class_colour(i) for i in range(len(classes))])


def in_order_of(cfg: Config, names: tuple[str, ...]) -> tuple[str, ...]:
    """``names`` in the order of the config's classes, where they are the same; else as they are.

    Args:
        cfg: the whole config.
        names: classes of a folder.
    """
    init_default_scope(cfg.default_scope)
    loader = next((loader for loader in LOADERS if cfg.get(loader)), None)
    classes = loader and dataset_classes(innermost_dataset(cfg, loader))
    return classes if classes and sorted(classes) == sorted(names) else names


def point_to_prepared_data(cfg: Config, used: PreparedData) -> list[str]:
    """Let the loaders, evaluators and heads of ``cfg`` follow what is used; other loaders stay.

    Weights of classes in the losses stay where the classes do, and are left out for others.

    Args:
        cfg: changed in place.
        used: of a task's ``training_data`` or ``evaluation_data``.

    Returns:
        Lines that say what was left out.
    """
    lines = [] if used.class_count is None else _leave_weights_out(cfg, used)
    for loader, settings in used.loaders.items():
        if not cfg.get(loader):
            continue
        dataset = innermost_dataset(cfg, loader)
        if 'data_prefix' in settings:
            dataset.pop('data_prefix', None)  # `update` would keep folders of the config's own
        dataset.update(settings)
        for node in nested_dicts(cfg.get(EVALUATORS.get(loader, ''))):
            if 'ann_file' in node:
                node['ann_file'] = settings['ann_file']
    others = set(LOADERS) - set(used.loaders)
    for node in nested_dicts([cfg[key] for key in cfg if key not in others]):
        if used.as_stored is not None and node.get('type') == 'LoadImageFromFile':
            _read_as_annotated(node, used.as_stored)
        if node.get('type') == 'LoadAnnotations' and 'reduce_zero_label' in node:
            node['reduce_zero_label'] = used.ignore_zero
    for node in nested_dicts(cfg.model):
        if used.class_count is not None and head_class_count(node) is not None:
            _set_class_count(node, used.class_count)
    return lines


def _weighs_no_object(head: dict[str, Any]) -> bool:
    """Whether a head's loss has a weight for each class and one more, as Mask2Former's has."""
    weights, count = (head.get('loss_cls') or {}).get('class_weight'), head_class_count(head)
    return isinstance(weights, list) and count is not None and len(weights) == count + 1


def _leave_weights_out(cfg: Config, used: PreparedData) -> list[str]:
    """Weights of the config's classes are none of other classes; lines that say so.

    Args:
        cfg: as it was; changed in place.
        used: with classes in each of its settings.
    """
    init_default_scope(cfg.default_scope)
    for loader in (name for name in used.loaders if cfg.get(name)):
        classes = tuple(used.loaders[loader]['metainfo']['classes'])
        if dataset_classes(innermost_dataset(cfg, loader)) == classes:
            return []
    nodes = list(nested_dicts(cfg.model))
    kept = [id(head['loss_cls']) for head in nodes if _weighs_no_object(head)]
    lists = [n for n in nodes if isinstance(n.get('class_weight'), list | tuple)]
    lists = [node for node in lists if id(node) not in kept]  # `_set_class_count` does those
    texts = dict.fromkeys(str(list(node['class_weight'])) for node in lists)
    for node in lists:  # heads may share their loss
        node.pop('class_weight', None)
    return [
        f'class_weight={text} of the config is left out: the folder has other classes; give it one '
        'number for each of them by --cfg-options, if you want it'
        for text in texts
    ]


def _set_class_count(head: dict[str, Any], count: int) -> None:
    """Let a head predict ``count`` classes; Mask2Former's loss has a weight for each, and "no object".

    Args:
        head: its config, changed in place.
        count: of classes, all of them things where the head tells things from stuff.

    Raises:
        ArgumentError: the weights of its classes differ, so that new ones have none.
    """
    if _weighs_no_object(head) and head_class_count(head) != count:
        *of_classes, of_none = head['loss_cls']['class_weight']
        if len(set(of_classes)) > 1:
            raise ArgumentError(
                f'loss_cls.class_weight of the {head.get("type")} is not the same for all of its classes; '
                f'set it for the {count} classes of the folder'
            )
        head['loss_cls']['class_weight'] = [of_classes[0]] * count + [of_none]
    if isinstance(head.get('num_classes'), int):
        head['num_classes'] = count
    else:
        head['num_things_classes'], head['num_stuff_classes'] = count, 0


def _read_as_annotated(node: dict[str, Any], as_stored: bool) -> None:
    """Let a step that loads images turn them as EXIF says, or not.

    Args:
        node: changed in place; it may have been fitted to another folder before.
        as_stored: do not turn them.
    """
    if as_stored:
        node['color_type'] = 'color_ignore_orientation'
    elif node.get('color_type') == 'color_ignore_orientation':
        node['color_type'] = 'color'


def check_known(folder: Path, names: Iterable[str], classes: tuple[str, ...]) -> None:
    """The class names of a folder must be among those of the model.

    Raises:
        ArgumentError: some are not.
    """
    unknown = [printable(name) for name in names if name not in classes]
    if unknown:
        raise ArgumentError(
            f'{folder} has classes that the model does not know: {", ".join(unknown)}; its '
            f'{len(classes)} classes are {", ".join(classes[:20])}'
            + (' …' if len(classes) > 20 else '')
        )
