"""The check of a folder and the fitting of a config to it say the same."""

import shutil

import pytest

from fastervit_mm.config.data_sets import innermost_dataset
from fastervit_mm.data.folder import LABEL_MAPS, OBJECTS, read_folder
from fastervit_mm.data.reading import LEAST_SIDE, Reading
from fastervit_mm.errors import UserError
from fastervit_mm.tasks.use_folder import train_on
from tests.configs.resolved import NAMES
from tests.configs.resolved import read as read_config
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
from tests.data.malformed import DETECTION, load_everything
from tests.data.malformed_scenes import SEGMENTATION
from tests.helpers import call_tool
from tests.tasks.folders import SCENES, SHAPES, config


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


# what the check finds in each folder of `malformed`; in those that are not named it finds nothing
FOUND_IN_DETECTION = {
    'polygon far outside its image': 'polygon of 1e8, polygon of -1e8, polygon of 1e9 and more',
    'polygon of fewer than three points': (
        'polygon of lists, polygon of texts, an outline nested 900 deep'
    ),
    'run-length mask that does not fit its image': (
        'RLE too long, RLE too short, RLE far too long, RLE of negative counts, RLE of fractions, '
        'RLE of texts, RLE of lists, RLE without counts, RLE of truth values, RLE of another size, '
        'RLE of a negative size, RLE in text that does not, RLE in garbage, RLE in nothing, RLE in '
        'unfinished text, RLE in other letters, RLE of a number, RLE without size'
    ),
    'object without an outline': 'outline of text',
    'annotation marked ignore': 'marked ignore',
    'box that is not four numbers': (
        'a box of 400 digits, a box of NaN, a box of Infinity, a box of 1e999, a box nested 900 deep'
    ),
    'box outside its image': 'boxes of huge numbers',
    'area that is not a positive number': 'an area of 400 digits',
    'size differs from the annotations': (
        'sizes that are texts, sizes that are lists, one pixel, EXIF in TIFF'
    ),
    'missing image': (
        'a name of 300 letters, a name of 5000 letters, a name with NUL, a name with a line break, '
        'a name of half a letter, a name with a slash at its end, a URL, a folder named like an '
        'image, a pipe, a link to nowhere, a link to itself'
    ),
    'file name that leads out of the folder': 'an empty name',
    'unreadable image': (
        'an empty image, a huge image, EXIF in WebP, x.tga image, x.pcx image, e.jpg image, '
        't.jpg image'
    ),
    'image more than 100 times as long as wide': 'a line of pixels',
    'annotation of an unknown category': 'a class id nested 900 deep',
    'image too small to train on': 'some images too small',
}
STOPS_DETECTION = {
    'category ids that are true': r'id of categories\[0\] is True; it must be a number',
    'category ids that are NaN': r'id of categories\[0\] is nan; it must be a number',
    'image ids that are true': r'id of images\[0\] is True; it must be a number',
    'all names of 300 letters': 'none of the first images that .* is found under',
    'a class of half a letter': r"name of categories\[0\] is '\\ud800', which cannot be written",
    'Latin-1': "'utf-8' codec can't decode byte .*: save it as UTF-8",
    'nested 100000 deep': 'it is nested too deep',
    'categories that are a number': 'categories is 5',
    'an empty annotation file': 'is not in COCO format',
    'categories twice': 'no annotation of .* can be used',
    'a file for a folder': 'none of the first images that .* is found under',
    'all images too small': 'has sides of 32 px or more, and the config leaves smaller ones out',
}
FOUND_IN_SEGMENTATION = {
    'image one pixel wide or high': 'one row, one column, one pixel',
    'image more than 100 times as long as wide': 'a line of pixels',
    'file name that a list cannot hold': (
        'a blank before the dot, a blank at the start, a hard blank at the end, a line break, '
        'a carriage return, a line separator, no UTF-8'
    ),
    'file that is not read as an image': (
        'another suffix, a pipe, a link to nowhere, a map that is a pipe, '
        'Windows and the Mac were here'
    ),
    'label map without image': 'a folder named like an image',
    'unreadable image': (
        'an empty image, a TGA named JPEG, PostScript, a huge image, a map that is empty, '
        'a map that is huge, a map that is PostScript, a map that is text'
    ),
    'image of the same name as another': 'two images of a name',
    'image without label map': 'a map that is a folder',
}
STOPS_SEGMENTATION = {
    'capitals': r'end in \.JPG, \.jpg; mmseg reads one kind of file',
    'a map with alpha': 'has colours',
    'a map in colours': 'has colours',
    'a map of 16 bits and 300': 'holds labels from 299 to 301',
    'Latin-1': r'classes\.txt is not UTF-8 .*: save it as UTF-8',
    'UTF-16': r'classes\.txt is not UTF-8 .*: save it as UTF-8',
    'one name twice': "classes.txt of .* names 'a' twice",
    'no names': 'classes.txt names 0 classes',
}


