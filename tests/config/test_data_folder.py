"""The data a config reads: pointed at another folder, and checked before a run starts."""

import json
from pathlib import Path

import pytest
from mmengine.config import Config

from fastervit_mm.config.data_sets import (
    EVALUATORS,
    LOADERS,
    datasets,
    head_class_counts,
    innermost_dataset,
    nested_dicts,
    point_to_folder,
    read_categories,
)
from fastervit_mm.errors import ArgumentError
from tests.helpers import ROOT


def test_the_names_of_loaders_and_evaluators():
    assert LOADERS == ('train_dataloader', 'val_dataloader', 'test_dataloader')
    assert EVALUATORS == {
        'val_dataloader': 'val_evaluator',
        'test_dataloader': 'test_evaluator',
    }


def test_dicts_of_a_tree_outermost_first():
    tree = dict(n=1, a=dict(n=2, x=[dict(n=3), (dict(n=4), 'text', 5)]), b=(dict(n=6),))
    assert [node['n'] for node in nested_dicts(tree)] == [1, 2, 3, 4, 6]
    assert [node['n'] for node in nested_dicts([dict(n=7), dict(n=8)])] == [7, 8]
    assert list(nested_dicts(None)) == list(nested_dicts('text')) == list(nested_dicts(3)) == []


def coco_config(root='data/coco/') -> Config:
    """Wrapped data sets, one of them joined of two; evaluators in a list and alone."""

    def dataset(name, folder=root):
        return dict(type='CocoDataset', data_root=folder, ann_file=f'annotations/{name}.json')

    joined = dict(type='ConcatDataset', datasets=[dataset('c'), dataset('d', 'data/extra')])
    return Config(
        dict(
            default_scope='mmdet',
            train_dataloader=dict(
                dataset=dict(type='Outer', dataset=dict(type='Inner', dataset=dataset('a')))
            ),
            val_dataloader=dict(dataset=dataset('b')),
            test_dataloader=dict(dataset=joined),
            val_evaluator=[
                dict(type='CocoMetric', ann_file=root + 'annotations/b.json', metric=['bbox']),
                dict(type='Other', file='out/data/coco/x.pkl', limit=3),
            ],
            test_evaluator=dict(type='CocoMetric', ann_file='data/extra/annotations/d.json'),
        )
    )


def test_data_sets_inside_whatever_wraps_them():
    cfg = coco_config()
    assert [d['ann_file'][-6] for d in datasets(cfg)] == ['a', 'b', 'c', 'd']
    assert [d['ann_file'][-6] for d in datasets(cfg, ('test_dataloader',))] == ['c', 'd']
    cfg.train_dataloader = None
    cfg.pop('test_dataloader')
    assert [d['ann_file'][-6] for d in datasets(cfg)] == ['b']


def test_the_innermost_data_set_is_the_configs_own():
    cfg = coco_config()
    innermost_dataset(cfg, 'train_dataloader')['data_root'] = 'x'
    assert cfg.train_dataloader.dataset.dataset.dataset.data_root == 'x'
    assert innermost_dataset(cfg, 'val_dataloader') is cfg.val_dataloader.dataset


@pytest.mark.parametrize('root', ['data/coco/', 'data/coco'])
def test_another_folder_takes_the_place_of_every_root(root, tmp_path):
    cfg = coco_config(root)
    if not root.endswith('/'):
        cfg.val_evaluator[0].ann_file = 'data/coco/annotations/b.json'
    point_to_folder(cfg, tmp_path)
    assert [d['data_root'] for d in datasets(cfg)] == [str(tmp_path)] * 4
    assert [d['ann_file'] for d in datasets(cfg)] == [f'annotations/{n}.json' for n in 'abcd']
    assert cfg.val_evaluator == [
        dict(type='CocoMetric', ann_file=f'{tmp_path}/annotations/b.json', metric=['bbox']),
        dict(type='Other', file='out/data/coco/x.pkl', limit=3),
    ]
    assert cfg.test_evaluator == dict(type='CocoMetric', ann_file=f'{tmp_path}/annotations/d.json')


def test_an_evaluator_follows_the_longest_root(tmp_path):
    """One root may begin like another."""
    for roots in (('data', 'data/coco/'), ('data/coco/', 'data')):
        cfg = coco_config()
        for loader, root in zip(('train_dataloader', 'val_dataloader'), roots, strict=True):
            innermost_dataset(cfg, loader)['data_root'] = root
        point_to_folder(cfg, tmp_path)
        assert cfg.val_evaluator[0].ann_file == f'{tmp_path}/annotations/b.json'


