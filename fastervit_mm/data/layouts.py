"""What lies where in a folder of labelled images, found by looking.

COCO: annotation files (JSON with images, annotations and categories) and image folders. ADE: label
maps beside images, ``images/{training,validation}`` and ``annotations/{training,validation}`` (or
``train``, ``val``), with ``classes.txt`` where classes have names.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from math import isfinite
from pathlib import Path
from typing import Any, NamedTuple

from ..config.data_sets import read_categories, read_json
from ..config.run_folder import OWN_MARK
from ..errors import ArgumentError, FileError
from .files import tree
from .text import is_text, printable, shown

TRAIN_WORDS = ('train2017', 'training', 'train', 'trainval')
VAL_WORDS = ('val2017', 'validation', 'valid', 'val')
ADE20K_MARK = 'objectInfo150.txt'
COCO_ENTRIES: dict[str, dict[str, Any]] = {  # what each entry of an annotation file needs
    'images': {'id': (int, float, str), 'file_name': str},
    'annotations': {},
    'categories': {'id': (int, float), 'name': str},
}


class CocoSplit(NamedTuple):
    """Annotation file and image folder of one split."""

    annotations: Path
    images: Path


class CocoLayout(NamedTuple):
    """A folder in COCO's layout; without ``val`` a share of ``train`` is held out."""

    train: CocoSplit
    val: CocoSplit | None


class CocoEvaluation(NamedTuple):
    """What of a folder in COCO's layout a model is evaluated on.

    Attributes:
        split: its files.
        held_out: only the share of it that training holds out.
    """

    split: CocoSplit
    held_out: bool


class AdeSplit(NamedTuple):
    """Images and label maps of one split, in files of the same stem."""

    images: Path
    labels: Path


class AdeLayout(NamedTuple):
    """A folder in ADE20K's layout; without ``val`` a share of ``train`` is held out."""

    train: AdeSplit
    val: AdeSplit | None
    classes: tuple[str, ...] | None


class AdeEvaluation(NamedTuple):
    """What of a folder in ADE20K's layout a model is evaluated on.

    Attributes:
        split: its folders.
        held_out: only the share of it that training holds out.
        classes: names in ``classes.txt``, or None.
    """

    split: AdeSplit
    held_out: bool
    classes: tuple[str, ...] | None


def _words(path: Path) -> set[str]:
    """Words of a file's name, with and without their digits; ``train_val`` is ``trainval``."""
    text = re.sub(r'([a-z])([A-Z])', r'\1_\2', path.stem).lower()
    text = re.sub(r'train(ing)?[^a-z0-9]+val', 'trainval', text)
    return {*re.findall('[a-z0-9]+', text), *re.findall('[a-z]+', text)}


def _named(paths: Iterable[Path], words: tuple[str, ...], others: tuple[str, ...]) -> Path | None:
    """The first path that a word names, earlier words first; rather one that none of others does."""
    paths = sorted(paths, key=lambda path: (not _words(path).isdisjoint(others), path))
    return next((path for word in words for path in paths if word in _words(path)), None)


def read_annotations(path: Path) -> dict[str, Any]:
    """The content of a COCO annotation file.

    Raises:
        ArgumentError: not JSON, or not in that format.
    """
    try:
        content = read_json(path)
        missing = [key for key in COCO_ENTRIES if not isinstance(content.get(key), list)]
    except (ValueError, AttributeError) as error:
        raise ArgumentError(f'{path} is not a COCO annotation file ({error})') from None
    if missing:
        raise ArgumentError(f'{path} is not a COCO annotation file: it lacks {", ".join(missing)}')
    for key, wanted in COCO_ENTRIES.items():
        for i, entry in enumerate(content[key]):
            if not isinstance(entry, dict):
                raise ArgumentError(f'{path}: {key}[{i}] is {shown(entry)}, not an object; fix it')
            for name, kind in wanted.items():
                if not _is_a(entry.get(name), kind):
                    raise ArgumentError(
                        f'{path}: {name} of {key}[{i}] is {shown(entry.get(name))}; it must be '
                        f'{"text" if kind is str else "a number"}: fix that entry or drop it'
                    )
                if name == 'name' and not is_text(entry[name]):
                    raise ArgumentError(
                        f'{path}: {name} of {key}[{i}] is {shown(entry[name])}, which cannot be '
                        'written as UTF-8: rename it'
                    )
    return content


def _is_a(value: Any, kind: Any) -> bool:
    """Whether a value of a JSON file is of a kind in `COCO_ENTRIES`; truth values are no numbers."""
    if isinstance(value, bool) or (isinstance(value, float) and not isfinite(value)):
        return False
    return isinstance(value, kind)


def _coco_files(folder: Path) -> list[Path]:
    """JSON files under ``folder`` that hold categories, not deeper than two folders.

    What training wrote there (`OWN_MARK`) is none of them.

    Raises:
        ArgumentError: there are JSON files, but none of them does.
    """
    found = [p for pattern in ('*.json', '*/*.json', '*/*/*.json') for p in folder.glob(pattern)]
    coco, faults = [], []
    for path in found:
        if (path.parent / OWN_MARK).exists() or not path.is_file():
            continue
        try:
            read_categories(path)
            coco.append(path)
        except ArgumentError as error:
            faults.append(error)  # some other JSON, unless there is nothing else
    if faults and not coco:
        raise faults[0]
    return coco


