"""The drawn data set on the disk: both layouts agree, same seed same files, written once."""

import inspect
import json

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

from fastervit_mm.data.drawn_shapes import OTHER_CLASSES, write_shapes
from tests.data.folders import detector, fit, read, segmentor


@pytest.fixture(scope='module')
def drawn(tmp_path_factory):
    root = tmp_path_factory.mktemp('drawn') / 'new'
    write_shapes(root, train=6, val=3, size=96)
    return root


SPLITS = [('train2017', 'training', 6), ('val2017', 'validation', 3)]


def test_the_files_of_both_layouts(drawn):
    files = {str(p.relative_to(drawn)) for p in drawn.rglob('*') if p.is_file()}
    wanted = {'written.json', 'ade/classes.txt'}
    for coco, ade, count in SPLITS:
        wanted.add(f'coco/annotations/instances_{coco}.json')
        for i in range(count):
            wanted |= {f'coco/{coco}/00000{i}.jpg', f'ade/images/{ade}/00000{i}.jpg'}
            wanted.add(f'ade/annotations/{ade}/00000{i}.png')
    assert files == wanted
    assert (drawn / 'ade/classes.txt').read_text() == 'background\ncircle\nsquare\ntriangle\n'


@pytest.mark.parametrize('coco, ade, count', SPLITS)
def test_the_annotation_file(coco, ade, count, drawn):
    content = json.loads((drawn / f'coco/annotations/instances_{coco}.json').read_text())
    assert set(content) == {'images', 'annotations', 'categories'}
    assert content['images'] == [
        dict(id=i + 1, file_name=f'00000{i}.jpg', width=96, height=96) for i in range(count)
    ]
    assert content['categories'] == [
        dict(id=1, name='circle'),
        dict(id=2, name='square'),
        dict(id=3, name='triangle'),
    ]
    ids = [a['id'] for a in content['annotations']]
    assert ids == list(range(1, len(ids) + 1))
    of = [a['image_id'] for a in content['annotations']]
    assert of == sorted(of) and set(of) == set(range(1, count + 1))


@pytest.mark.parametrize('coco, ade, count', SPLITS)
def test_polygons_boxes_and_label_maps_agree(coco, ade, count, drawn):
    truth = COCO(drawn / f'coco/annotations/instances_{coco}.json')
    for number in range(1, count + 1):
        labels = np.asarray(Image.open(drawn / f'ade/annotations/{ade}/{number - 1:06d}.png'))
        expected = np.ones_like(labels)
        for a in truth.loadAnns(truth.getAnnIds(number)):
            mask = truth.annToMask(a).astype(bool)
            expected[mask] = a['category_id'] + 1
            rows, columns = np.nonzero(mask)
            x, y, w, h = a['bbox']
            box = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
            assert box == pytest.approx((x, y, x + w, y + h), abs=1.6)
            assert abs(mask.sum() - a['area']) < 0.15 * a['area'] + 10
        assert (expected != labels).mean() < 0.02
        assert set(np.unique(labels)) <= {1, 2, 3, 4}


@pytest.mark.parametrize('coco, ade, count', SPLITS)
def test_both_layouts_have_the_same_pictures(coco, ade, count, drawn, tmp_path):
    """Each fits its label map; JPEG of quality 92."""
    Image.new('RGB', (8, 8)).save(tmp_path / 'a.jpg', quality=92)
    tables = Image.open(tmp_path / 'a.jpg').quantization
    pictures = set()
    for i in range(count):
        path = drawn / f'coco/{coco}/00000{i}.jpg'
        assert path.read_bytes() == (drawn / f'ade/images/{ade}/00000{i}.jpg').read_bytes()
        with Image.open(path) as picture:
            assert picture.size == (96, 96) and picture.quantization == tables
            pixels = np.asarray(picture).astype(float)
        labels = np.asarray(Image.open(drawn / f'ade/annotations/{ade}/00000{i}.png'))
        steps = np.abs(np.diff(pixels, axis=1)).sum(-1)
        edges = np.diff(labels.astype(int), axis=1) != 0
        assert steps[edges].mean() > 2 * steps[~edges].mean()
        pictures.add(path.read_bytes())
    assert len(pictures) == count


def test_configs_take_both_layouts(drawn, tmp_path):
    """Without a problem that would lose anything; label 0 is unused."""
    cfg, findings = fit(detector(), drawn / 'coco', tmp_path / 'a')
    assert {kind for f in findings for kind in f.problems} <= {'category without instances'}
    assert [len(read(cfg, s)) for s in ('train', 'val')] == [6, 3]
    assert cfg.train_dataloader.dataset.dataset.metainfo.classes == ('circle', 'square', 'triangle')
    cfg, findings = fit(segmentor(), drawn / 'ade', tmp_path / 'b')
    assert {kind for f in findings for kind in f.problems} <= {'category without instances'}
    assert cfg.train_dataloader.dataset.reduce_zero_label is True
    assert cfg.model.decode_head.num_classes == 4


