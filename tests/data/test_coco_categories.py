"""Categories: numbered by their ids in training, by their names in the validation."""

import json

import pytest

from fastervit_mm.data.coco import category_names
from fastervit_mm.data.folder import read_folder
from fastervit_mm.errors import ArgumentError
from tests.data.folders import (
    coco_content,
    detector,
    fit,
    innermost,
    read,
    thing,
    write_coco,
    written,
)

# three animals in the order of the file, by other ids in each split
TRAIN = {30: 'cat', 4: 'dog', 17: 'emu'}
VAL = {1: 'emu', 2: 'cat', 3: 'dog'}


def test_names_in_the_order_of_their_ids():
    categories = [dict(id=i, name=name) for i, name in TRAIN.items()]
    assert category_names(categories) == ('dog', 'emu', 'cat')
    assert category_names(iter(categories[::-1])) == ('dog', 'emu', 'cat')


@pytest.fixture(scope='module')
def animals(tmp_path_factory):
    """Each image is named for the animal that is on it."""
    folder = tmp_path_factory.mktemp('animals') / 'mine'
    for split, categories in (('train', TRAIN), ('val', VAL)):
        ids = list(categories)[::-1]  # another order in each
        images = {f'{categories[i]}.png': (10, 8) for i in ids}
        things = [thing(10 * n, i) for n, i in enumerate(ids, start=1)]
        write_coco(folder, split, coco_content(images, things, categories))
    cfg, _ = fit(detector(), folder)
    return cfg, folder


@pytest.mark.parametrize('split', ['train', 'val', 'test'])
def test_the_library_gives_each_object_its_name(animals, split):
    cfg, _ = animals
    classes = innermost(cfg, split)['metainfo'].classes
    assert tuple(classes) == ('dog', 'emu', 'cat')
    found = {}
    for sample in read(cfg, split):
        (label,) = sample['data_samples'].gt_instances.labels.tolist()
        found[sample['data_samples'].img_path.rsplit('/', 1)[1]] = classes[label]
    assert found == {f'{name}.png': name for name in ('cat', 'dog', 'emu')}


def test_both_files_have_the_trainings_categories_sorted_by_id(animals):
    cfg, _ = animals
    for split in ('train', 'val'):
        categories = written(cfg, split)['categories']
        assert [(c['id'], c['name']) for c in categories] == [(4, 'dog'), (17, 'emu'), (30, 'cat')]
    by_image = {i['id']: i['file_name'] for i in written(cfg, 'val')['images']}
    assert {
        by_image[a['image_id']]: a['category_id'] for a in written(cfg, 'val')['annotations']
    } == {
        'dog.png': 4,
        'emu.png': 17,
        'cat.png': 30,
    }


def test_the_check_counts_by_name(animals):
    _, folder = animals
    assert read_folder(folder).class_counts() == {n: [1, 1] for n in ('dog', 'emu', 'cat')}


def test_instances_are_counted_in_each_split(tmp_path):
    folder = tmp_path / 'mine'
    things = [thing(10, 30), thing(10, 30), thing(10, 17), thing(20, 30)]
    write_coco(folder, content=coco_content(2, things, TRAIN))
    write_coco(folder, 'val', coco_content(1, [thing(10, 1)], VAL))
    _, (train, val) = fit(detector(), folder)
    assert train.instances == {'cat': 3, 'emu': 1} and val.instances == {'emu': 1}
    kind = 'category without instances'
    assert (train.problems[kind], val.problems[kind]) == (['dog'], ['cat', 'dog'])


def different(tmp_path, train, val) -> str:
    """Why a folder with these names in its splits cannot be used."""
    folder = tmp_path / 'mine'
    for split, names in (('train', train), ('val', val)):
        write_coco(folder, split, coco_content(categories=dict(enumerate(names, start=1))))
    with pytest.raises(ArgumentError) as caught:
        fit(detector(), folder)
    assert read_folder(folder).fatal == [str(caught.value)]
    return str(caught.value)


def test_other_categories_in_the_validation_stop(tmp_path):
    annotations = tmp_path / 'mine' / 'annotations'
    assert different(tmp_path, ('cat', 'dog'), ('cat', 'horse')) == (
        f'{annotations / "instances_train.json"} and {annotations / "instances_val.json"} have '
        'different categories (dog, horse); give both the same'
    )
    assert '(dog);' in different(tmp_path, ('cat', 'dog'), ('cat',))
    assert '(emu);' in different(tmp_path, ('cat', 'dog'), ('cat', 'dog', 'emu'))
    assert '(a, b, c, d, e);' in different(tmp_path, 'xfedcba', 'xx'[:1])  # five are enough


def test_the_names_are_those_of_the_file(tmp_path):
    """Unicode, and a category that nothing is labelled with."""
    names = {1: 'Füchse', 2: '<b>', 3: 'never'}
    folder = tmp_path / 'mine'
    content = coco_content(categories=names)
    write_coco(write_coco(folder, content=content), 'val', content)
    assert [c['name'] for c in content['categories']] == list(names.values())
    cfg, _ = fit(detector(), folder)
    assert tuple(innermost(cfg)['metainfo'].classes) == tuple(names.values())
    assert json.loads(json.dumps(written(cfg)['categories'])) == content['categories']
