"""Photographs that EXIF turns: read as they were annotated, by what their stated sizes tell."""

import numpy as np
import pytest
from PIL import Image

from fastervit_mm.data.folder import read_folder
from fastervit_mm.errors import ArgumentError
from tests.data.folders import (
    ORIENTATION,
    coco_content,
    detector,
    fit,
    innermost,
    read,
    segmentor,
    write_ade,
    write_coco,
    write_image,
    written,
)

STORED, SHOWN = (10, 8), (8, 10)  # of photographs that EXIF turns by a quarter
AS_STORED = 'color_ignore_orientation'


def photographs(folder, stated, split='train', rotations=(6, 6)):
    """Photographs of 10×8 px as stored; ``stated``: the size of each in the annotations."""
    images = {f'{i}.jpg': size for i, size in enumerate(stated)}
    for name, rotation in zip(images, rotations, strict=False):
        write_image(folder / split / name, STORED, rotation=rotation)
    return write_coco(folder, split, coco_content(images))


def loading(cfg, split) -> str | None:
    return innermost(cfg, split)['pipeline'][0].get('color_type')


@pytest.mark.parametrize('size, flag', [(STORED, AS_STORED), (SHOWN, None)])
def test_photographs_are_read_as_they_were_annotated(size, flag, tmp_path):
    folder = photographs(tmp_path / 'mine', [size] * 3, rotations=(6, 6, 6))
    cfg, (findings,) = fit(detector(), folder)
    assert findings.rotated == {'as stored' if flag else 'as shown': 3}
    assert findings.sizes == [size] * 3
    for split in ('train', 'val', 'test'):
        assert loading(cfg, split) == flag
        for sample in read(cfg, split):
            assert sample['inputs'].shape == (3, size[1], size[0])
        for image in written(cfg, split)['images']:
            assert (image['width'], image['height']) == size
    assert findings.problems == {'EXIF rotation': [f'{i}.jpg: orientation 6' for i in range(3)]}


@pytest.mark.parametrize('size', [STORED, SHOWN])
def test_the_pixels_lie_where_the_annotations_say(size, tmp_path):
    """The left half of the stored photograph is white; EXIF shows it above (6 is a turn right)."""
    folder = photographs(tmp_path / 'mine', [size] * 2)
    pixels = np.zeros((8, 10, 3), np.uint8)
    pixels[:, :5] = 255
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    for i in range(2):
        Image.fromarray(pixels).save(folder / f'train/{i}.jpg', exif=exif, quality=95)
    cfg, _ = fit(detector(), folder)
    (seen,) = (s['inputs'].float().mean(0) for s in read(cfg))
    white = seen[:, :4] if size == STORED else seen[:4]
    black = seen[:, -4:] if size == STORED else seen[-4:]
    assert white.min() > 200 and black.max() < 50


@pytest.mark.parametrize('rotation', [2, 3, 4])
def test_a_turn_that_keeps_the_sides_tells_nothing(rotation, tmp_path):
    folder = photographs(tmp_path / 'mine', [STORED] * 2, rotations=(rotation, rotation))
    cfg, (findings,) = fit(detector(), folder)
    assert findings.rotated == {} and loading(cfg, 'train') is None
    assert findings.problems['EXIF rotation'] == [f'{i}.jpg: orientation {rotation}' for i in '01']


def test_one_photograph_tells_it_for_all(tmp_path):
    """The second's size is neither, the third keeps its sides: both are read as the first."""
    folder = photographs(tmp_path / 'mine', [STORED, (1, 1), STORED], rotations=(6, 8, 3))
    cfg, (findings,) = fit(detector(), folder)
    assert findings.rotated == {'as stored': 1} and loading(cfg, 'train') == AS_STORED
    assert findings.sizes == [STORED] * 3
    assert findings.problems['size differs from the annotations'] == ['1.jpg: (1, 1) for (10, 8)']