def looked_through(folder, labels) -> Reading | str:
    """What tools/check_data.py finds in a folder, or its last words."""
    try:
        reading = read_folder(folder, labels)
    except UserError as error:
        return str(error)
    reading.note_small_images(LEAST_SIDE)
    return reading.fatal[0] if reading.fatal else reading


def agree(make, path, labels, wanted, stop, tmp_path):
    """Check a folder, and train on it: the same line stops both, or every sample is loaded."""
    make(tmp_path / 'mine')
    found = looked_through(tmp_path / 'mine', labels)
    cfg = config(path, tmp_path / 'work')
    if stop is not None:
        assert isinstance(found, str) and '\n' not in found
        with pytest.raises(UserError, match=stop) as caught:
            train_on(cfg, tmp_path / 'mine')
        assert str(caught.value) == found
        return
    assert isinstance(found, Reading), found
    assert wanted <= {kind for f in found.findings for kind in f.problems}
    assert all('\n' not in line for line in found.lines()) and '\n'.join(found.lines()).encode()
    train_on(cfg, tmp_path / 'mine')
    assert load_everything(cfg) >= 3


def kinds_of(name, table) -> set[str]:
    return {kind for kind, names in table.items() if name in names.split(', ')}


def test_the_tables_name_what_there_is():
    for folders, found, stops in (
        (DETECTION, FOUND_IN_DETECTION, STOPS_DETECTION),
        (SEGMENTATION, FOUND_IN_SEGMENTATION, STOPS_SEGMENTATION),
    ):
        named = [name for names in found.values() for name in names.split(', ')] + [*stops]
        assert len(set(named)) == len(named) and set(named) <= folders.keys()


@pytest.mark.parametrize('name', DETECTION)
def test_what_the_check_calls_fine_trains_a_detector(name, tmp_path):
    kinds, stop = kinds_of(name, FOUND_IN_DETECTION), STOPS_DETECTION.get(name)
    agree(DETECTION[name], SHAPES, OBJECTS, kinds, stop, tmp_path)


@pytest.mark.parametrize('name', SEGMENTATION)
def test_what_the_check_calls_fine_trains_a_segmentor(name, tmp_path):
    kinds, stop = kinds_of(name, FOUND_IN_SEGMENTATION), STOPS_SEGMENTATION.get(name)
    agree(SEGMENTATION[name], SCENES, LABEL_MAPS, kinds, stop, tmp_path)


@pytest.mark.parametrize(
    'name', ['a name with a line break that is there', 'a class with NUL', 'EXIF in TIFF']
)
def test_the_page_is_written_whatever_the_names(name, tmp_path):
    DETECTION[name](tmp_path / 'mine')
    call_tool('check_data.py', tmp_path / 'mine', '--out', tmp_path)
    assert 'Training would start.' in (tmp_path / 'data.html').read_text()


def test_the_tool_ends_where_training_would(tmp_path):
    DETECTION['all images too small'](tmp_path / 'mine')
    output = call_tool('check_data.py', tmp_path / 'mine', '--out', tmp_path, expect=1)
    assert STOPS_DETECTION['all images too small'] in output


@pytest.mark.parametrize('name', [name for name in NAMES if name.startswith('detection/')])
def test_the_check_knows_which_images_the_configs_leave_out(name):
    dataset = innermost_dataset(read_config(name), 'train_dataloader')
    assert dataset.filter_cfg.min_size == LEAST_SIDE
