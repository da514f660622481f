"""``--data`` with annotation files that fit a detector's config: used as they are, or not, and why."""

import json
import re

import pytest
from mmdet.datasets import CocoDataset
from mmdet.registry import DATASETS
from mmengine.registry import init_default_scope

from fastervit_mm.config.data_sets import check_data_files
from fastervit_mm.errors import ArgumentError
from fastervit_mm.tasks import task_of
from fastervit_mm.tasks.use_folder import evaluate_on, train_on
from tests.helpers import ROOT
from tests.tasks.folders import (
    CLASSES,
    SHAPES,
    coco_content,
    config,
    write_coco2017,
    write_image,
)

TRAINING = ('train_dataloader', 'val_dataloader')
COCO = ROOT / 'configs/detection/cascade_fastervit_2_3x.py'


@pytest.fixture
def cfg(tmp_path):
    return config(SHAPES, tmp_path / 'work')


@pytest.fixture
def folder(tmp_path):
    """Three images to train on, two to validate on."""
    return write_coco2017(tmp_path / 'mine', coco_content(3), coco_content(2))


@pytest.fixture
def no_image_is_opened(monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError(f'opened {args}')

    for name in ('PIL.Image.open', 'cv2.imread', 'cv2.imdecode'):
        monkeypatch.setattr(name, refuse)


def class_indices(dataset) -> list[int]:
    """Of the objects that mmdet reads for a data set's config, image by image."""
    init_default_scope('mmdet')
    built = DATASETS.build(dict(dataset, filter_cfg=None, pipeline=[]))
    return [o['bbox_label'] for i in range(len(built)) for o in built[i]['instances']]


def test_a_hundred_thousand_images_are_not_looked_at(tmp_path, no_image_is_opened):
    """COCO's size and classes; of the images, only the first is there."""
    names = CocoDataset.METAINFO['classes']
    ids = [3 * i + 1 for i in range(80)]
    folder = tmp_path / 'coco'
    for split, count in (('train2017', 100_000), ('val2017', 5_000)):
        content = coco_content(count, names, ids)
        path = folder / f'annotations/instances_{split}.json'
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content))
        (folder / split).mkdir()
        (folder / split / '0.jpg').touch()
    before = {p: p.stat().st_mtime_ns for p in folder.rglob('*.json')}
    cfg = config(COCO, tmp_path / 'work')
    (line,) = train_on(cfg, folder)
    assert re.fullmatch(
        rf'--data {folder} fits the config: used as it is \(looked at in \d+\.\d s\)', line
    )
    check_data_files(cfg, TRAINING)
    assert before == {p: p.stat().st_mtime_ns for p in folder.rglob('*.json')}
    assert not (tmp_path / 'work').exists()
    assert cfg.train_dataloader.dataset.data_root == str(folder)
    assert cfg.model.roi_head.mask_head.num_classes == 80
    assert 'metainfo' not in cfg.train_dataloader.dataset


def test_every_loader_and_evaluator_reads_the_folder(cfg, folder, no_image_is_opened):
    train_on(cfg, folder)
    for loader, split in (('train', 'train2017'), ('val', 'val2017'), ('test', 'val2017')):
        dataset = cfg[f'{loader}_dataloader'].dataset
        assert dataset.data_root == str(folder)
        assert dataset.ann_file == f'annotations/instances_{split}.json'
    truth = str(folder / 'annotations/instances_val2017.json')
    assert cfg.val_evaluator.ann_file == cfg.test_evaluator.ann_file == truth
    assert class_indices(cfg.train_dataloader.dataset) == [0, 1, 2]


