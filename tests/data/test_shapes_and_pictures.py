"""The drawn data set and the drawing of predictions."""

import json

import numpy as np
from PIL import Image

from fastervit_mm.data.drawn_shapes import SEMANTIC_CLASSES, write_shapes
from fastervit_mm.pictures import draw_objects, enlargement, side_by_side


def files(root):
    return {p.relative_to(root): p.read_bytes() for p in root.rglob('*') if p.is_file()}


def test_the_same_seed_gives_the_same_files(tmp_path):
    for name, seed in (('a', 1), ('b', 1), ('c', 2)):
        write_shapes(tmp_path / name, train=2, val=1, size=64, seed=seed)
    assert files(tmp_path / 'a') == files(tmp_path / 'b') != files(tmp_path / 'c')


def test_polygons_boxes_and_label_maps_agree(tmp_path):
    from pycocotools.coco import COCO

    write_shapes(tmp_path, train=6, val=3, size=96)
    path = tmp_path / 'coco' / 'annotations' / 'instances_train2017.json'
    coco = COCO(path)
    for image in json.loads(path.read_text())['images']:
        labels = np.asarray(
            Image.open(tmp_path / 'ade' / 'annotations' / 'training' / f'{image["id"] - 1:06d}.png')
        )
        assert labels.min() >= 1 and labels.max() <= len(SEMANTIC_CLASSES)
        drawn = np.ones_like(labels)
        for a in coco.loadAnns(coco.getAnnIds(image['id'])):
            mask = coco.annToMask(a).astype(bool)
            drawn[mask] = a['category_id'] + 1
            rows, columns = np.nonzero(mask)
            x, y, _, h = a['bbox']
            assert abs(columns.min() - x) < 2 and abs(rows.max() - (y + h)) < 2.5
            assert abs(mask.sum() - a['area']) < 0.15 * a['area'] + 10
        assert (drawn != labels).mean() < 0.02


def test_predictions_are_drawn_at_any_size():
    for height, width in ((20, 30), (400, 900)):
        image = np.zeros((height, width, 3), np.uint8)
        mask = np.zeros((height, width), bool)
        mask[5:15, 5:15] = True
        picture = draw_objects(
            image, np.array([[5, 5, 15, 15.0]]), [1], ['a', 'star'], [0.9], [mask]
        )
        factor = enlargement(width, height)
        assert picture.size == (width * factor, height * factor)
        assert max(picture.size) >= 480
        assert np.asarray(picture).any(-1).mean() > 0.002
    empty = draw_objects(image, np.zeros((0, 4)), [], ['a'])
    assert side_by_side([picture, empty]).width > 2 * width