def test_where_nothing_tells_photographs_are_turned(tmp_path):
    folder = photographs(tmp_path / 'mine', [(1, 1), (10, 10)])
    cfg, (findings,) = fit(detector(), folder)
    assert findings.rotated == {} and loading(cfg, 'train') is None
    assert findings.sizes == [SHOWN] * 2
    assert findings.problems['size differs from the annotations'] == [
        '0.jpg: (1, 1) for (8, 10)',
        '1.jpg: (10, 10) for (8, 10)',
    ]


def test_validation_alone_can_tell_it(tmp_path):
    folder = photographs(tmp_path / 'mine', [STORED] * 2, rotations=(None, None))
    photographs(folder, [STORED] * 2, 'val')
    cfg, (train, val) = fit(detector(), folder)
    assert train.rotated == {} and val.rotated == {'as stored': 2}
    assert {loading(cfg, s) for s in ('train', 'val', 'test')} == {AS_STORED}


def test_every_loading_of_the_config_is_told(tmp_path):
    cfg = detector()
    cfg.tta_pipeline = [dict(type='LoadImageFromFile', backend_args=None), dict(type='Resize')]
    fit(cfg, photographs(tmp_path / 'mine', [STORED] * 2))
    assert cfg.tta_pipeline == [
        dict(type='LoadImageFromFile', backend_args=None, color_type=AS_STORED),
        dict(type='Resize'),
    ]


def stop(folder) -> str:
    with pytest.raises(ArgumentError) as caught:
        fit(detector(), folder)
    assert read_folder(folder).fatal == [str(caught.value)]
    return str(caught.value)


def test_photographs_annotated_both_ways_stop(tmp_path):
    folder = photographs(tmp_path / 'mine', [STORED, SHOWN, SHOWN], rotations=(6, 6, 8))
    assert stop(folder) == (
        f'{folder}/annotations/instances_train.json: 1 images with an EXIF rotation are annotated '
        'as stored, 2 as shown, and only one way can be read; turn the pixels themselves and drop '
        'the EXIF tag'
    )


@pytest.mark.parametrize('first, second', [(STORED, SHOWN), (SHOWN, STORED)])
def test_splits_annotated_two_ways_stop(first, second, tmp_path):
    folder = photographs(tmp_path / 'mine', [first] * 2)
    photographs(folder, [second] * 2, 'val')
    words = {STORED: 'as stored', SHOWN: 'as shown'}
    annotations = folder / 'annotations'
    assert stop(folder) == (
        f'{annotations}/instances_train.json and {annotations}/instances_val.json: images with an '
        f'EXIF rotation are annotated {words[first]} in the first, {words[second]} in the second, '
        'and only one way can be read; turn the pixels themselves and drop the EXIF tag'
    )


def test_splits_annotated_one_way_are_fine(tmp_path):
    folder = photographs(tmp_path / 'mine', [SHOWN] * 2)
    photographs(folder, [SHOWN] * 2, 'val')
    _, (train, val) = fit(detector(), folder)
    assert train.rotated == val.rotated == {'as shown': 2}


def test_label_maps_are_of_the_size_that_is_shown(tmp_path):
    """Mmseg turns photographs as EXIF says."""
    folder = write_ade(tmp_path / 'mine', maps={n: np.eye(10, 8, dtype=int) for n in 'abc'})
    for name, rotation in (('a', 6), ('b', 3)):
        size = STORED if rotation == 6 else SHOWN
        write_image(folder / f'images/training/{name}.jpg', size, rotation=rotation)
    write_image(folder / 'images/training/c.jpg', STORED)
    cfg, (findings,) = fit(segmentor(), folder)
    assert findings.problems == {
        'EXIF rotation': ['a.jpg: orientation 6', 'b.jpg: orientation 3'],
        'label map of another size': ['c.png: 8×10 for c.jpg of 10×8'],
    }
    assert findings.sizes == [SHOWN] * 2
    for split in ('train', 'val'):
        for sample in read(cfg, split):
            assert sample['inputs'].shape == (3, 10, 8)