def test_classes_keep_the_numbers_of_the_config(tmp_path, cfg):
    """Mmdet would number them in the order of the file; the config itself may be tested later."""
    content = coco_content(3, ('triangle', 'circle', 'square'), ids=(9, 4, 7))
    folder = write_coco2017(tmp_path / 'mine', content, content)
    line, *_ = train_on(cfg, folder)
    assert '(the annotation files have their categories in another order)' in line
    for loader in ('train', 'val', 'test'):
        dataset = cfg[f'{loader}_dataloader'].dataset
        assert tuple(dataset.metainfo.classes) == CLASSES
        assert class_indices(dataset) == [2, 0, 1]  # triangle, circle, square
    check_data_files(cfg, TRAINING)


def test_two_files_of_two_orders_are_fitted(tmp_path, cfg):
    val = coco_content(3, ('square', 'circle', 'triangle'), ids=(2, 1, 3))
    folder = write_coco2017(tmp_path / 'mine', coco_content(3), val)
    line, *_ = train_on(cfg, folder)
    assert '(the annotation files have their categories in another order)' in line
    assert tuple(cfg.train_dataloader.dataset.metainfo.classes) == CLASSES
    assert class_indices(cfg.val_dataloader.dataset) == [1, 0, 2]


def test_a_model_keeps_its_order_in_an_evaluation(tmp_path, cfg):
    """Its classes have numbers already; they are not those of the file."""
    content = coco_content(3, ('triangle', 'circle', 'square'), ids=(9, 4, 7))
    folder = write_coco2017(tmp_path / 'mine', content, content)
    line, *_ = evaluate_on(cfg, folder)
    assert 'in another order' in line
    assert class_indices(cfg.test_dataloader.dataset) == [2, 0, 1]
    assert tuple(cfg.test_dataloader.dataset.metainfo.classes) == CLASSES
    check_data_files(cfg, ('test_dataloader',))


def test_only_what_is_evaluated_need_be_there(tmp_path, cfg, folder, no_image_is_opened):
    (folder / 'annotations/instances_train2017.json').unlink()
    assert 'used as it is' in evaluate_on(cfg, folder)[0]
    assert class_indices(cfg.test_dataloader.dataset) == [0, 1]


def reason(cfg, folder):
    return task_of(cfg).misfit(cfg, folder, TRAINING, None)


def rewrite(folder, change, split='train2017'):
    path = folder / f'annotations/instances_{split}.json'
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def test_a_folder_that_fits(cfg, folder):
    assert reason(cfg, folder) is None and task_of(cfg).misfit(cfg, folder, TRAINING, None) is None
    assert cfg.train_dataloader.dataset.data_root == 'data/shapes/coco/'  # not pointed at it


@pytest.mark.parametrize('split', ['train2017', 'val2017'])
def test_files_that_are_missing(split, cfg, folder):
    (folder / split / '0.jpg').unlink()
    assert reason(cfg, folder) == f'0.jpg of annotations/instances_{split}.json is not in {split}/'
    (folder / f'annotations/instances_{split}.json').unlink()
    assert reason(cfg, folder) == f'annotations/instances_{split}.json is not there'
    assert task_of(cfg).misfit(cfg, folder, TRAINING, None) is not None


@pytest.mark.parametrize('split', ['train2017', 'val2017'])
def test_other_classes(split, cfg, folder):
    rewrite(folder, lambda c: c['categories'].append(dict(id=9, name='star')), split)
    assert reason(cfg, folder) == f'annotations/instances_{split}.json has other classes'
    rewrite(folder, lambda c: c.update(categories=c['categories'][:2]), split)
    assert reason(cfg, folder) == f'annotations/instances_{split}.json has other classes'
    rewrite(folder, lambda c: c['categories'].append(dict(id=8, name='circle')), split)
    assert reason(cfg, folder) == f'annotations/instances_{split}.json has other classes'


def test_heads_of_another_count(cfg, folder):
    cfg.model.roi_head.mask_head.num_classes = 5
    assert reason(cfg, folder) == (
        'the heads of the config are not for the 3 classes of annotations/instances_train2017.json'
    )


