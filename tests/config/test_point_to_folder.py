"""A config pointed at another folder of its own layout, and the classes of annotation files."""

import json

import pytest
from mmengine.config import Config

from fastervit_mm.config.data_sets import point_to_folder, read_category_names
from fastervit_mm.errors import ArgumentError


def pointed(root, truth):
    """Data sets below ``root`` and evaluators of ``truth``, pointed at the folder new."""
    dataset = dict(type='CocoDataset', data_root=root, ann_file='a.json')
    loader = dict(dataset=dict(type='RepeatDataset', times=2, dataset=dataset))
    evaluator = dict(type='CocoMetric', ann_file=truth, metric=['bbox'])
    cfg = Config(dict(train_dataloader=loader, test_dataloader=loader, test_evaluator=[evaluator]))
    point_to_folder(cfg, 'new')
    roots = [cfg[f'{k}_dataloader'].dataset.dataset.data_root for k in ('train', 'test')]
    assert roots == ['new', 'new']
    assert cfg.test_evaluator[0].type == 'CocoMetric' and cfg.test_evaluator[0].metric == ['bbox']
    return cfg.test_evaluator[0].ann_file


def test_files_below_the_root_follow():
    assert pointed('data/coco/', 'data/coco/annotations/b.json') == 'new/annotations/b.json'
    assert pointed('data/coco', 'data/coco/annotations/b.json') == 'new/annotations/b.json'
    assert pointed('data/coco/', 'data/coco//b.json') == 'new/b.json'
    assert pointed('data/cocX', 'data/cocX/Xb.json') == 'new/Xb.json'


def test_other_files_stay():
    assert pointed('data/coco', 'data/coco2017/b.json') == 'data/coco2017/b.json'
    assert pointed('', 'work/b.json') == 'work/b.json'
    assert pointed(None, 'work/b.json') == 'work/b.json'


def test_names_come_in_the_order_of_the_file(tmp_path):
    path = tmp_path / 'a.json'
    path.write_text(json.dumps(dict(categories=[dict(id=9, name='b'), dict(id=1, name='a')])))
    assert read_category_names(path) == ['b', 'a']
    path.write_text('{"categories": [{"id": 1}, "cat"]}')
    with pytest.raises(ArgumentError) as caught:
        read_category_names(path)
    assert str(caught.value) == (
        f"annotation file {path} is not in COCO format: a category is 'cat', not an object with id "
        'and name'
    )
