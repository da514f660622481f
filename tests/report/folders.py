"""Small folders of labelled images, written by hand, in COCO's and in ADE20K's layout."""

import json
from pathlib import Path

import numpy as np
from PIL import Image

ORANGE = (200, 100, 10)


def write_image(path: Path, size, colour=ORANGE, **options) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new('RGB', size, colour).save(path, **options)
    return path


def write_coco(folder: Path, split: str, images: dict, objects: list, categories: dict) -> Path:
    """One split of a folder in COCO's layout.

    Args:
        folder: the whole data set's.
        split: such as train.
        images: file name -> width and height.
        objects: (file name, category id, box as x, y, width, height).
        categories: id -> name.
    """
    for name, size in images.items():
        write_image(folder / split / name, size)
    numbers = {name: i for i, name in enumerate(images, start=101)}
    content = dict(
        images=[
            dict(id=numbers[name], file_name=name, width=size[0], height=size[1])
            for name, size in images.items()
        ],
        annotations=[
            dict(
                id=n,
                image_id=numbers[name],
                category_id=category,
                bbox=[x, y, w, h],
                area=w * h,
                iscrowd=0,
                segmentation=[[x, y, x + w, y, x + w, y + h, x, y + h]],
            )
            for n, (name, category, (x, y, w, h)) in enumerate(
                objects, start=1
            )  # pycocotools takes 0 for none
        ],
        categories=[dict(id=i, name=name) for i, name in categories.items()],
    )
    path = folder / 'annotations' / f'instances_{split}.json'
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return folder


def write_ade(folder: Path, split: str, maps: dict) -> Path:
    """One split of a folder in ADE20K's layout; ``maps``: file name -> rows of labels."""
    for name, rows in maps.items():
        values = np.array(rows, np.uint8)
        write_image(folder / 'images' / split / name, values.shape[::-1])
        path = folder / 'annotations' / split / Path(name).with_suffix('.png')
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(values).save(path)
    return folder
