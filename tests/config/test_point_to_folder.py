"""A config pointed at another folder of its own layout."""

from mmengine.config import Config

from fastervit_mm.config.data_sets import point_to_folder


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


def test_other_files_stay():
    assert pointed('data/coco', 'data/coco2017/b.json') == 'data/coco2017/b.json'
    assert pointed('', 'work/b.json') == 'work/b.json'
    assert pointed(None, 'work/b.json') == 'work/b.json'
