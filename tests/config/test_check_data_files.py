"""Before a run starts: folders, annotation files and class counts that do not fit are named."""

import json

import pytest
from mmengine.config import Config

from fastervit_mm.config.data_sets import LOADERS, check_data_files, dataset_classes
from fastervit_mm.errors import ArgumentError, FileError

COCO_REMEDY = 'get COCO 2017 from cocodataset.org'
REMEDY = 'name another folder in that layout with --data FOLDER'


def coco(folder, classes=('cat', 'dog'), heads=(2, 2), **entries) -> Config:
    dataset = dict(
        type='CocoDataset',
        data_root=str(folder),
        ann_file='annotations/train.json',
        data_prefix=dict(img='train/', seg=''),
        metainfo=dict(classes=classes) if classes else None,
    )
    return Config(
        dict(
            default_scope='mmdet',
            model=dict(heads=[dict(num_classes=n) for n in heads]),
            train_dataloader=dict(dataset=dataset | entries),
        )
    )


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with cats and dogs; the tests run beside it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'mine/annotations').mkdir(parents=True)
    (tmp_path / 'mine/train').mkdir()
    write(tmp_path / 'mine', ['cat', 'dog'])
    return tmp_path / 'mine'


def write(folder, names):
    categories = [dict(id=i, name=n) for i, n in enumerate(names)]
    (folder / 'annotations/train.json').write_text(json.dumps(dict(categories=categories)))


def refused(cfg, kind, loaders=('train_dataloader',)) -> str:
    with pytest.raises(kind) as caught:
        check_data_files(cfg, loaders)
    assert '\n' not in str(caught.value)
    return str(caught.value)


def test_a_folder_that_fits_goes_through(folder):
    check_data_files(coco(folder), ('train_dataloader',))
    with pytest.raises(ArgumentError, match="in another order than the config's classes"):
        check_data_files(coco(folder, classes=('dog', 'cat')), ('train_dataloader',))
    check_data_files(coco('mine'), ('train_dataloader',))
    check_data_files(coco(folder, ann_file=''), ('train_dataloader',))
    check_data_files(coco(folder, data_prefix=None, heads=()), ('train_dataloader',))
    absolute = str(folder / 'annotations/train.json')
    prefix = dict(img=str(folder / 'train'))
    check_data_files(coco('', ann_file=absolute, data_prefix=prefix), ('train_dataloader',))


def test_what_is_missing_is_named(folder, tmp_path):
    beside = f'(looked for in {tmp_path}); '
    message = refused(coco('none'), FileError)
    assert message.startswith(f'data folder none does not exist {beside}{COCO_REMEDY}')
    message = refused(coco(folder, ann_file='a.json'), FileError)
    assert message.startswith(f'annotation file {folder}/a.json does not exist {beside}')
    assert COCO_REMEDY in message
    message = refused(coco(folder, data_prefix=dict(a='train', b='val/')), FileError)
    assert message.startswith(f'image or label folder {folder}/val does not exist {beside}')
    assert COCO_REMEDY in message


def test_only_the_loaders_that_are_used_are_looked_at(folder):
    cfg = coco(folder)
    cfg.val_dataloader = coco('none').train_dataloader
    check_data_files(cfg, ('train_dataloader', 'test_dataloader'))
    assert 'data folder none' in refused(cfg, FileError, LOADERS)


def test_other_classes_than_the_annotations(folder):
    file = folder / 'annotations/train.json'
    assert refused(coco(folder, classes=('cat', 'fox', 'owl')), ArgumentError) == (
        f"the config's data set has 3 classes, {file} has 2 categories, and they differ (for "
        'instance dog, fox, owl); set metainfo.classes of every data set and num_classes of every '
        'head'
    )
    write(folder, [*'gfedcba', 'cat'])
    assert '(for instance a, b, c, d, dog);' in refused(coco(folder), ArgumentError)
    assert 'has 2 classes' in refused(coco(folder), ArgumentError)


def test_cocos_own_classes_where_the_config_names_none(folder):
    message = refused(coco(folder, classes=None, heads=(80,)), ArgumentError)
    assert message.startswith("the config's data set has 80 classes, ")
    from mmdet.datasets import CocoDataset

    write(folder, CocoDataset.METAINFO['classes'])
    check_data_files(coco(folder, classes=None, heads=(80,)), ('train_dataloader',))


@pytest.mark.parametrize('heads', [(3,), (2, 3), (1, 2, 3)])
def test_other_heads_than_the_annotations(heads, folder):
    assert refused(coco(folder, heads=heads), ArgumentError) == (
        f"num_classes of the config's heads is {list(heads)}, but {folder}/annotations/train.json "
        'has 2 categories; set num_classes of every head to 2'
    )


def test_categories_without_names_are_told_by_what_they_are(folder):
    (folder / 'annotations/train.json').write_text(json.dumps(dict(categories=[dict(id=3)])))
    assert "{'id': 3}" in refused(coco(folder), ArgumentError)


def ade(folder, classes, heads, kind='BaseSegDataset', **entries) -> Config:
    dataset = dict(
        type=kind, data_root=str(folder), metainfo=dict(classes=classes), data_prefix=dict(img='')
    )
    return Config(
        dict(
            default_scope='mmseg',
            model=dict(decode_head=dict(num_classes=heads)),
            test_dataloader=dict(dataset=dataset | entries),
        )
    )


def test_label_maps_are_compared_with_the_heads(folder):
    loaders = ('test_dataloader',)
    check_data_files(ade(folder, ['a', 'b', 'c'], 3), loaders)
    assert refused(ade(folder, ['a', 'b', 'c'], 2), ArgumentError, loaders) == (
        "num_classes of the config's heads is [2], but its data set has 3 classes; set "
        'num_classes of every head to 3'
    )
    check_data_files(ade(folder, None, 150, 'ADE20KDataset'), loaders)
    assert 'has 150 classes' in refused(
        ade(folder, None, 3, 'ADE20KDataset'), ArgumentError, loaders
    )
    check_data_files(ade(folder, None, 3), loaders)  # names none, and the library neither


def test_what_is_missing_of_label_maps(folder):
    loaders = ('test_dataloader',)
    assert refused(ade('none', 'abc', 3), FileError, loaders).endswith(f'; {REMEDY}')
    cfg = ade(folder, None, 3, ann_file='names.txt')
    assert f'annotation file {folder}/names.txt' in refused(cfg, FileError, loaders)
    (folder / 'names.txt').write_text('a\n')  # no JSON: not looked into
    check_data_files(cfg, loaders)
    cfg = ade(folder, None, 3, data_prefix=dict(img_path='x'))
    message = refused(cfg, FileError, loaders)
    assert message.startswith('image or label folder') and message.endswith(f'; {REMEDY}')


def test_class_names_of_a_data_set(tmp_path):
    (tmp_path / 'names.txt').write_text('sky\ntree\n')
    listed = dict(type='x', metainfo=dict(classes=str(tmp_path / 'names.txt')))
    assert dataset_classes(listed) == ('sky', 'tree')
    assert dataset_classes(dict(type='x', metainfo=dict(classes=['a', 'b']))) == ('a', 'b')
    assert len(dataset_classes(dict(type='mmseg.ADE20KDataset'))) == 150
    assert len(dataset_classes(dict(type='mmseg.ADE20KDataset', metainfo={}))) == 150
    assert dataset_classes(dict(type='mmseg.BaseSegDataset', metainfo=None)) is None
