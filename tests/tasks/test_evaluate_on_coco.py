"""A detector evaluated on somebody's folder: which images, and classes by their names."""

import json
from pathlib import Path

import pytest
from mmdet.registry import DATASETS, METRICS
from mmengine.registry import init_default_scope

from fastervit_mm.config.data_sets import check_data_files
from fastervit_mm.errors import ArgumentError, FileError
from fastervit_mm.tasks.use_folder import evaluate_on, train_on
from tests.tasks.folders import (
    CLASSES,
    SHAPES,
    coco_content,
    config,
    write_coco,
    write_coco2017,
    write_image,
)


@pytest.fixture
def cfg(tmp_path):
    return config(SHAPES, tmp_path / 'work')


def read(cfg, loader='test_dataloader'):
    """The data set that mmdet builds."""
    init_default_scope('mmdet')
    dataset = cfg[loader].dataset
    return DATASETS.build(dict(dataset, filter_cfg=None, pipeline=[]))


def objects(cfg) -> dict[str, list[int]]:
    """Class indices of the objects that are evaluated, by their image's name."""
    dataset = read(cfg)
    return {
        Path(dataset[i]['img_path']).name: [o['bbox_label'] for o in dataset[i]['instances']]
        for i in range(len(dataset))
    }


def test_ids_and_order_are_those_of_the_model(tmp_path, cfg):
    """Two of the model's classes, in another order, with ids of their own."""
    folder = tmp_path / 'mine'
    content = coco_content(4, ('triangle', 'square'), ids=(3, 20))
    write_coco(folder / 'labels.json', content, folder / 'photos')
    lines = evaluate_on(cfg, folder)
    assert lines[1:] == [
        'evaluation: 4 images',
        '  evaluation: all images of labels.json',
        '2 classes: triangle, square',
    ]
    assert objects(cfg) == {'0.jpg': [2], '1.jpg': [1], '2.jpg': [2], '3.jpg': [1]}
    assert read(cfg).metainfo['classes'] == CLASSES
    assert {head.num_classes for head in cfg.model.roi_head.bbox_head} == {3}
    check_data_files(cfg, ('test_dataloader',))


def test_the_metric_gives_the_truth_full_marks(tmp_path, cfg):
    """Mmdet's own, of boxes; the class that the folder lacks does not count."""
    folder = tmp_path / 'mine'
    content = coco_content(4, ('triangle', 'square'), ids=(3, 20))
    write_coco(folder / 'labels.json', content, folder / 'photos')
    evaluate_on(cfg, folder)
    cfg.test_dataloader.dataset.pipeline.pop(1)  # the resize
    init_default_scope('mmdet')
    dataset = DATASETS.build(cfg.test_dataloader.dataset)
    metric = METRICS.build(dict(cfg.test_evaluator, metric='bbox', classwise=True))
    metric.dataset_meta = dataset.metainfo
    for i in range(len(dataset)):
        sample = dataset[i]['data_samples']
        sample.pred_instances = sample.gt_instances.clone()
        sample.pred_instances.bboxes = sample.gt_instances.bboxes.tensor
        del sample.pred_instances.masks, sample.gt_instances
        sample.pred_instances.scores = sample.pred_instances.labels * 0 + 0.9
        metric.process({}, [sample.to_dict()])
    found = metric.evaluate(len(dataset))
    assert found['coco/bbox_mAP'] == 1
    assert (found['coco/triangle_precision'], found['coco/square_precision']) == (1, 1)


def test_classes_that_the_model_does_not_know(tmp_path, cfg):
    content = coco_content(3, ('star', 'circle', 'moon'))
    folder = write_coco2017(tmp_path / 'mine', content, content)
    with pytest.raises(ArgumentError) as caught:
        evaluate_on(cfg, folder)
    assert str(caught.value) == (
        f'{folder} has classes that the model does not know: star, moon; its 3 classes are '
        'circle, square, triangle'
    )


def test_long_lists_of_classes_are_cut(tmp_path, cfg):
    cfg.test_dataloader.dataset.metainfo = dict(classes=tuple(f'c{i}' for i in range(21)))
    content = coco_content(2, ('star', 'c1'))
    folder = write_coco2017(tmp_path / 'mine', content, content)
    with pytest.raises(ArgumentError, match=r'star; its 21 classes are c0, .*, c19 …$'):
        evaluate_on(cfg, folder)


def test_the_validation_is_evaluated_where_there_is_one(tmp_path, cfg):
    """Its images alone are read: those to train on are not even there."""
    folder = tmp_path / 'mine'
    write_coco(folder / 'train.json', coco_content(5, ('circle', 'square')), folder / 'train')
    write_coco(folder / 'val.json', coco_content(2, ('square', 'circle')), folder / 'val')
    for path in (folder / 'train').iterdir():
        path.unlink()
    lines = evaluate_on(cfg, folder)
    assert '  evaluation: all images of val.json' in lines
    assert objects(cfg) == {'0.jpg': [1], '1.jpg': [0]}


