"""The check of a folder and the fitting of a config to it say the same."""

import shutil

import pytest

from fastervit_mm.data.folder import read_folder
from fastervit_mm.errors import UserError
from tests.data.folders import (
    coco_content,
    cut_short,
    detector,
    fit,
    segmentor,
    thing,
    write_ade,
    write_coco,
    write_image,
)


def one_of_everything(folder):
    """Problems of all kinds that training goes on with."""
    content = coco_content(7, [thing(10 * i, 7) for i in (1, 2, 3, 4)])
    boxes = [(2, 2, 0, 3), (90, 2, 3, 3), (9, 2, 3, 3), (2, 2, 3, 3), (2, 2, 4, 4)]
    content['annotations'] += [thing(20, 90, box) for box in boxes]
    content['annotations'] += [
        thing(10, 7, bbox=None),
        thing(10, 7, segmentation=[[1, 1, 2, 2]]),
        thing(10, 7, area=0),
        thing(999, 7),
        thing(10, 3),
    ]
    content['categories'].append(dict(id=91, name='never'))
    content['images'][1].update(width=1)
    content['images'][2]['file_name'] = 'a.png'
    write_image(folder / 'train/d.png', mode='P')
    write_image(folder / 'train/e.png', rotation=3)
    write_coco(folder, content=content)
    (folder / 'train/f.png').unlink()
    (folder / 'train/g.png').write_bytes(b'no picture')


def scenes_with_problems(folder):
    write_ade(folder, maps={key: [[0, 255], [2, 2]] for key in 'abcd'} | {'e': None})
    write_image(folder / 'annotations/training/a.png', (9, 9), mode='L')
    write_image(folder / 'images/training/b.jpg', (2, 2), mode='L', rotation=3)


@pytest.mark.parametrize(
    'make, config, kinds',
    [
        (one_of_everything, detector, 15),
        (scenes_with_problems, segmentor, 5),
        (lambda f: write_coco(write_coco(f), 'val', coco_content(1)), detector, 1),
        (lambda f: write_ade(write_ade(f), 'validation', {'v': [[1, 1], [1, 3]]}), segmentor, 1),
    ],
)
def test_the_same_is_found(make, config, kinds, tmp_path):
    make(tmp_path / 'mine')
    _, found = fit(config(), tmp_path / 'mine')
    check = read_folder(tmp_path / 'mine')
    assert check.fatal == []
    assert [f.problems for f in check.findings] == [f.problems for f in found]
    assert [f.instances for f in check.findings] == [f.instances for f in found]
    assert [f.sizes for f in check.findings] == [f.sizes for f in found]
    assert len({kind for f in found for kind in f.problems}) == kinds


def no_images(folder):
    write_coco(folder)
    for path in (folder / 'train').iterdir():
        path.write_bytes(b'')


def truncated_but_one(folder):
    for name in 'ab':
        cut_short(write_image(folder / f'train/{name}.jpg', (64, 48), noise=True))
    write_coco(folder, content=coco_content({f'{c}.jpg': (64, 48) for c in 'abc'}))


def broken_json(folder):
    write_coco(folder)
    (folder / 'annotations/instances_train.json').write_text('{"images": [')


def unnamed(folder):
    write_coco(folder, 'a')
    write_coco(folder, 'b')


def no_maps(folder):
    write_ade(folder)
    for path in (folder / 'annotations/training').iterdir():
        shutil.move(path, path.with_name(f'x{path.name}'))


def not_an_object(folder):
    write_coco(folder, content=coco_content() | dict(annotations=[3]), images=False)
    write_image(folder / 'train/a.png')


BROKEN = [
    (detector, lambda f: write_coco(f, content=coco_content(1)), 'has 1 usable image with'),
    (detector, truncated_but_one, 'has 1 usable image with annotations'),
    (detector, no_images, 'no image of .* can be read from'),
    (detector, lambda f: write_coco(f, content=coco_content(2, [])), 'no annotation of'),
    (detector, broken_json, 'is not in COCO format'),
    (detector, unnamed, 'cannot be told'),
    (detector, lambda f: write_coco(f, images=False), r'none of the first images .*a\.png'),
    (detector, not_an_object, r'annotations\[0\] is 3'),
    (detector, lambda f: write_coco(f, content=coco_content(0, [])), 'names no images'),
    (detector, lambda f: f.mkdir(), 'has no annotation file in COCO format'),
    (segmentor, lambda f: f.mkdir(), 'has no images/training and annotations/training'),
    (segmentor, no_maps, 'has a usable label map'),
    (segmentor, lambda f: write_ade(f, maps={'a': [[0, 1], [1, 1]]}), 'has 1 usable image and'),
    (segmentor, lambda f: write_ade(f, classes=['a']), 'but classes.txt names 1'),
]


@pytest.mark.parametrize('config, make, message', BROKEN)
def test_the_check_stops_where_training_would(config, make, message, tmp_path):
    """In the same words, on one line."""
    make(tmp_path / 'mine')
    with pytest.raises(UserError, match=message) as caught:
        fit(config(), tmp_path / 'mine')
    assert '\n' not in str(caught.value)
    try:
        said = read_folder(tmp_path / 'mine').fatal[0]
    except UserError as error:  # it cannot even be looked at
        said = str(error)
    if any((tmp_path / 'mine').iterdir()):
        assert said == str(caught.value)
    else:
        assert f"{tmp_path / 'mine'} is neither in COCO's layout" in said


def test_json_beside_label_maps_is_no_annotation_file(tmp_path):
    folder = write_ade(tmp_path / 'mine')
    (folder / 'settings.json').write_text('{}')
    check = read_folder(folder)
    assert check.layout == 'ADE' and not check.fatal
