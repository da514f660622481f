"""Scenes of the study: ordinary ones, and ones whose answer depends on something far away.

Everything random comes from a seed; training and held-out images never share random numbers.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from ..data.drawn_shapes import CLASSES, SEMANTIC_CLASSES, background, draw_scene, outline
from ..weights.whole_writing import put_in_place

STRIDE = 4  # px of the image along a cell of the label map, and of the networks' map
TRAINED_SIDE, OTHER_SIDE = 112, 168  # px: 28 and 42 cells
MARK = 20  # px: side of the mark
MARK_COLOURS = ((255, 0, 0), (0, 0, 255))  # of class 1 and of class 2
REACH = 40  # px from its corner: a shape of a far scene lies inside
TASKS = {'far': ('background', 'red', 'blue'), 'ordinary': SEMANTIC_CLASSES}
"""Classes of each kind of scenes, in the order of their labels."""
SPLITS = ('train', 'held out', 'held out, other size')


class Scene(NamedTuple):
    """A picture and its labels.

    Attributes:
        picture: (S, S, 3) uint8 RGB.
        labels: (S / 4, S / 4) uint8 class indices, at the centres of the cells.
    """

    picture: np.ndarray
    labels: np.ndarray


class Scenes(NamedTuple):
    """Many of them.

    Attributes:
        pictures: (N, S, S, 3) uint8 RGB.
        labels: (N, S / 4, S / 4) uint8 class indices.
    """

    pictures: np.ndarray
    labels: np.ndarray


def _cells(labels: np.ndarray) -> np.ndarray:
    return labels[STRIDE // 2 :: STRIDE, STRIDE // 2 :: STRIDE]


def far_scene(rng: np.random.Generator, side: int, answer: int) -> Scene:
    """A grey shape near one corner; the colour of a mark in the opposite one says its class.

    Nothing else in the picture depends on ``answer``, and nothing else has a colour.

    Args:
        rng: source of everything else.
        side: of the picture, px.
        answer: 1 or 2, the class of the shape.
    """
    texture = np.repeat(background(rng, side).mean(2, keepdims=True), 3, axis=2)  # grey
    right, below = rng.integers(0, 2, 2)
    radius = rng.uniform(10, 17)
    centre = rng.uniform(radius + 2, REACH - radius, 2)
    centre = np.where((right, below), side - centre, centre)
    kind = CLASSES[rng.integers(len(CLASSES))]
    corners = outline(kind, centre, radius, rng.uniform(0, 2 * math.pi))
    points = [(float(x), float(y)) for x, y in corners]
    grey = 255 if texture.mean() < 128 else 0
    picture = Image.fromarray(texture.astype(np.uint8))
    labels = Image.new('L', (side, side), 0)
    ImageDraw.Draw(picture).polygon(points, fill=(grey, grey, grey))
    ImageDraw.Draw(labels).polygon(points, fill=answer)
    result = np.array(picture)
    rows, columns = (slice(2, 2 + MARK) if far else slice(-2 - MARK, -2) for far in (below, right))
    result[rows, columns] = MARK_COLOURS[answer - 1]
    return Scene(result, _cells(np.asarray(labels)))


def ordinary_scene(rng: np.random.Generator, side: int) -> Scene:
    """A scene of the demo's; its shapes are of the same size, px, at every ``side``."""
    picture, labels, _ = draw_scene(rng, side, scale=TRAINED_SIDE)
    return Scene(np.asarray(picture), _cells(np.asarray(labels)) - 1)


def one_scene(task: str, split: str, seed: int, number: int) -> Scene:
    """Image ``number`` of a split, the same whenever it is asked for.

    Args:
        task: one of `TASKS`.
        split: one of `SPLITS`.
        seed: of the study.
        number: from 0 on.
    """
    which = SPLITS.index(split)
    rng = np.random.default_rng([seed, list(TASKS).index(task), which, number])
    side = OTHER_SIDE if which == 2 else TRAINED_SIDE
    return far_scene(rng, side, 1 + number % 2) if task == 'far' else ordinary_scene(rng, side)


def read_or_draw(folder: Path, task: str, split: str, seed: int, count: int) -> Scenes:
    """The first ``count`` images of a split, from a file of ``folder`` that is written if need be.

    Args:
        folder: is made.
        task: one of `TASKS`.
        split: one of `SPLITS`.
        seed: of the study.
        count: of images.
    """
    name = f'{task}_{split}_{seed}_{count}.npz'.replace(' ', '_').replace(',', '')
    path = folder / name
    if not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        scenes = [one_scene(task, split, seed, i) for i in range(count)]
        part = path.with_suffix('.part')
        with open(part, 'wb') as file:
            pictures, labels = (np.stack(parts) for parts in zip(*scenes, strict=True))
            np.savez(file, pictures=pictures, labels=labels)
        put_in_place(part, path)
    with np.load(path) as file:
        return Scenes(file['pictures'], file['labels'])