@pytest.mark.parametrize('name', ['train', 'trainval', 'instances_train2017'])
def test_what_training_holds_out_is_evaluated(name, tmp_path, cfg):
    folder = tmp_path / 'mine'
    write_coco(folder / f'{name}.json', coco_content(10, CLASSES), folder / 'photos')
    train_on(cfg, folder)
    validated = read(cfg, 'val_dataloader')
    held_out = {Path(validated[i]['img_path']).name for i in range(len(validated))}
    again = config(SHAPES, tmp_path / 'work')
    lines = evaluate_on(again, folder)
    assert 'evaluation: 10 images' in lines
    note = f'{len(held_out)} of the images of {name}.json, the share that training holds out'
    assert f'  evaluation: {note}' in lines
    assert set(objects(again)) == held_out and held_out


@pytest.mark.parametrize('name', ['labels', 'val', 'restrained'])
def test_all_images_of_a_file_that_is_not_for_training(name, tmp_path, cfg):
    folder = tmp_path / 'mine'
    write_coco(folder / f'{name}.json', coco_content(5, CLASSES), folder / 'photos')
    assert f'  evaluation: all images of {name}.json' in evaluate_on(cfg, folder)
    assert len(objects(cfg)) == 5


def test_the_work_dirs_training_files_stay(tmp_path, cfg):
    """An evaluation in the same work dir writes a file of its own; only its loader changes."""
    folder = tmp_path / 'mine'
    write_coco(folder / 'train.json', coco_content(10, ('cat', 'dog')), folder / 'photos')
    train_on(cfg, folder)
    data = tmp_path / 'work/data'
    before = {path.name: path.read_text() for path in data.iterdir()}
    validation = cfg.val_dataloader.dataset.ann_file
    other = tmp_path / 'other'
    write_coco(other / 'labels.json', coco_content(3, ('dog', 'cat')), other / 'photos')
    evaluate_on(cfg, other)
    assert cfg.val_dataloader.dataset.ann_file == cfg.val_evaluator.ann_file == validation
    assert cfg.test_dataloader.dataset.ann_file == cfg.test_evaluator.ann_file
    assert cfg.test_evaluator.ann_file == str(data / 'test.json')
    assert objects(cfg) == {'0.jpg': [1], '1.jpg': [0], '2.jpg': [1]}
    after = {path.name: path.read_text() for path in data.iterdir()}
    assert set(after) == {*before, 'test.json'}
    assert {name: after[name] for name in before} == before


def test_photographs_annotated_as_stored_are_read_so(tmp_path, cfg):
    from PIL import Image

    folder = tmp_path / 'mine'
    content = coco_content(2, CLASSES)
    exif = Image.Exif()
    exif[0x0112] = 6
    (folder / 'photos').mkdir(parents=True)
    for i in range(2):
        Image.new('RGB', (48, 36)).save(folder / f'photos/{i}.jpg', exif=exif)
    (folder / 'labels.json').write_text(json.dumps(content))
    evaluate_on(cfg, folder)
    assert cfg.test_dataloader.dataset.pipeline[0].color_type == 'color_ignore_orientation'


def test_a_config_without_class_names(tmp_path, cfg):
    cfg.test_dataloader.dataset.metainfo = None
    cfg.test_dataloader.dataset.type = 'BaseDetDataset'
    folder = tmp_path / 'mine'
    write_coco(folder / 'labels.json', coco_content(2, CLASSES), folder / 'photos')
    message = r'^the config names no classes \(test_dataloader.dataset.metainfo\)$'
    with pytest.raises(ArgumentError, match=message):
        evaluate_on(cfg, folder)


def test_folders_that_cannot_be_used(tmp_path, cfg):
    with pytest.raises(FileError, match='^--data nowhere is not a folder$'):
        evaluate_on(cfg, Path('nowhere'))
    (tmp_path / 'empty').mkdir()
    with pytest.raises(ArgumentError, match='has no annotation file in COCO format'):
        evaluate_on(cfg, tmp_path / 'empty')
    folder = tmp_path / 'one'
    write_coco(folder / 'train.json', coco_content(1, CLASSES), folder / 'photos')
    with pytest.raises(ArgumentError, match='has 1 usable image with annotations'):
        evaluate_on(cfg, folder)
    write_image(folder / 'photos/0.jpg')
    (folder / 'train.json').rename(folder / 'labels.json')
    evaluate_on(cfg, folder)
