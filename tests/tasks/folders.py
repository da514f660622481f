"""Tiny folders of labelled images, in the layouts and with the names that configs read."""

import json
from pathlib import Path

import numpy as np
from mmengine.config import Config
from PIL import Image

from tests.helpers import ROOT

SHAPES = ROOT / 'configs/detection/cascade_fastervit_shapes.py'  # circle, square, triangle
SCENES = ROOT / 'configs/segmentation/upernet_fastervit_shapes.py'  # background and those
CLASSES = ('circle', 'square', 'triangle')


def config(path: Path, work_dir: Path) -> Config:
    """The config at ``path``, to be run in ``work_dir``."""
    cfg = Config.fromfile(path)
    cfg.work_dir, cfg.launcher = str(work_dir), 'none'
    return cfg


def write_image(path: Path, colour=(90, 120, 150), size=(48, 36)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new('RGB', size, colour).save(path)


def coco_content(images: int, names=CLASSES, ids=None) -> dict:
    """Images 0.jpg, 1.jpg ... of 48×36 px; image i has one object, of the i-th name in turn.

    Args:
        images: how many.
        names: of the categories, in the order of the file.
        ids: of the categories; None: 1, 2, 3 ...
    """
    ids = ids or range(1, len(names) + 1)
    categories = [dict(id=i, name=n) for i, n in zip(ids, names, strict=True)]
    return dict(
        images=[dict(id=i, file_name=f'{i}.jpg', width=48, height=36) for i in range(images)],
        annotations=[
            dict(
                id=i + 1,
                image_id=i,
                category_id=categories[i % len(names)]['id'],
                bbox=[2, 2, 8, 6],
                area=48,
                iscrowd=0,
                segmentation=[[2, 2, 10, 2, 10, 8, 2, 8]],
            )
            for i in range(images)
        ],
        categories=categories,
    )


def write_coco(path: Path, content: dict, images: Path) -> None:
    """An annotation file, and its images in a folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    for image in content['images']:
        write_image(images / image['file_name'])


def write_coco2017(folder: Path, train: dict, val: dict) -> Path:
    """Both splits, with COCO's own names."""
    for split, content in (('train2017', train), ('val2017', val)):
        write_coco(folder / f'annotations/instances_{split}.json', content, folder / split)
    return folder


def write_ade(folder: Path, split: str, maps: dict, classes=None, suffix='.jpg') -> Path:
    """One split in ADE20K's layout.

    Args:
        folder: of the data set.
        split: 'training' or 'validation'.
        maps: name -> rows of labels; a single one is there twice.
        classes: for classes.txt; None: none is written.
        suffix: of the images.
    """
    for name, rows in maps.items():
        labels = np.array(rows * 2 if len(rows) == 1 else rows, np.uint8)
        write_image(folder / 'images' / split / f'{name}{suffix}', size=labels.shape[::-1])
        path = folder / 'annotations' / split / f'{name}.png'
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(labels).save(path)
    if classes is not None:
        (folder / 'classes.txt').write_text('\n'.join(classes))
    return folder
