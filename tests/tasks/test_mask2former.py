"""Mask2Former on folders: class counts and their weights, and COCO's panoptic files, as they are."""

import json
import sys
import types

import numpy as np
import pytest
from mmengine.config import Config
from mmengine.registry import DATASETS, init_default_scope
from PIL import Image

from fastervit_mm.config.data_sets import check_data_files, head_class_counts
from fastervit_mm.errors import ArgumentError
from fastervit_mm.tasks import task_of
from fastervit_mm.tasks.use_folder import evaluate_on, train_on
from tests.configs.resolved import read
from tests.data.folders import detector, fit, segmentor, write_ade, write_coco, write_image
from tests.helpers import call_tool

PANOPTIC = 'detection/mask2former_fastervit_2_50e_panoptic'
MAPS = {name: [[0, 1], [2, 2]] for name in 'abc'}
SEMANTIC = 'segmentation/mask2former_fastervit_2_160k'


def test_a_segmentor_follows_the_folders_classes(tmp_path):
    """It has a weight for each class, and one for "no object"."""
    folder = write_ade(tmp_path / 'mine', maps=MAPS)
    cfg = segmentor()
    cfg.model = read(SEMANTIC).model
    cfg, _ = fit(cfg, folder)
    head = cfg.model.decode_head
    assert head.num_classes == 3 and head.loss_cls.class_weight == [1.0, 1.0, 1.0, 0.1]


def test_a_detector_of_things_follows_the_folders_classes(tmp_path):
    cfg = detector()
    cfg.model = read(PANOPTIC).model
    for head in (cfg.model.panoptic_head, cfg.model.panoptic_fusion_head):
        head.num_stuff_classes = 0
    cfg.model.panoptic_head.loss_cls.class_weight = [1.0] * 80 + [0.1]
    cfg.val_dataloader.dataset.data_prefix.seg = 'annotations/panoptic_val2017/'
    assert head_class_counts(cfg) == {80}
    cfg, _ = fit(cfg, write_coco(write_coco(tmp_path / 'mine'), 'val'))
    for head in (cfg.model.panoptic_head, cfg.model.panoptic_fusion_head):
        assert (head.num_things_classes, head.num_stuff_classes) == (2, 0)
    assert cfg.model.panoptic_head.loss_cls.class_weight == [1.0, 1.0, 0.1]
    assert head_class_counts(cfg) == {2}
    assert list(cfg.val_dataloader.dataset.data_prefix) == ['img']


def test_weights_of_the_configs_own_classes_are_kept(tmp_path):
    folder = write_ade(tmp_path / 'mine', maps=MAPS)
    cfg = segmentor()
    loss = dict(class_weight=[1.0, 2.0, 3.0, 0.1])
    cfg.model = dict(decode_head=dict(type='Head', num_classes=3, loss_cls=loss))
    assert fit(cfg, folder)[0].model.decode_head.loss_cls == loss
    cfg = segmentor()
    cfg.model = dict(decode_head=dict(type='Head', num_classes=4, loss_cls=dict(loss)))
    cfg.model.decode_head.loss_cls.class_weight = [1.0, 2.0, 3.0, 4.0, 0.1]
    with pytest.raises(ArgumentError, match='class_weight of the Head is not the same') as caught:
        fit(cfg, folder)
    assert '3 classes of the folder' in str(caught.value) and '\n' not in str(caught.value)


