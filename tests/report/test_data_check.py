"""What looking at a folder tells: counts, problems, tables, and the images with their labels."""

import json

import numpy as np
import pytest
from PIL import Image

from fastervit_mm.data.folder import read_folder
from fastervit_mm.errors import ArgumentError
from tests.report.folders import ORANGE, write_ade, write_coco, write_image

RED, BLUE, GREEN = (242, 60, 60), (60, 113, 242), (166, 242, 60)  # of classes 0, 1, 2
ANIMALS = {90: 'cat', 7: 'dog', 30: '<i>'}  # in the order of their ids: dog, <i>, cat


@pytest.fixture(scope='module')
def coco(tmp_path_factory):
    """Two splits; b.png has two problems, a.png one; the validation's ids are others."""
    folder = tmp_path_factory.mktemp('animals')
    write_coco(
        folder,
        'train',
        {'d.png': (60, 40), 'a.png': (80, 60), 'b.png': (60, 40)},
        [
            ('d.png', 90, (10, 15, 20, 20)),
            ('d.png', 7, (40, 20, 10, 10)),
            ('a.png', 7, (5, 5, 20, 20)),
            ('a.png', 90, (70, 5, 20, 20)),  # beyond the edge
            ('b.png', 7, (5, 5, 10, 10)),
            ('b.png', 7, (5, 5, 0, 10)),  # of no size
            ('b.png', 90, (55, 5, 20, 20)),  # beyond the edge
        ],
        ANIMALS,
    )
    others = {1: 'cat', 2: 'dog', 3: '<i>'}
    return write_coco(folder, 'val', {'v.png': (50, 70)}, [('v.png', 1, (5, 5, 20, 20))], others)


@pytest.fixture(scope='module')
def coco_check(coco):
    return read_folder(coco)


def test_objects_of_each_class_and_split(coco_check, coco):
    assert (coco_check.folder, coco_check.layout) == (coco, 'COCO')
    assert coco_check.classes == ('dog', '<i>', 'cat')  # by id, as mmdet numbers them
    assert coco_check.class_counts() == {'dog': [3, 0], '<i>': [0, 0], 'cat': [3, 1]}
    assert [f.name for f in coco_check.findings] == ['training', 'validation']
    assert coco_check.findings[0].sizes == [(60, 40), (80, 60), (60, 40)]
    assert coco_check.fatal == []


def test_the_tables_of_a_detection_folder(coco_check, coco):
    splits, classes, problems = coco_check.tables()
    assert splits == (
        f'{coco}: COCO layout, 3 classes',
        [['training', '3 images', '6 objects'], ['validation', '1 images', '1 objects']],
    )
    assert classes == (
        'classes (in each split)',
        [['dog', 3, 0], ['<i>', 0, 0], ['cat', 3, 1]],
    )
    title, rows = problems
    assert title == 'problems'
    by_kind = {(split, kind): (count, remedy, where) for split, count, kind, remedy, where in rows}
    assert len(rows) == len(by_kind) == 4
    count, remedy, where = by_kind['training', 'box beyond the edge']
    assert (count, remedy) == (2, 'cut at the edge')
    assert where.startswith('a.png, annotation 4: [70, 5, 20, 20], b.png, annotation 7')
    assert by_kind['training', 'box of no size'][:2] == (1, 'left out')
    never = {k: v for k, v in by_kind.items() if k[1] == 'category without instances'}
    learnt = 'kept; the network cannot learn it'
    assert never == {
        ('training', 'category without instances'): (1, learnt, '<i>'),
        ('validation', 'category without instances'): (2, learnt, 'dog, <i>'),
    }


def test_three_examples_of_each_problem(tmp_path):
    names = {f'{i}.png': (20, 20) for i in range(6)}
    write_coco(
        tmp_path, 'train', names, [(n, 1, (2, 2, 9, 9)) for n in ('0.png', '1.png')], {1: 'a'}
    )
    *_, (_, rows) = read_folder(tmp_path).tables()
    assert [(row[:2], row[4]) for row in rows] == [(['training', 4], '2.png, 3.png, 4.png')]


