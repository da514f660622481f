"""Looking through images and label maps in ADE20K's layout."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
from PIL import Image

from ..errors import ArgumentError
from .files import by_stem, image_files, other_files, stem_of
from .findings import Findings
from .hold_out import hold_out
from .images import EXTREME, probe
from .layouts import AdeLayout, AdeSplit
from .text import is_text

IGNORED = 255


def read_labels(path: Path) -> np.ndarray | None:
    """(H, W) of a label map's values; None for a picture in colours."""
    with Image.open(path) as image:
        labels = np.asarray(image)
    return labels if labels.ndim == 2 else None


def _files_by_stem(folder: Path, findings: Findings) -> dict[str, Path]:
    """The images in ``folder`` that can be listed by name; what cannot is a finding."""
    for path in other_files(folder):
        findings.add('file that is not read as an image', path.name)
    files = by_stem(folder)
    for path in image_files(folder):
        stem = stem_of(path, folder)
        if files.get(stem, path) != path:
            findings.add('image of the same name as another', f'{path.name}, {files[stem].name}')
        if stem != stem.strip() or len(stem.splitlines()) != 1 or not is_text(stem):
            findings.add('file name that a list cannot hold', path.name)
            files.pop(stem, None)
    return files


def inspect_ade(
    name: str,
    split: AdeSplit,
    decode: bool = False,
    progress: Callable[[Iterable], Iterable] = iter,
) -> tuple[Findings, list[str]]:
    """Problems of a split, and the names (`layouts.stem_of`) of the images that can be used.

    Instances are pixels of each label value.

    Args:
        name: of the split, for messages.
        split: its folders.
        decode: read every image wholly, not only its header.
        progress: wraps the loop over the images, such as tqdm.
    """
    findings, usable = Findings(name), []
    maps = _files_by_stem(split.labels, findings)
    images = _files_by_stem(split.images, findings)
    for stem in sorted(maps.keys() - images.keys()):
        findings.add('label map without image', maps[stem].name)
    for stem, path in progress(images.items()):
        facts = probe(path, decode)
        if facts.fault:
            findings.add('unreadable image', f'{path.name}: {facts.fault}')
        elif stem not in maps:
            findings.add('image without label map', path.name)
        elif facts.extreme:
            findings.add(EXTREME, path.name)
        elif min(facts.size) == 1:
            findings.add('image one pixel wide or high', path.name)
        elif _check_map(path, maps[stem], facts.shown_size, findings):
            if facts.kind:
                findings.add(f'{facts.kind} image', path.name)
            if facts.rotation != 1:
                findings.add('EXIF rotation', f'{path.name}: orientation {facts.rotation}')
            findings.sizes.append(facts.shown_size)
            usable.append(stem)
    if not usable:
        findings.fatal.append(
            f'no image of {split.images} has a usable label map in '
            f'{split.labels}; maps are PNG files of the same name'
        )
    return findings, usable


def _check_map(image: Path, path: Path, size: tuple[int, int], findings: Findings) -> bool:
    """Whether the label map fits its image; counts its pixels."""
    try:
        labels = read_labels(path)
    except Exception as error:  # the decoders raise whatever a broken file makes of them
        findings.add('unreadable image', f'{path.name}: {error}')
        return False
    if labels is None:
        findings.add('label map in colours', path.name)
        findings.fatal.append(
            f'{path} has colours; a label map has one number, 0 to 255, for each '
            'pixel: convert it (8 bit grey or palette PNG)'
        )
        return False
    if labels.shape[::-1] != size:
        findings.add(
            'label map of another size',
            f'{path.name}: {labels.shape[1]}×{labels.shape[0]} for {image.name} of '
            f'{size[0]}×{size[1]}',
        )
        return False
    values, counts = np.unique(labels, return_counts=True)
    if labels.dtype.kind not in 'bui' or values[0] < 0 or values[-1] > IGNORED:
        findings.add('label that is not 0 to 255', f'{path.name}: {values[-1]}')
        findings.fatal.append(
            f'{path} holds labels from {values[0]} to {values[-1]}; a label is a whole number from '
            '0 to 255 (255 is ignored): number the classes from 0 on'
        )
        return False
    findings.instances.update(dict(zip(values.tolist(), counts.tolist(), strict=True)))
    return True


def class_names(
    values: Counter, named: tuple[str, ...] | None, ignore_zero: bool | None, findings: Findings
) -> tuple[tuple[str, ...], bool]:
    """Class names, and whether label 0 means "unlabelled" (then label 1 is the first class).

    Args:
        values: pixels of each label value, of all splits.
        named: names in classes.txt, or None: classes are numbered.
        ignore_zero: what the user says; None: told by whether the highest label is the number of
            names.
        findings: gets a fatal line where labels lie beyond the classes.
    """
    highest = max((v for v in values if v != IGNORED), default=0)
    if ignore_zero is None:
        ignore_zero = named is not None and highest == len(named)
    first = 1 if ignore_zero else 0
    if named is None:
        return tuple(f'class {i}' for i in range(first, highest + 1)), ignore_zero
    beyond = [v for v in values if v != IGNORED and v - first >= len(named)]
    if beyond:
        findings.add('label beyond the classes', f'labels {sorted(beyond)[:5]}')
        findings.fatal.append(
            f'label maps hold the labels {sorted(beyond)[:5]}, but classes.txt names {len(named)} '
            f'classes, labels {first} to {first + len(named) - 1}; add names or fix the maps'
        )
    return named, ignore_zero


def split_held_out(stems: list[str], source: Path) -> tuple[list[str], list[str]]:
    """Training and validation names, by `hold_out.hold_out`.

    Args:
        stems: as from `inspect_ade`.
        source: for the message.

    Raises:
        ArgumentError: fewer than two.
    """
    if len(stems) < 2:
        raise ArgumentError(
            f'{source} has {len(stems)} usable image and there is no validation split; add images '
            '(at least 2, to hold one out) or a validation split'
        )
    held = hold_out(stems)
    return sorted(set(stems) - held), sorted(held)


def settle_classes(
    all_findings: list[Findings], layout: AdeLayout, ignore_zero: bool | None
) -> tuple[tuple[str, ...], bool]:
    """`class_names` of all splits; their instances are counted by those names from here on.

    Args:
        all_findings: of each split; the first gets the problems of all.
        layout: with the names in classes.txt, if any.
        ignore_zero: as in `class_names`.
    """
    values: Counter = sum((f.instances for f in all_findings), start=Counter())
    names, zero = class_names(values, layout.classes, ignore_zero, all_findings[0])
    labels = layout.train.labels
    if IGNORED in values and not values.keys() - {0, IGNORED}:
        all_findings[0].add('label maps of 0 and 255 only', str(labels))
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        all_findings[0].fatal.append(
            f'classes.txt of {labels.parent.parent} names {twice[0]!r} twice; give each class its own name'
        )
    if not names:
        all_findings[0].fatal.append(
            f'the label maps in {labels} hold no class: label 0 means "unlabelled" and 255 is '
            'ignored; label the classes from 1 on, or leave out --ignore-zero'
        )
    first = 1 if zero else 0
    for findings in all_findings:
        pixels = findings.instances
        findings.instances = Counter(
            {name: pixels[i] for i, name in enumerate(names, start=first) if pixels[i]}
        )
        for name in names:
            if not findings.instances[name]:
                findings.add('category without instances', name)
    return names, zero