# -- panoptic data ----------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path):
    """Two images of 40×36 px: the left half is a person (a thing), the right one wall (stuff)."""
    init_default_scope('mmdet')
    meta = DATASETS.get('mmdet.CocoPanopticDataset').METAINFO
    names = meta['classes']
    categories = [dict(id=i, name=n, isthing=int(i <= 80)) for i, n in enumerate(names, start=1)]
    wall = names.index('wall-wood') + 1
    segments = [
        dict(id=258, category_id=1, area=720, bbox=[0, 0, 20, 36], iscrowd=0),
        dict(id=70000, category_id=wall, area=720, bbox=[20, 0, 20, 36], iscrowd=0),
    ]
    for split in ('train2017', 'val2017'):
        images, annotations = [], []
        for i in (1, 2):
            write_image(tmp_path / split / f'{i}.jpg', (40, 36))
            images.append(dict(id=i, file_name=f'{i}.jpg', width=40, height=36))
            annotations.append(dict(image_id=i, file_name=f'{i}.png', segments_info=segments))
            ids = np.full((36, 40), 258)
            ids[:, 20:] = 70000
            colours = np.stack([ids % 256, ids // 256 % 256, ids // 65536], 2).astype(np.uint8)
            path = tmp_path / 'annotations' / f'panoptic_{split}' / f'{i}.png'
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(colours).save(path)
        content = dict(images=images, annotations=annotations, categories=categories)
        (tmp_path / 'annotations' / f'panoptic_{split}.json').write_text(json.dumps(content))
    return tmp_path


@pytest.fixture
def panopticapi(monkeypatch):
    """What mmdet takes from that package to read: ids from colours, by COCO's definition."""
    package, utils = types.ModuleType('panopticapi'), types.ModuleType('panopticapi.utils')
    package.__spec__ = object()
    utils.rgb2id = lambda colours: colours.astype(int) @ [1, 256, 65536]
    package.utils = utils
    monkeypatch.setitem(sys.modules, 'panopticapi', package)
    monkeypatch.setitem(sys.modules, 'panopticapi.utils', utils)


def panoptic(folder) -> Config:
    cfg = read(PANOPTIC)
    cfg.work_dir = str(folder / 'work')
    return cfg


def test_a_panoptic_folder_is_used_as_it_is(folder, panopticapi):
    cfg = panoptic(folder)
    (line,) = train_on(cfg, folder)
    assert 'fits the config' in line
    check_data_files(cfg, ('train_dataloader', 'val_dataloader', 'test_dataloader'))
    assert [metric.ann_file for metric in cfg.val_evaluator] == [
        f'{folder}/annotations/panoptic_val2017.json',
        f'{folder}/annotations/instances_val2017.json',
    ]
    assert cfg.val_evaluator[0].seg_prefix == f'{folder}/annotations/panoptic_val2017/'
    cfg.val_dataloader.dataset.pipeline.pop(1)  # the size stays
    (sample, _) = DATASETS.build(cfg.val_dataloader.dataset)
    truth = sample['data_samples']
    stuff = truth.gt_sem_seg.sem_seg[0]
    assert truth.gt_instances.labels.tolist() == [0]
    assert truth.gt_instances.masks.masks[0, :, :20].all() and (stuff[:, :20] == 0).all()
    assert not truth.gt_instances.masks.masks[0, :, 20:].any()
    assert len(stuff[:, 20:].unique()) == 1 and 80 <= stuff[0, 20] < 133
    trained = DATASETS.build(cfg.train_dataloader.dataset)[0]['data_samples']
    assert max(trained.img_shape) <= 1024 and 'gt_sem_seg' in trained


def test_another_folder_is_refused_in_one_line(folder, tmp_path_factory):
    other = write_coco(tmp_path_factory.mktemp('other'))
    for use in (train_on, evaluate_on):
        with pytest.raises(ArgumentError, match='a panoptic config reads the files of') as caught:
            use(panoptic(folder), other)
        assert '\n' not in str(caught.value)


def test_without_panopticapi_nothing_starts(monkeypatch, tmp_path):
    monkeypatch.setattr('fastervit_mm.config.data_sets.find_spec', lambda name: None)
    output = call_tool('train.py', f'configs/{PANOPTIC}.py', '--work-dir', tmp_path, expect=1)
    (line,) = (line for line in output.splitlines() if 'panopticapi' in line)
    assert 'pip install git+https://github.com/cocodataset/panopticapi.git' in line
    assert 'Traceback' not in output


def test_panoptic_predictions_are_not_kept_as_objects(folder):
    with pytest.raises(ArgumentError, match='objects alone: give a .pkl file'):
        task_of(panoptic(folder)).keep_predictions(panoptic(folder), 'found.json')