def test_a_folder_without_problems(tmp_path):
    images = {f'{i}.png': (20, 20) for i in range(2)}
    write_coco(tmp_path, 'train', images, [(n, 1, (2, 2, 9, 9)) for n in images], {1: 'a'})
    *_, problems = read_folder(tmp_path).tables()
    assert problems == ('problems', [['none']])


def sample(check, name):
    (found,) = [s for s in check.samples if s.path.name == name]
    return found


def test_the_worst_images_come_first(coco_check, coco):
    assert [s.path for s in coco_check.samples] == [
        coco / 'train' / 'b.png',
        coco / 'train' / 'a.png',
        coco / 'train' / 'd.png',  # equal ones in their own order
        coco / 'val' / 'v.png',
    ]
    assert [s.problems for s in coco_check.samples] == [
        ['box beyond the edge', 'box of no size'],  # in the order they were met
        ['box beyond the edge'],
        [],
        [],
    ]


def test_problems_are_told_by_whole_names(tmp_path):
    """a.png is not 'aa.png', nor 'a.png.png'; lines name a file alone, with a comma or a colon."""
    images = {name: (20, 20) for name in ('a.png', 'aa.png', 'a.png.png', 'c.png', 'd.png')}
    objects = [('a.png', 1, (2, 2, 9, 9)), ('aa.png', 1, (2, 2, 9, 0)), ('c.png', 1, (1, 1, 9, 9))]
    write_coco(tmp_path, 'train', images, [*objects, ('d.png', 1, (1, 1, 9, 9))], {1: 'a'})
    exif = Image.Exif()
    exif[0x0112] = 3
    write_image(tmp_path / 'train' / 'c.png', (20, 20), exif=exif)
    found = {s.path.name: s.problems for s in read_folder(tmp_path).samples}
    assert found == {
        'a.png': [],
        'aa.png': ['box of no size', 'image without annotations'],
        'a.png.png': ['image without annotations'],
        'c.png': ['EXIF rotation'],
        'd.png': [],
    }


def is_colour(picture, colour, tolerance=1):
    return (abs(np.asarray(picture).astype(int) - np.array(colour)) <= tolerance).all(-1)


def test_images_are_drawn_with_their_own_objects(coco_check, written):
    picture = sample(coco_check, 'd.png').draw()
    assert picture.size == (480, 320)
    cat, dog = is_colour(picture, GREEN), is_colour(picture, RED)
    # x, y, width, height, eight times as large
    assert cat[120:280, 80].all() and cat[280, 80:240].all()
    assert dog[160:240, 320].all() and dog[240, 320:400].all()
    assert is_colour(picture, ORANGE)[200, 160]  # no masks
    assert [entry[0] for entry in written] == ['cat', 'dog']


def test_the_validations_own_ids_are_followed(coco_check, written):
    picture = sample(coco_check, 'v.png').draw()
    assert [entry[0] for entry in written] == ['cat']
    assert is_colour(picture, GREEN)[35:175, 35].all()


def turned(folder, stated):
    """Photographs of 60×40 px as stored, that EXIF turns by a quarter."""
    images = {f'{i}.jpg': stated for i in range(2)}
    write_coco(folder, 'train', images, [(n, 1, (2, 2, 9, 9)) for n in images], {1: 'a'})
    exif = Image.Exif()
    exif[0x0112] = 6
    for name in images:
        write_image(folder / 'train' / name, (60, 40), exif=exif)
    return read_folder(folder)


@pytest.mark.parametrize('stated', [(60, 40), (40, 60)])
def test_photographs_are_turned_as_they_were_annotated(stated, tmp_path):
    width, height = turned(tmp_path, stated).samples[0].draw().size
    assert (width, height) == tuple(8 * v for v in stated)


