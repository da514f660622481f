"""Fitting a config to a folder of labelled images: classes, files and evaluators everywhere."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable, Iterable
from pathlib import Path

from mmengine.config import Config

from ..errors import ArgumentError
from ..config.data_sets import EVALUATORS, LOADERS, innermost_dataset, nested_dicts
from ..pictures import class_colour
from .ade import inspect_ade, settle_classes
from .coco import category_names, hold_out, inspect_coco, match_validation
from .findings import Findings
from .layouts import (
    OWN_MARK,
    AdeLayout,
    AdeSplit,
    CocoLayout,
    find_ade,
    find_coco,
    image_files,
    stem_of,
)

HELD_OUT = 0.2  # of the training images, where a folder has no validation split
SEED = 0


def stop_on_fatal(*all_findings: Findings) -> None:
    """Raise ArgumentError with the first reason for which training would fail."""
    for findings in all_findings:
        if findings.fatal:
            raise ArgumentError(findings.fatal[0])


def set_class_count(cfg: Config, count: int) -> None:
    """Every ``num_classes`` that the model's config states becomes ``count``."""
    for node in nested_dicts(cfg.model):
        if isinstance(node.get('num_classes'), int):
            node['num_classes'] = count


def write_whole(path: Path, text: str) -> None:
    """Write a file in one step: the processes of a distributed run all write the same."""
    part = path.with_name(f'{path.name}.{os.getpid()}')
    part.write_text(text)
    part.replace(path)


def _metainfo(classes: tuple[str, ...]) -> dict:
    return dict(classes=classes, palette=[class_colour(i) for i in range(len(classes))])


def data_folder(work_dir: Path) -> Path:
    """The folder in ``work_dir`` for what is used of the data, marked as no data of its own."""
    folder = (work_dir / 'data').absolute()
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / OWN_MARK, 'What training uses of a folder of images; not a data set.\n')
    return folder


def hold_out_stems(stems: list[str], source: Path) -> tuple[list[str], list[str]]:
    """Training and validation names: a share of ``stems``, at least one, by a seeded draw.

    Raises:
        ArgumentError: fewer than two.
    """
    if len(stems) < 2:
        raise ArgumentError(
            f'{source} has {len(stems)} usable image and there is no validation split; add images '
            '(at least 2, to hold one out) or a validation split'
        )
    stems = list(stems)
    random.Random(SEED).shuffle(stems)
    count = max(1, round(HELD_OUT * len(stems)))
    return sorted(stems[count:]), sorted(stems[:count])


def read_as_stored(cfg: Config) -> None:
    """Read images without turning them as EXIF says: they are annotated that way."""
    for node in nested_dicts(cfg._cfg_dict):
        if node.get('type') == 'LoadImageFromFile':
            node['color_type'] = 'color_ignore_orientation'


def fit_to_coco(
    cfg: Config, layout: CocoLayout, work_dir: Path, progress: Callable[[Iterable], Iterable] = iter
) -> list[Findings]:
    """Point ``cfg``, a detector's, at a folder in COCO's layout.

    The annotations without what cannot be used are written to ``work_dir/data``.

    Raises:
        ArgumentError: nothing to train on, or splits of different categories.
    """
    found, train = inspect_coco('training', layout.train, decode=True, progress=progress)
    all_findings = [found]
    if layout.val is None:
        stop_on_fatal(found)
        train, val = hold_out(train, HELD_OUT, SEED, layout.train.annotations)
        found.note_held_out(len(val['images']))
        val_images = layout.train.images
    else:
        val_found, val = inspect_coco('validation', layout.val, decode=True, progress=progress)
        all_findings.append(val_found)
        val = match_validation(layout, (found, train), (val_found, val))
        val_images = layout.val.images
    stop_on_fatal(*all_findings)
    classes = category_names(train['categories'])
    folder = data_folder(work_dir)
    files = {}
    for name, content in (('train', train), ('val', val)):
        files[name] = folder / f'{name}.json'
        write_whole(files[name], json.dumps(content))
    for loader in LOADERS:
        if not cfg.get(loader):
            continue
        training = loader == 'train_dataloader'
        images = layout.train.images if training else val_images
        innermost_dataset(cfg, loader).update(
            data_root='',
            ann_file=str(files['train' if training else 'val']),
            data_prefix=dict(img=str(images.absolute())),
            metainfo=_metainfo(classes),
        )
    for name in EVALUATORS:
        for node in nested_dicts(cfg.get(name)):
            if 'ann_file' in node:
                node['ann_file'] = str(files['val'])
    if any(findings.rotated['as stored'] for findings in all_findings):
        read_as_stored(cfg)
    set_class_count(cfg, len(classes))
    return all_findings


