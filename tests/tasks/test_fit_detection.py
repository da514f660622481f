"""A detector's config fitted to a folder: files, classes, class counts and evaluators."""

import json
from pathlib import Path

import pytest
from mmengine.config import Config

from fastervit_mm.data.hold_out import hold_out
from fastervit_mm.errors import ArgumentError
from fastervit_mm.training.schedule import training_images
from tests.data.folders import (
    BLUE,
    RED,
    coco_content,
    colours,
    detector,
    fit,
    fit_to_folder,
    innermost,
    read,
    segmentor,
    thing,
    write_ade,
    write_coco,
    written,
)
from tests.helpers import ROOT

REAL = ROOT / 'configs/detection/cascade_fastervit_2_3x.py'


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """Red images to train on, blue ones of the same names to validate on; three and two."""
    folder = tmp_path_factory.mktemp('data') / 'mine'
    write_coco(folder, content=coco_content(3), colour=RED)
    return write_coco(folder, 'val', coco_content(2), colour=BLUE)


@pytest.fixture(scope='module')
def fitted(folder):
    return fit(detector(), folder)


def test_each_loader_reads_its_own_images(fitted, folder):
    cfg, _ = fitted
    assert [len(read(cfg, s)) for s in ('train', 'val', 'test')] == [3, 2, 2]
    assert [colours(read(cfg, s)) for s in ('train', 'val', 'test')] == [{RED}, {BLUE}, {BLUE}]
    for split, name in (('train', 'train'), ('val', 'val'), ('test', 'val')):
        dataset = innermost(cfg, split)
        assert dataset['data_prefix'] == dict(img=str(folder / name))
        assert dataset['ann_file'] == str(folder.parent / 'work' / 'data' / f'{name}.json')
        assert dataset['data_root'] == ''
        assert dataset['type'] == 'CocoDataset' and len(dataset['pipeline']) == 3


def test_the_evaluators_compare_with_the_validation(fitted):
    cfg, _ = fitted
    truth = innermost(cfg, 'val')['ann_file']
    assert cfg.test_evaluator == dict(type='CocoMetric', ann_file=truth)
    assert cfg.val_evaluator == [
        dict(type='CocoMetric', ann_file=truth),
        dict(type='DumpDetResults', out_file_path='out.pkl'),
    ]


def test_the_metric_gives_the_truth_full_marks(fitted):
    """Mmdet's own metric, on what it reads itself for the validation."""
    from mmdet.registry import METRICS

    cfg, _ = fitted
    metric = METRICS.build(dict(cfg.test_evaluator))
    samples = read(cfg, 'test')
    metric.dataset_meta = dict(classes=('cat', 'dog'))
    for sample in samples:
        truth = sample['data_samples']
        truth.pred_instances = truth.gt_instances.clone()
        truth.pred_instances.bboxes = truth.gt_instances.bboxes.tensor
        del truth.pred_instances.masks, truth.gt_instances
        truth.pred_instances.scores = truth.pred_instances.labels * 0 + 0.9
        metric.process({}, [truth.to_dict()])
    assert metric.evaluate(len(samples))['coco/bbox_mAP'] == 1


def test_classes_and_colours_in_every_data_set(fitted):
    cfg, _ = fitted
    for split in ('train', 'val', 'test'):
        assert innermost(cfg, split)['metainfo'] == dict(
            classes=('cat', 'dog'), palette=[(242, 60, 60), (60, 113, 242)]
        )


def test_every_head_counts_the_classes(fitted):
    cfg, _ = fitted
    assert [head.num_classes for head in cfg.model.roi_head.bbox_head] == [2, 2]
    assert cfg.model.roi_head.mask_head.num_classes == 2
    assert cfg.model.aux_head.num_classes is None  # not a number before


def test_the_wrapper_around_a_data_set_stays(fitted):
    cfg, _ = fitted
    wrapper = cfg.train_dataloader.dataset
    assert set(wrapper) == {'type', 'times', 'dataset'} and wrapper.times == 2
    assert training_images(cfg) == 6


def test_what_was_found_comes_back(fitted):
    _, found = fitted
    assert [(f.name, len(f.sizes), f.lines()) for f in found] == [
        ('training', 3, []),
        ('validation', 2, []),
    ]


