"""Drawn scenes to try everything on: circles, squares and triangles on textured backgrounds.

Written in COCO's layout (polygons) and, beside it, in ADE20K's (label maps), so that any config's
``--data`` takes them. Same seed, same files.
"""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageDraw

CLASSES = ('circle', 'square', 'triangle')
SEMANTIC_CLASSES = ('background', *CLASSES)  # labels 1 to 4 in the label maps; 0 is unused
SPLITS = {'train': ('train2017', 'training'), 'val': ('val2017', 'validation')}
OTHER_CLASSES = ('pentagon', 'star', 'spark')  # for a detector that learns something new
CORNERS = {'circle': 48, 'square': 4, 'triangle': 3, 'pentagon': 5, 'star': 10, 'spark': 8}
# of every second corner, as a share of the radius
INNER_RADIUS = {'star': 0.45, 'spark': 0.45}


class Shape(NamedTuple):
    """One object.

    Attributes:
        label: its class.
        outline: (corners, 2) x, y in px.
        colour: red, green, blue, 0 to 255.
    """

    label: str
    outline: np.ndarray
    colour: tuple[int, int, int]


def outline(label: str, centre: np.ndarray, radius: float, angle: float) -> np.ndarray:
    """The corners of a regular polygon, or of a star with as many inner corners as outer ones.

    Args:
        label: one of `CORNERS`.
        centre: (2,) x, y in px.
        radius: of its corners around the centre, px.
        angle: of the first corner, rad.

    Returns:
        (corners, 2) x, y in px.
    """
    turns = angle + np.linspace(0, 2 * math.pi, CORNERS[label], endpoint=False)
    radii = np.full(CORNERS[label], float(radius))
    radii[1::2] *= INNER_RADIUS.get(label, 1.0)
    return centre + radii[:, None] * np.stack((np.cos(turns), np.sin(turns)), axis=1)


def background(rng: np.random.Generator, size: int) -> np.ndarray:
    """(size, size, 3) uint8: a smooth two-colour texture with stripes and grain."""
    coarse = Image.fromarray(rng.integers(0, 256, (6, 6), dtype=np.uint8))
    blend = np.asarray(coarse.resize((size, size), Image.Resampling.BICUBIC)) / 255
    yy, xx = np.mgrid[:size, :size]
    angle, pitch = rng.uniform(0, math.pi), rng.uniform(6, 24)
    stripes = 0.5 + 0.5 * np.sin((xx * np.cos(angle) + yy * np.sin(angle)) * 2 * math.pi / pitch)
    blend = 0.75 * blend + 0.25 * stripes
    first, second = rng.uniform(30, 225, (2, 3))
    picture = first + (second - first) * blend[..., None]
    return (picture + rng.normal(0, 8, picture.shape)).clip(0, 255).astype(np.uint8)


def place(
    rng: np.random.Generator, size: int, scale: int | None = None
) -> Iterator[tuple[np.ndarray, float]]:
    """Centres and radii, px, of one to five objects that do not touch.

    Args:
        rng: source of everything random.
        size: side of the scene, px.
        scale: side of the scene that such objects are made for, px. Default None: ``size``.
    """
    placed: list[tuple[np.ndarray, float]] = []
    wanted = rng.integers(1, 6)
    for _ in range(50):
        radius = rng.uniform(0.09, 0.2) * (scale or size)
        centre = rng.uniform(radius + 1, size - radius - 1, 2)
        if all(np.hypot(*(centre - other)) > radius + r + 2 for other, r in placed):
            placed.append((centre, radius))
        if len(placed) == wanted:
            break
    return iter(placed)