def test_one_image_cannot_be_held_out(tmp_path):
    write_coco(tmp_path, 'train', {'0.png': (9, 9)}, [('0.png', 1, (2, 2, 5, 5))], {1: 'a'})
    (reason,) = read_folder(tmp_path).fatal
    assert 'has 1 usable image with annotations and there is no validation split' in reason


def test_the_first_fault_is_enough(tmp_path):
    """No object at all: said once, without what follows from it."""
    write_coco(tmp_path, 'train', {'0.png': (9, 9), '1.png': (9, 9)}, [], {1: 'a'})
    (reason,) = read_folder(tmp_path).fatal
    assert reason.startswith('no annotation of ')


def test_every_split_can_be_at_fault(tmp_path):
    write_coco(tmp_path, 'train', {'0.png': (9, 9)}, [('0.png', 1, (2, 2, 5, 5))], {1: 'a'})
    write_coco(tmp_path, 'val', {'0.png': (9, 9)}, [('0.png', 1, (2, 2, 5, 5))], {1: 'b'})
    check = read_folder(tmp_path)
    assert len(check.fatal) == 1 and 'have different categories (a, b)' in check.fatal[0]
    assert check.classes == ('a', 'b') and check.class_counts() == {'a': [1, 0], 'b': [0, 1]}


# label maps of 4×2 px; 255 is ignored
MAPS = {
    'x.png': [[0, 0, 1, 1], [0, 2, 255, 255]],
    'y.png': [[1, 1, 1, 1], [1, 1, 1, 1]],
}


@pytest.fixture(scope='module')
def ade(tmp_path_factory):
    folder = write_ade(tmp_path_factory.mktemp('scenes'), 'training', MAPS)
    write_image(folder / 'images' / 'training' / 'unlabelled.png', (4, 2))
    return write_ade(folder, 'validation', {'sub/v.png': [[2, 2], [2, 0]]})


def test_pixels_of_each_class_and_split(ade):
    check = read_folder(ade)
    assert (check.layout, check.classes) == ('ADE', ('class 0', 'class 1', 'class 2'))
    assert check.class_counts() == {'class 0': [3, 1], 'class 1': [10, 0], 'class 2': [1, 3]}
    splits, classes, problems = check.tables()
    assert splits == (
        f'{ade}: ADE layout, 3 classes',
        [
            ['training', '2 images', '14 labelled pixels'],
            ['validation', '1 images', '4 labelled pixels'],
        ],
    )
    assert classes[1] == [['class 0', 3, 1], ['class 1', 10, 0], ['class 2', 1, 3]]
    assert problems[1] == [
        ['training', 1, 'image without label map', 'left out', 'unlabelled.png'],
        [
            *('validation', 1, 'category without instances'),
            *('kept; the network cannot learn it', 'class 1'),
        ],
    ]
    assert check.fatal == []


def test_zero_as_unlabelled(ade):
    check = read_folder(ade, ignore_zero=True)
    assert check.class_counts() == {'class 1': [10, 0], 'class 2': [1, 3]}
    assert read_folder(ade, ignore_zero=False).classes == ('class 0', 'class 1', 'class 2')


def tinted(colour):
    return 0.45 * np.array(ORANGE) + 0.55 * np.array(colour)


def test_label_maps_are_drawn_over_their_images(ade, written):
    """Each pixel as a square of 120 px; the validation's labels of its own sub-folder."""
    check = read_folder(ade)
    names = ['x.png', 'y.png', 'v.png']
    assert sorted(s.path.name for s in check.samples) == sorted(names)
    picture = sample(check, 'x.png').draw()
    assert picture.size == (480, 240)
    red, blue = is_colour(picture, tinted(RED), 2), is_colour(picture, tinted(BLUE), 2)
    assert red[70:120, 60:240].all() and red[130:, :120].all() and blue[70:120, 240:].all()
    assert is_colour(picture, tinted(GREEN), 2)[120:, 120:240].all()
    assert is_colour(picture, ORANGE)[120:, 240:].all()  # 255
    assert [entry[0] for entry in written] == ['class 0', 'class 1', 'class 2']
    picture = sample(check, 'v.png').draw()
    assert is_colour(picture, tinted(GREEN), 2)[100:, :240].all()