def test_what_is_no_annotation_file(cfg, folder):
    path = folder / 'annotations/instances_train2017.json'
    for text in ('{"images": []}', '', '{"categories": [3]}'):
        path.write_text(text)
        assert reason(cfg, folder) == f'{path.relative_to(folder)} is not in COCO format'


@pytest.mark.parametrize(
    'encoding', ['utf-8-sig', 'utf-16'], ids=['a byte order mark', 'another encoding']
)
def test_what_mmdet_could_not_parse_is_fitted(encoding, cfg, folder):
    """It opens the file as UTF-8; read by us and written again, it is."""
    path = folder / 'annotations/instances_train2017.json'
    path.write_bytes(path.read_text().encode(encoding))
    reason = task_of(cfg).misfit(cfg, folder, TRAINING, None)
    assert reason == (
        'annotations/instances_train2017.json begins with a byte order mark, or is not UTF-8'
    )
    train_on(cfg, folder)
    assert class_indices(cfg.train_dataloader.dataset) == [0, 1, 2]


def test_a_file_name_that_cannot_be_parsed_is_no_name(cfg, folder):
    path = folder / 'annotations/instances_train2017.json'
    path.write_text(path.read_text().replace('"0.jpg"', '"\\q.jpg"'))
    reason = task_of(cfg).misfit(cfg, folder, TRAINING, None)
    assert reason == 'annotations/instances_train2017.json names no image'


def test_no_image_at_all(cfg, folder):
    rewrite(folder, lambda c: c.update(images=[]))
    assert reason(cfg, folder) == 'annotations/instances_train2017.json names no image'


def test_names_in_other_alphabets(cfg, folder):
    """The first file name is read as JSON states it."""
    write_image(folder / 'train2017/Größe "1"\\ü.jpg')
    rewrite(folder, lambda c: c['images'][0].update(file_name='Größe "1"\\ü.jpg'))
    assert reason(cfg, folder) is None


def test_configs_that_name_no_folder(cfg, folder):
    path = str(folder / 'annotations/instances_train2017.json')
    cfg.train_dataloader.dataset.ann_file = path
    assert reason(cfg, folder) == f'its annotation file {path} is not below a data_root'
    cfg.train_dataloader.dataset.ann_file = ''
    assert reason(cfg, folder) == 'its CocoDataset reads no annotation file of COCO'
    cfg.train_dataloader.dataset.pop('data_root')
    assert reason(cfg, folder) == 'the data sets of train_dataloader have no data_root'


def test_an_evaluator_of_another_file(cfg, folder):
    cfg.val_evaluator.ann_file = 'elsewhere/truth.json'
    assert reason(cfg, folder) == "the evaluator's ann_file is not that of val_dataloader"


def test_a_config_fitted_to_one_folder_takes_another(tmp_path, cfg, folder):
    """Its data_root is empty; that is no beginning of every path."""
    other = write_coco2017(tmp_path / 'other', coco_content(4), coco_content(1))
    (other / 'train2017').rename(other / 'photos')
    assert 'instances_train2017.json is not in train2017/' in train_on(cfg, other)[0]
    assert cfg.train_dataloader.dataset.data_root == ''
    line, *_ = train_on(cfg, folder)
    assert 'is not below a data_root' in line
    assert cfg.val_evaluator.type == 'CocoMetric'
    assert len(class_indices(cfg.train_dataloader.dataset)) == 3


def test_categories_in_another_order_are_said_without_a_folder(cfg, folder):
    """Names would be wrong where the data set is read as the config says."""
    content = coco_content(3, ('circle', 'triangle', 'square'))
    write_coco2017(folder, content, content)
    for loader in ('train', 'val', 'test'):
        cfg[f'{loader}_dataloader'].dataset.data_root = str(folder)
    message = r'in another order .*\(number 2 is triangle in the first, square in the second\)'
    with pytest.raises(ArgumentError, match=message):
        check_data_files(cfg, TRAINING)