def draw_scene(
    rng: np.random.Generator,
    size: int,
    classes: tuple[str, ...] = CLASSES,
    scale: int | None = None,
) -> tuple[Image.Image, Image.Image, list[Shape]]:
    """A scene: picture, label map and objects.

    Args:
        rng: source of everything random in it.
        size: side in px.
        classes: of its objects. Default `CLASSES`.
        scale: side of the scene, px, that its objects are made for. Default None: ``size``.

    Returns:
        The picture (RGB), its label map (1 the background, then ``classes``), its objects.
    """
    texture = background(rng, size)
    picture = Image.fromarray(texture)
    labels = Image.new('L', (size, size), 1)
    shapes = []
    for centre, radius in place(rng, size, scale):
        label = classes[rng.integers(len(classes))]
        ground = texture[int(centre[1]), int(centre[0])].astype(float)
        colour = rng.uniform(0, 255, 3)
        while np.abs(colour - ground).sum() < 160:  # visible
            colour = rng.uniform(0, 255, 3)
        red, green, blue = (int(c) for c in colour)
        shape = Shape(
            label,
            outline(label, centre, radius, rng.uniform(0, 2 * math.pi)),
            (red, green, blue),
        )
        corners = [(float(x), float(y)) for x, y in shape.outline]
        ImageDraw.Draw(picture).polygon(corners, fill=shape.colour)
        ImageDraw.Draw(labels).polygon(corners, fill=classes.index(label) + 2)
        shapes.append(shape)
    grain = np.asarray(picture) + rng.normal(0, 5, (size, size, 3))
    return Image.fromarray(grain.clip(0, 255).astype(np.uint8)), labels, shapes


def annotation(
    shape: Shape, number: int, image_id: int, classes: tuple[str, ...] = CLASSES
) -> dict[str, Any]:
    """``shape`` as a COCO annotation, whose id is ``number``; categories count from 1."""
    x, y = shape.outline.T
    area = 0.5 * abs(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1)))
    box = [x.min(), y.min(), x.max() - x.min(), y.max() - y.min()]
    return dict(
        id=number,
        image_id=image_id,
        category_id=classes.index(shape.label) + 1,
        bbox=[round(float(v), 2) for v in box],
        area=round(float(area), 2),
        iscrowd=0,
        segmentation=[[round(float(v), 2) for v in shape.outline.ravel()]],
    )


def write_split(
    root: Path,
    split: str,
    count: int,
    size: int,
    seed: int,
    classes: tuple[str, ...] = CLASSES,
) -> None:
    """One split of both layouts, under ``root/coco`` and ``root/ade``.

    Args:
        root: folder.
        split: 'train' or 'val'.
        count: of images.
        size: side of an image, px.
        seed: of all drawing; each image has random numbers of its own.
        classes: of its objects. Default `CLASSES`.
    """
    coco_name, ade_name = SPLITS[split]
    images, maps = root / 'coco' / coco_name, root / 'ade' / 'annotations' / ade_name
    ade_images = root / 'ade' / 'images' / ade_name
    for folder in (images, maps, ade_images, root / 'coco' / 'annotations'):
        folder.mkdir(parents=True, exist_ok=True)
    content: dict[str, list[dict[str, Any]]] = dict(
        images=[],
        annotations=[],
        categories=[dict(id=i + 1, name=name) for i, name in enumerate(classes)],
    )
    for i in range(count):
        rng = np.random.default_rng([seed, list(SPLITS).index(split), i])
        picture, labels, shapes = draw_scene(rng, size, classes)
        name = f'{i:06d}.jpg'
        picture.save(images / name, quality=92)
        labels.save(maps / f'{i:06d}.png')
        shutil.copyfile(images / name, ade_images / name)
        content['images'].append(dict(id=i + 1, file_name=name, width=size, height=size))
        for shape in shapes:
            number = len(content['annotations']) + 1
            content['annotations'].append(annotation(shape, number, i + 1, classes))
    with open(root / 'coco' / 'annotations' / f'instances_{coco_name}.json', 'w') as file:
        json.dump(content, file)


def write_shapes(
    root: str | os.PathLike[str],
    train: int = 400,
    val: int = 60,
    size: int = 192,
    seed: int = 0,
    classes: tuple[str, ...] = CLASSES,
) -> None:
    """Write the whole data set, in COCO's layout under ``root/coco``, ADE20K's under ``root/ade``.

    Does nothing where the same one was written before.

    Args:
        root: folder.
        train: images of the training split.
        val: images of the validation split.
        size: side of an image, px.
        seed: of all drawing.
        classes: of the objects. Default `CLASSES`.
    """
    root = Path(root)
    mark = root / 'written.json'
    wanted: dict[str, Any] = dict(version=1, train=train, val=val, size=size, seed=seed)
    if classes != CLASSES:
        wanted['classes'] = list(classes)
    if mark.is_file() and json.loads(mark.read_text()) == wanted:
        return
    for split, count in (('train', train), ('val', val)):
        write_split(root, split, count, size, seed, classes)
    (root / 'ade' / 'classes.txt').write_text('\n'.join(['background', *classes]) + '\n')
    mark.write_text(json.dumps(wanted))