def test_a_config_fitted_to_a_folder_keeps_its_own_files(tmp_path):
    """Its roots are empty, its files absolute."""
    cfg = coco_config()
    for dataset in datasets(cfg):
        dataset.update(data_root='', ann_file='/elsewhere/data/val.json')
    cfg.val_evaluator[0].ann_file = '/elsewhere/data/val.json'
    point_to_folder(cfg, tmp_path)
    assert cfg.val_evaluator[0].type == 'CocoMetric'
    assert cfg.val_evaluator[0].ann_file == '/elsewhere/data/val.json'
    assert {Path(d['data_root'], d['ann_file']) for d in datasets(cfg)} == {
        Path('/elsewhere/data/val.json')
    }


def test_evaluators_may_be_missing(tmp_path):
    cfg = coco_config()
    cfg.val_evaluator = None
    point_to_folder(cfg, tmp_path)
    assert cfg.val_evaluator is None
    assert cfg.test_evaluator.ann_file == f'{tmp_path}/annotations/d.json'


@pytest.mark.parametrize(
    'config, files',
    [
        ('detection/cascade_fastervit_2_3x.py', 3),
        ('segmentation/upernet_fastervit_2_160k.py', 3),
    ],
)
def test_published_configs_follow(config, files, tmp_path):
    cfg = Config.fromfile(ROOT / 'configs' / config)
    point_to_folder(cfg, tmp_path)
    assert [d['data_root'] for d in datasets(cfg)] == [str(tmp_path)] * files
    if cfg.default_scope == 'mmdet':
        truth = f'{tmp_path}/annotations/instances_val2017.json'
        assert cfg.val_evaluator.ann_file == cfg.test_evaluator.ann_file == truth


CATEGORIES = [dict(id=1, name='cat'), dict(id=2, name='dog "x" ]')]


@pytest.fixture
def parses(monkeypatch):
    """How often a whole annotation file is parsed."""
    count, parse = [], json.loads

    def counted(text):
        count.append(1)
        return parse(text)

    monkeypatch.setattr(json, 'loads', counted)
    return count


def test_categories_are_read_without_the_rest(tmp_path, parses):
    """The file is broken after them: nothing but the categories was parsed."""
    path = tmp_path / 'a.json'
    for between in ('"categories":', '"categories" \n : '):
        path.write_text('{"images": [1, 2' + between + json.dumps(CATEGORIES) + ', "x": [')
        assert read_categories(path) == CATEGORIES
    assert not parses


@pytest.mark.parametrize(
    'content',
    [
        # several of that name: the outermost are meant, wherever they stand
        dict(categories=CATEGORIES, images=[dict(categories=[1])]),
        dict(images=[dict(categories=[1])], categories=CATEGORIES),
        dict(images=[dict(categories=[1]), dict(categories=[2])], categories=CATEGORIES),
    ],
)
def test_the_outermost_categories_are_meant(content, tmp_path, parses):
    path = tmp_path / 'a.json'
    path.write_text(json.dumps(content))
    assert read_categories(path) == CATEGORIES and len(parses) == 1


def test_the_word_in_a_text_is_no_entry(tmp_path, parses):
    content = dict(info='"categories": [3]', categories=CATEGORIES, x='categories')
    path = tmp_path / 'a.json'
    path.write_text(json.dumps(content))
    assert read_categories(str(path)) == CATEGORIES and not parses


def test_long_lists_of_categories(tmp_path, parses):
    """More than is read at first: the whole file is parsed. Cut inside a character, too."""
    path = tmp_path / 'a.json'
    names = [dict(id=i, name='é' * 100) for i in range(15000)]
    text = json.dumps(dict(categories=names), ensure_ascii=False)
    path.write_text(text, encoding='utf-8')
    assert path.stat().st_size > 2_000_000
    assert read_categories(path) == names and len(parses) == 1
    names = names[: len(names) // 2]
    path.write_text(json.dumps(dict(categories=names), ensure_ascii=False), encoding='utf-8')
    assert path.stat().st_size > 1_500_000
    assert read_categories(path) == names and len(parses) == 1


@pytest.mark.parametrize(
    'text, kind',
    [
        ('', 'ValueError'),
        ('{"categories": [', 'JSONDecodeError'),
        ('{"images": []}', 'KeyError'),
        ('[1, 2]', 'TypeError'),
    ],
)
def test_files_without_categories(text, kind, tmp_path):
    path = tmp_path / 'a.json'
    path.write_text(text)
    with pytest.raises(ArgumentError) as caught:
        read_categories(path)
    assert str(caught.value).startswith(f'annotation file {path} is not in COCO format ({kind}: ')
    assert str(caught.value).endswith('; it needs images, annotations and categories')


def test_the_class_counts_of_all_heads():
    model = dict(
        a=dict(num_classes=3),
        b=[dict(num_classes=5), dict(num_classes=3)],
        c=dict(num_classes=None),
    )
    assert head_class_counts(Config(dict(model=model))) == {3, 5}
    assert head_class_counts(Config(dict(model=dict(type='x')))) == set()
    assert head_class_counts(Config({})) == set()
