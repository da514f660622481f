"""What a run uses of a folder: files that it can read, and the settings that read them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from mmengine.config import Config

from ..config.data_sets import EVALUATORS, innermost_dataset, nested_dicts
from ..data.layouts import OWN_MARK
from ..errors import ArgumentError
from ..pictures import class_colour


class UsedData(NamedTuple):
    """Settings for a config; small, so that one process can send them to the others.

    Attributes:
        loaders: name of a loader -> settings of its innermost data set.
        class_count: for every head; None: the model's classes stay.
        as_stored: images are annotated without turning them as EXIF says.
        ignore_zero: label 0 of label maps means "unlabelled"; None: there are none.
    """

    loaders: dict[str, dict[str, Any]]
    class_count: int | None = None
    as_stored: bool = False
    ignore_zero: bool | None = None


def used_data_folder(work_dir: Path) -> Path:
    """The folder in ``work_dir`` for what is used of the data, marked as no data of its own."""
    folder = (work_dir / 'data').absolute()
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / OWN_MARK, 'What training uses of a folder of images; not a data set.\n')
    return folder


def write_whole(path: Path, text: str) -> None:
    """Write a file in one step: a run that reads it never sees half of it."""
    part = path.with_name(f'{path.name}.part')
    part.write_text(text)
    part.replace(path)


def metainfo(classes: tuple[str, ...]) -> dict[str, Any]:
    """Names and colours of ``classes``, as a data set's config states them."""
    return dict(classes=classes, palette=[class_colour(i) for i in range(len(classes))])


def point_to_used_data(cfg: Config, used: UsedData) -> None:
    """Let the loaders, evaluators and heads of ``cfg`` follow what is used.

    Args:
        cfg: changed in place.
        used: of a task's ``training_data`` or ``evaluation_data``.
    """
    for loader, settings in used.loaders.items():
        if not cfg.get(loader):
            continue
        innermost_dataset(cfg, loader).update(settings)
        for node in nested_dicts(cfg.get(EVALUATORS.get(loader, ''))):
            if 'ann_file' in node:
                node['ann_file'] = settings['ann_file']
    for node in nested_dicts(cfg._cfg_dict):
        if used.as_stored and node.get('type') == 'LoadImageFromFile':
            node['color_type'] = 'color_ignore_orientation'
        if node.get('type') == 'LoadAnnotations' and 'reduce_zero_label' in node:
            node['reduce_zero_label'] = used.ignore_zero
    for node in nested_dicts(cfg.model):
        if used.class_count is not None and isinstance(node.get('num_classes'), int):
            node['num_classes'] = used.class_count


def check_known(folder: Path, names: Iterable[str], classes: tuple[str, ...]) -> None:
    """The class names of a folder must be among those of the model.

    Raises:
        ArgumentError: some are not.
    """
    unknown = [name for name in names if name not in classes]
    if unknown:
        raise ArgumentError(
            f'{folder} has classes that the model does not know: {", ".join(unknown)}; its '
            f'{len(classes)} classes are {", ".join(classes[:20])}'
            + (' …' if len(classes) > 20 else '')
        )