def files(root, *but) -> dict:
    return {
        str(p.relative_to(root)): p.read_bytes()
        for p in root.rglob('*')
        if p.is_file() and p.name not in but
    }


def test_the_same_seed_gives_the_same_files(tmp_path):
    for name, seed in (('a', 1), ('b', 1), ('c', 2)):
        write_shapes(tmp_path / name, train=2, val=1, size=64, seed=seed)
    assert files(tmp_path / 'a') == files(tmp_path / 'b')
    first, other = files(tmp_path / 'a', 'written.json'), files(tmp_path / 'c', 'written.json')
    assert {name for name in first if first[name] == other[name]} == {'ade/classes.txt'}


def test_a_scene_is_its_seed_split_and_number(tmp_path, drawn):
    """Not the count of the others; train and validation differ."""
    write_shapes(tmp_path, train=2, val=2, size=96)
    for split, _, _ in SPLITS:
        for i in range(2):
            name = f'coco/{split}/00000{i}.jpg'
            assert (tmp_path / name).read_bytes() == (drawn / name).read_bytes()
    train, val = (tmp_path / f'coco/{split}/000000.jpg' for split, _, _ in SPLITS)
    assert train.read_bytes() != val.read_bytes()


def test_the_scenes_are_the_published_ones(tmp_path):
    """The figures of the demo were measured on these."""
    write_shapes(tmp_path, train=1, val=1, size=64)
    found = []
    for split, _, _ in SPLITS:
        content = json.loads((tmp_path / f'coco/annotations/instances_{split}.json').read_text())
        found.append([(a['category_id'], a['bbox']) for a in content['annotations']])
    assert found == PUBLISHED


PUBLISHED = [
    [
        (1, [22.98, 32.71, 24.1, 24.1]),
        (1, [31.21, 7.49, 24.06, 24.06]),
        (3, [11.23, 24.58, 9.25, 10.05]),
        (3, [11.84, 5.31, 15.3, 15.64]),
        (1, [1.1, 42.64, 18.2, 18.2]),
    ],
    [(1, [42.43, 11.65, 17.8, 17.8])],
]


def test_the_size_of_the_demo():
    defaults = {n: p.default for n, p in inspect.signature(write_shapes).parameters.items()}
    assert {n: v for n, v in defaults.items() if v is not inspect.Parameter.empty} == dict(
        train=400, val=60, size=192, seed=0, classes=('circle', 'square', 'triangle')
    )


def test_what_is_there_is_not_written_once_more(tmp_path):
    write_shapes(tmp_path, train=2, val=1, size=32, seed=3)
    mark = json.loads((tmp_path / 'written.json').read_text())
    assert mark == dict(version=1, train=2, val=1, size=32, seed=3)
    picture = tmp_path / 'coco/train2017/000000.jpg'
    picture.unlink()
    write_shapes(str(tmp_path), train=2, val=1, size=32, seed=3)
    assert not picture.exists()


@pytest.mark.parametrize('change', [dict(train=3), dict(val=2), dict(size=48), dict(seed=4)])
def test_another_one_is_written_over_it(change, tmp_path):
    first = dict(train=2, val=1, size=32, seed=3)
    write_shapes(tmp_path, **first)
    write_shapes(tmp_path, **first | change)
    assert json.loads((tmp_path / 'written.json').read_text()) == first | change | dict(version=1)
    write_shapes(tmp_path / 'fresh', **first | change)
    fresh = files(tmp_path / 'fresh')
    written = files(tmp_path)
    assert all(written[name] == content for name, content in fresh.items())


def test_other_classes_are_written_in_both_layouts(tmp_path):
    write_shapes(tmp_path, train=2, val=1, size=64, classes=OTHER_CLASSES)
    write_shapes(tmp_path, train=2, val=1, size=64, classes=OTHER_CLASSES)
    assert json.loads((tmp_path / 'written.json').read_text())['classes'] == list(OTHER_CLASSES)
    content = json.loads((tmp_path / 'coco/annotations/instances_train2017.json').read_text())
    assert [c['name'] for c in content['categories']] == ['pentagon', 'star', 'spark']
    corners = {1: 5, 2: 10, 3: 8}
    for a in content['annotations']:
        assert len(a['segmentation'][0]) == 2 * corners[a['category_id']]
    names = (tmp_path / 'ade/classes.txt').read_text().split()
    assert names == ['background', *OTHER_CLASSES]
    labels = np.asarray(Image.open(tmp_path / 'ade/annotations/training/000000.png'))
    found = {a['category_id'] + 1 for a in content['annotations'] if a['image_id'] == 1}
    assert set(np.unique(labels)) == {1, *found}