def _split_files(folder: Path, name: str, stems: list[str]) -> str:
    """A file that lists ``stems``, as mmseg reads splits."""
    path = folder / f'{name}.txt'
    write_whole(path, '\n'.join(stems) + '\n')
    return str(path)


def _suffix(folder: Path, stems: list[str], what: str) -> str:
    """The one suffix that all files of ``stems`` have.

    Raises:
        ArgumentError: they have several.
    """
    wanted = set(stems)
    suffixes = {p.suffix for p in image_files(folder) if stem_of(p, folder) in wanted}
    if len(suffixes) > 1:
        raise ArgumentError(
            f'{what} in {folder} end in {", ".join(sorted(suffixes))}; mmseg reads '
            'one kind of file in a split: convert them to one'
        )
    return suffixes.pop()


def fit_to_ade(
    cfg: Config,
    layout: AdeLayout,
    work_dir: Path,
    ignore_zero: bool | None = None,
    progress: Callable[[Iterable], Iterable] = iter,
) -> list[Findings]:
    """Point ``cfg``, a segmentor's, at a folder in ADE20K's layout.

    Args:
        ignore_zero: label 0 means "unlabelled"; None: told from classes.txt, see
            `ade.class_names`.

    Raises:
        ArgumentError: nothing to train on, or labels beyond the classes.
    """
    found, train_stems = inspect_ade('training', layout.train, decode=True, progress=progress)
    all_findings, val_split = [found], layout.val or layout.train
    if layout.val is not None:
        found, val_stems = inspect_ade('validation', layout.val, decode=True, progress=progress)
        all_findings.append(found)
    classes, zero = settle_classes(all_findings, layout, ignore_zero)
    stop_on_fatal(*all_findings)
    if layout.val is None:
        train_stems, val_stems = hold_out_stems(train_stems, layout.train.images)
        all_findings[0].note_held_out(len(val_stems))
    folder = data_folder(work_dir)
    parts: dict[str, tuple[AdeSplit, list[str]]] = {
        'train': (layout.train, train_stems),
        'val': (val_split, val_stems),
    }
    for loader in LOADERS:
        if not cfg.get(loader):
            continue
        name = 'train' if loader == 'train_dataloader' else 'val'
        split, stems = parts[name]
        innermost_dataset(cfg, loader).update(
            type='BaseSegDataset',
            data_root='',
            metainfo=_metainfo(classes),
            ann_file=_split_files(folder, name, stems),
            reduce_zero_label=zero,
            img_suffix=_suffix(split.images, stems, 'images'),
            seg_map_suffix=_suffix(split.labels, stems, 'label maps'),
            data_prefix=dict(
                img_path=str(split.images.absolute()), seg_map_path=str(split.labels.absolute())
            ),
        )
    for node in nested_dicts(cfg._cfg_dict):
        if node.get('type') == 'LoadAnnotations' and 'reduce_zero_label' in node:
            node['reduce_zero_label'] = zero
    set_class_count(cfg, len(classes))
    return all_findings


def fit_to_folder(
    cfg: Config,
    folder: Path,
    work_dir: Path,
    ignore_zero: bool | None = None,
    progress: Callable[[Iterable], Iterable] = iter,
) -> list[Findings]:
    """Point ``cfg`` at ``folder``, in the layout of its host library.

    Args:
        cfg: changed in place: files, classes, class counts, evaluators.
        folder: in COCO's layout for a detector, in ADE20K's for a segmentor.
        work_dir: gets ``data/``, the annotations that are used.

    Raises:
        ArgumentError, FileError: it is not in that layout, or nothing in it can be used.
    """
    if cfg.default_scope == 'mmdet':
        layout = find_coco(folder)
        if layout is None:
            raise ArgumentError(
                f'{folder} has no annotation file in COCO format (JSON with images, '
                'annotations and categories), which a detector needs'
            )
        return fit_to_coco(cfg, layout, work_dir, progress)
    layout = find_ade(folder)
    if layout is None:
        raise ArgumentError(
            f'{folder} has no images/training and annotations/training (or train), '
            'which a segmentor needs'
        )
    return fit_to_ade(cfg, layout, work_dir, ignore_zero, progress)


def training_images(cfg: Config) -> int:
    """How many images an epoch of ``cfg`` goes through, before its data set filters any."""
    from mmengine.registry import DATASETS, init_default_scope

    init_default_scope(cfg.default_scope)
    return len(DATASETS.build(cfg.train_dataloader.dataset))