def leads_out(file_name: str) -> bool:
    """Whether a file name of an annotation file is absolute, or goes up with '..'."""
    parts = re.split(r'[\\/]', file_name)
    return '..' in parts or parts[0] == '' or re.match(r'[A-Za-z]:', file_name) is not None


def _image_folder(folder: Path, annotations: Path, words: tuple[str, ...]) -> Path:
    """Where the images of ``annotations`` are: a folder holding the first file that it names.

    Raises:
        FileError: nowhere.
    """
    images = read_annotations(annotations)['images']
    if not images:
        raise ArgumentError(f'{annotations} names no images; it needs at least one')
    beside = [folder, *sorted(below for below, _ in tree(folder)[1:])]
    named = [p for word in words for p in beside if p.name.lower() == word]
    for image in images[:20]:
        for candidate in (*named, annotations.parent, *beside):
            name = image['file_name']
            if not leads_out(name) and os.path.isfile(os.path.join(candidate, name)):
                return candidate
    raise FileError(
        f'none of the first images that {annotations} names (such as '
        f'{printable(images[0]["file_name"]):.80}) is found under {folder}; put them in '
        f'{folder}/{words[0]} or fix file_name'
    )


def _annotation_files(folder: Path) -> tuple[Path, Path | None] | None:
    """Annotation files for training and validation; None where ``folder`` holds none.

    Raises:
        ArgumentError: their names tell no training split.
    """
    files = _coco_files(folder)
    if not files:
        return None
    train = _named(files, TRAIN_WORDS, VAL_WORDS)
    val = _named([p for p in files if p != train], VAL_WORDS, TRAIN_WORDS)
    others = [p for p in files if p != val]
    if train is None and len(others) == 1:
        train = others[0]
    if train is None and len(files) == 1:
        train, val = files[0], None
    if train is None:
        names = ', '.join(printable(p.name) for p in files)
        raise ArgumentError(
            f'{folder} has the annotation files {names}; which one is for training '
            'cannot be told: put train in its name, val in that of validation'
        )
    return train, val


def find_coco(folder: Path) -> CocoLayout | None:
    """The COCO layout of ``folder``; None where it holds no COCO annotation file.

    Raises:
        ArgumentError: annotation files whose names tell no training split.
        FileError: annotations without their images.
    """
    files = _annotation_files(folder)
    if files is None:
        return None
    train, val = files
    return CocoLayout(
        CocoSplit(train, _image_folder(folder, train, TRAIN_WORDS)),
        None if val is None else CocoSplit(val, _image_folder(folder, val, VAL_WORDS)),
    )


def find_coco_evaluation(folder: Path) -> CocoEvaluation | None:
    """What of ``folder`` a model is evaluated on; None where it holds no COCO annotation file.

    Its validation split where it has one; else what training holds out of a file that is named for
    training; all of a file that is not.

    Raises:
        As `find_coco`.
    """
    files = _annotation_files(folder)
    if files is None:
        return None
    train, val = files
    path, words = (train, TRAIN_WORDS) if val is None else (val, VAL_WORDS)
    split = CocoSplit(path, _image_folder(folder, path, words))
    return CocoEvaluation(split, val is None and not _words(path).isdisjoint(TRAIN_WORDS))


def _ade_split(folder: Path, words: tuple[str, ...]) -> AdeSplit | None:
    for word in words:
        images, labels = folder / 'images' / word, folder / 'annotations' / word
        if images.is_dir() and labels.is_dir():
            return AdeSplit(images, labels)
    return None


def read_classes(folder: Path) -> tuple[str, ...] | None:
    """Names in ``classes.txt``, one a line; None where there is none.

    Raises:
        ArgumentError: it is not UTF-8.
    """
    path = folder / 'classes.txt'
    if not path.is_file():
        return None
    try:
        text = path.read_text(encoding='utf-8-sig')  # with or without a byte order mark
    except UnicodeDecodeError as error:
        raise ArgumentError(f'{path} is not UTF-8 ({error}): save it as UTF-8') from None
    return tuple(line.strip() for line in text.splitlines() if line.strip())


def is_ade20k(folder: Path) -> bool:
    """Whether ``folder`` is ADE20K's scene parsing data itself, by its list of 150 objects."""
    return (folder / ADE20K_MARK).is_file()


def find_ade(folder: Path) -> AdeLayout | None:
    """The ADE20K layout of ``folder``; None where it has no training split in that layout."""
    train = _ade_split(folder, TRAIN_WORDS)
    if train is None:
        return None
    return AdeLayout(train, _ade_split(folder, VAL_WORDS), read_classes(folder))


def find_ade_evaluation(folder: Path) -> AdeEvaluation | None:
    """What of ``folder`` a model is evaluated on; None where it has no split in ADE20K's layout.

    Its validation split where it has one, else what training holds out.
    """
    val = _ade_split(folder, VAL_WORDS)
    split = val or _ade_split(folder, TRAIN_WORDS)
    return split and AdeEvaluation(split, val is None, read_classes(folder))
