"""What reading a folder of labelled images gives, whichever its layout."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
from PIL import Image

from ..config.settings import TEMPLATE
from ..errors import ArgumentError
from .findings import REMEDIES, Findings
from .images import read_pixels
from .text import printable

LEAST_SIDE = 32  # px, of images that the configs here train on (filter_cfg.min_size)

Progress = Callable[[Iterable], Iterable]


class Sample(NamedTuple):
    """An image with its labels.

    Attributes:
        path: of the image.
        problems: kinds of what is wrong with it.
        draw: gives it with its labels drawn, as training reads them.
    """

    path: Path
    problems: list[str]
    draw: Callable[[], Image.Image]


@dataclass
class Reading(ABC):
    """What is in a folder.

    Attributes:
        folder: that was read.
        classes: names.
        findings: of each split that was read.
        layout: of the folder.
        unit: what the instances of a class are.
        counted: the same for a whole split.
    """

    layout: ClassVar[str]
    unit: ClassVar[str]
    counted: ClassVar[str]

    folder: Path
    classes: tuple[str, ...]
    findings: list[Findings]

    @property
    def fatal(self) -> list[str]:
        """Why training would fail."""
        reasons = [reason for findings in self.findings for reason in findings.fatal]
        places = map(str, [self.folder.absolute(), *self.image_folders])
        named = [f'the class name {name!r}' for name in self.classes if TEMPLATE in name]
        named += [f'the path {printable(place)}' for place in places if TEMPLATE in place][:1]
        return reasons + [
            f'{what} holds {TEMPLATE}, which config files replace: rename it' for what in named
        ]

    @property
    @abstractmethod
    def image_folders(self) -> list[Path]:
        """Of the images of each split."""

    def stop_on_fatal(self) -> None:
        """Raise ArgumentError with the first reason for which training would fail."""
        for reason in self.fatal:
            raise ArgumentError(reason)

    def class_counts(self) -> dict[str, list[int]]:
        """For each class, its instances in each split."""
        return {name: [f.instances[name] for f in self.findings] for name in self.classes}

    @abstractmethod
    def note_small_images(self, least: int) -> None:
        """Note which images the config leaves out of training; a fatal line where none is left.

        Args:
            least: side of an image that it trains on, px.
        """

    @abstractmethod
    def iter_samples(self) -> Iterator[Sample]:
        """The usable images of each split."""

    @cached_property
    def samples(self) -> list[Sample]:
        """The usable images, those with the most kinds of problems first."""
        return sorted(self.iter_samples(), key=lambda sample: -len(sample.problems))

    def lines(self) -> list[str]:
        """For a log: images, notes and problems of each split, and the classes."""
        lines = []
        for findings in self.findings:
            lines.append(f'{findings.name}: {len(findings.sizes)} images')
            lines += [f'  {line}' for line in findings.lines()]
        names = ', '.join(map(printable, self.classes))
        return [*lines, f'{len(self.classes)} classes: {names}']

    def tables(self) -> Iterator[tuple[str, list[list[Any]]]]:
        """Headings and rows: splits, classes, problems."""
        yield (
            f'{self.folder}: {self.layout} layout, {len(self.classes)} classes',
            [
                [f.name, f'{len(f.sizes)} images', f'{sum(f.instances.values())} {self.counted}']
                for f in self.findings
            ],
        )
        yield (
            'classes (in each split)',
            [[printable(name), *counts] for name, counts in self.class_counts().items()],
        )
        yield (
            'problems',
            [
                [f.name, len(where), kind, REMEDIES[kind], ', '.join(where[:3])]
                for f in self.findings
                for kind, where in f.problems.items()
            ]
            or [['none']],
        )


def problems_of(findings: Findings, name: str) -> list[str]:
    """Kinds of problems whose lines name the file ``name``."""
    name = printable(name)
    return [
        kind
        for kind, lines in findings.problems.items()
        if any(line == name or line.startswith((f'{name}:', f'{name},')) for line in lines)
    ]


def open_image(path: Path, turned: bool) -> np.ndarray:
    """(H, W, 3) RGB as training reads it, ``turned`` as EXIF says or as stored."""
    pixels = read_pixels(path, turned)
    assert pixels is not None, f'{path} cannot be read'  # such images are no usable ones
    return np.ascontiguousarray(pixels[..., ::-1])