def test_ignored_zeros_are_left_unpainted(ade, written):
    picture = sample(read_folder(ade, ignore_zero=True), 'x.png').draw()
    assert is_colour(picture, ORANGE)[130:, :120].all()
    assert is_colour(picture, tinted(RED), 2)[70:120, 240:].all()  # class 1 is the first
    assert [entry[0] for entry in written] == ['class 1', 'class 2']


def test_photographs_beside_label_maps_are_turned(tmp_path):
    write_ade(tmp_path, 'training', {f'{i}.jpg': [[0] * 2] * 4 for i in range(2)})
    exif = Image.Exif()
    exif[0x0112] = 6
    for i in range(2):
        write_image(tmp_path / f'images/training/{i}.jpg', (4, 2), exif=exif)
    check = read_folder(tmp_path)
    assert [s.draw().size for s in check.samples] == [(240, 480)] * 2
    assert [s.problems for s in check.samples] == [['EXIF rotation']] * 2


def test_one_scene_cannot_be_held_out(tmp_path):
    (reason,) = read_folder(write_ade(tmp_path, 'training', {'x.png': MAPS['x.png']})).fatal
    assert 'has 1 usable image and there is no validation split' in reason


def test_a_folder_in_neither_layout(tmp_path):
    with pytest.raises(ArgumentError, match="is neither in COCO's layout .* nor in ADE20K's"):
        read_folder(tmp_path)


def test_json_beside_label_maps_and_folders_beside_annotations(ade, coco, tmp_path):
    """Label maps make ADE20K's layout, whatever JSON lies beside; empty folders do not."""
    write_ade(tmp_path / 'a', 'training', MAPS)
    (tmp_path / 'a' / 'annotations' / 'notes.json').write_text(json.dumps({}))
    assert read_folder(tmp_path / 'a').layout == 'ADE'
    folder = tmp_path / 'b'
    write_coco(folder, 'train', {'0.png': (9, 9)}, [('0.png', 1, (2, 2, 5, 5))], {1: 'a'})
    for part in ('images', 'annotations'):
        (folder / part / 'training').mkdir(parents=True)
    assert read_folder(folder).layout == 'COCO'


def test_progress_is_shown_once_for_each_image(ade, coco):
    seen = []

    def progress(items):
        for item in items:
            seen.append(item)
            yield item

    read_folder(coco, progress=progress)
    assert len(seen) == 4
    read_folder(ade, progress=progress)
    assert len(seen) == 4 + 3 + 1


def test_pixels_are_read_wholly(tmp_path):
    """A photograph cut short has a whole header."""
    images = {f'{i}.jpg': (200, 200) for i in range(6)}
    write_coco(tmp_path, 'train', images, [(n, 1, (2, 2, 9, 9)) for n in images], {1: 'a'})
    write_coco(tmp_path, 'val', images, [(n, 1, (2, 2, 9, 9)) for n in images], {1: 'a'})
    for split in ('train', 'val'):
        path = tmp_path / split / '0.jpg'
        path.write_bytes(path.read_bytes()[:-800])
    found = [f.problems for f in read_folder(tmp_path).findings]
    assert [list(p) for p in found] == [['unreadable image']] * 2
    ade = write_ade(tmp_path / 'ade', 'training', {f'{i}.jpg': [[0] * 200] * 200 for i in range(4)})
    path = ade / 'images/training/0.jpg'
    path.write_bytes(path.read_bytes()[:-800])
    (findings,) = read_folder(ade).findings
    assert list(findings.problems) == ['unreadable image']