def test_only_whole_files_are_left_in_the_work_dir(fitted, folder):
    files = sorted(p.name for p in (folder.parent / 'work' / 'data').iterdir())
    assert files == ['train.json', 'val.json', 'written_by_train.txt']


def test_the_config_works_from_anywhere(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(folder.parent)
    cfg, _ = fit(detector(), Path('mine'), Path('here'))
    monkeypatch.chdir(tmp_path)
    assert colours(read(cfg, 'val')) == {BLUE}
    assert innermost(cfg)['ann_file'] == str(folder.parent / 'here' / 'data' / 'train.json')


def test_loaders_and_evaluators_may_be_missing(folder, tmp_path):
    """Those that are there are fitted all the same."""
    cfg = detector()
    cfg.train_dataloader = cfg.val_evaluator = None
    cfg.pop('val_dataloader')
    fit(cfg, folder, tmp_path)
    assert cfg.train_dataloader is None and 'val_dataloader' not in cfg
    truth = str(tmp_path / 'data' / 'val.json')
    assert innermost(cfg, 'test')['ann_file'] == cfg.test_evaluator.ann_file == truth


def test_a_work_dir_inside_the_folder_is_no_data(tmp_path):
    folder = write_coco(tmp_path / 'mine', 'a', coco_content(10))
    for _ in range(2):
        cfg, (findings,) = fit(detector(), folder, folder / 'work')
        assert len(written(cfg)['images']) == 8 and len(findings.sizes) == 10


def test_a_second_folder_takes_the_place_of_the_first(folder, tmp_path):
    cfg, _ = fit(detector(), folder, tmp_path / 'work')
    categories = {1: 'fox', 2: 'owl', 3: 'yak'}
    other = write_coco(tmp_path / 'other', content=coco_content(4, categories=categories))
    fit(cfg, other, tmp_path / 'work')
    assert innermost(cfg)['metainfo'].classes == ('fox', 'owl', 'yak')
    assert cfg.model.roi_head.mask_head.num_classes == 3 and len(read(cfg)) == 3


def test_epochs_count_what_the_library_goes_through(tmp_path):
    """Mmdet leaves out images without objects where the config asks for that."""
    content = coco_content(4, [thing(10, 7), thing(20, 90)])
    folder = write_coco(write_coco(tmp_path / 'mine', content=content), 'val')
    cfg, _ = fit(detector(), folder)
    assert training_images(cfg) == 8  # each image twice
    innermost(cfg)['filter_cfg'] = dict(filter_empty_gt=True)
    assert training_images(cfg) == 4


def test_scenes_are_counted_too(tmp_path):
    folder = write_ade(tmp_path / 'mine', maps={c: [[0, 1], [1, 1]] for c in 'abcdefg'})
    assert training_images(fit(segmentor(), folder)[0]) == 7 - len(hold_out('abcdefg'))


def test_a_published_config_is_fitted_everywhere(folder, tmp_path):
    cfg, _ = fit(Config.fromfile(REAL), folder, tmp_path)
    assert '"num_classes": 80' not in json.dumps(cfg.to_dict())
    assert {head.num_classes for head in cfg.model.roi_head.bbox_head} == {2}
    assert cfg.model.roi_head.mask_head.num_classes == 2
    for split in ('train', 'val', 'test'):
        assert innermost(cfg, split)['metainfo'].classes == ('cat', 'dog')
        assert 'coco' not in innermost(cfg, split)['ann_file']
        assert innermost(cfg, split)['data_root'] == ''
    assert cfg.val_evaluator.ann_file == cfg.test_evaluator.ann_file
    assert cfg.val_evaluator.ann_file == innermost(cfg, 'val')['ann_file']
    assert cfg.val_evaluator.metric == ['bbox', 'segm']


def test_a_folder_without_annotations_says_what_a_detector_needs(tmp_path):
    folder = write_ade(tmp_path / 'mine')
    with pytest.raises(ArgumentError) as caught:
        fit_to_folder(detector(), folder, tmp_path)
    assert str(caught.value) == (
        f'{folder} has no annotation file in COCO format (JSON with images, annotations and '
        'categories), which a detector needs'
    )
