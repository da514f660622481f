"""What the numbers of label maps stand for: names, numbers, and label 0 as "unlabelled"."""

import json

import numpy as np
import pytest

from fastervit_mm.data.folder import read_folder
from fastervit_mm.errors import ArgumentError
from tests.data.folders import fit, innermost, read, segmentor, write_ade

CASES = [  # labels, classes.txt, --ignore-zero, classes, whether 0 is unlabelled
    ((0, 1, 2), None, None, ('class 0', 'class 1', 'class 2'), False),
    ((0, 1, 2), None, False, ('class 0', 'class 1', 'class 2'), False),
    ((0, 1, 2), None, True, ('class 1', 'class 2'), True),
    ((0, 3, 255), None, None, ('class 0', 'class 1', 'class 2', 'class 3'), False),
    ((0, 1, 2), ('a', 'b', 'c'), None, ('a', 'b', 'c'), False),
    ((0, 1, 2), ('a', 'b', 'c'), True, ('a', 'b', 'c'), True),
    ((0, 1, 2), ('a', 'b'), None, ('a', 'b'), True),  # as many as the highest label
    ((1, 2, 255), ('a', 'b'), None, ('a', 'b'), True),
    ((0, 1, 255), ('a', 'b'), None, ('a', 'b'), False),
    ((0, 1), ('a', 'b', 'c'), None, ('a', 'b', 'c'), False),
    ((0, 0), None, None, ('class 0',), False),
    ((255, 255), ('a',), None, ('a',), False),
]


@pytest.mark.parametrize('labels, named, said, classes, zero', CASES)
def test_names_numbers_and_zero(labels, named, said, classes, zero, tmp_path):
    """The library reads what NumPy makes of the label maps."""
    rows = np.resize(np.array(labels, np.uint8), (2, 3))
    folder = write_ade(tmp_path / 'mine', maps={'a': rows, 'b': rows}, classes=named)
    cfg, _ = fit(segmentor(), folder, ignore_zero=said)
    expected = rows.astype(int)
    if zero:
        expected = np.where((rows == 0) | (rows == 255), 255, expected - 1)
    for split in ('train', 'val', 'test'):
        dataset = innermost(cfg, split)
        assert tuple(dataset['metainfo'].classes) == classes
        assert dataset['reduce_zero_label'] is zero
        (sample,) = read(cfg, split)
        assert (sample['data_samples'].gt_sem_seg.data[0].numpy() == expected).all()
    assert cfg.model.decode_head.num_classes == len(classes)
    assert tuple(read_folder(folder, ignore_zero=said).classes) == classes


def test_a_published_config_ignores_zero_only_when_told(tmp_path):
    """ADE20K's own configs take 0 for unlabelled; every place follows the folder."""
    from mmengine.config import Config

    from tests.helpers import ROOT

    for said in (False, True):
        cfg = Config.fromfile(ROOT / 'configs/segmentation/upernet_fastervit_2_160k.py')
        fit(cfg, write_ade(tmp_path / 'mine'), ignore_zero=said)
        text = json.dumps(cfg.to_dict())
        assert f'"reduce_zero_label": {str(not said).lower()}' not in text
        assert text.count(f'"reduce_zero_label": {str(said).lower()}') >= 8
        for split in ('train', 'val', 'test'):
            (flag,) = (
                t.reduce_zero_label
                for t in innermost(cfg, split)['pipeline']
                if t.type == 'LoadAnnotations'
            )
            assert flag is said
        assert cfg.model.decode_head.num_classes == cfg.model.auxiliary_head.num_classes
        assert cfg.model.decode_head.num_classes == 3 - said


def test_the_highest_label_of_all_splits_counts(tmp_path):
    folder = write_ade(tmp_path / 'mine', maps={'a': [[0, 1], [1, 1]]}, classes=('a', 'b'))
    write_ade(folder, 'validation', maps={'b': [[0, 2], [1, 1]]}, classes=('a', 'b'))
    cfg, (train, val) = fit(segmentor(), folder)
    assert innermost(cfg)['reduce_zero_label'] is True
    assert train.instances == {'a': 3} and val.instances == {'a': 2, 'b': 1}
    assert train.problems == {'category without instances': ['b']} and val.problems == {}


def test_named_classes_are_counted_by_their_names(tmp_path):
    maps = {'a': [[0, 1], [2, 255]], 'b': [[2, 2], [2, 2]]}
    folder = write_ade(tmp_path / 'mine', maps=maps, classes=('sky', 'tree', 'road'))
    _, (findings,) = fit(segmentor(), folder)
    assert findings.instances == {'sky': 1, 'tree': 1, 'road': 5}
    _, (findings,) = fit(segmentor(), folder, ignore_zero=True)
    assert findings.instances == {'sky': 1, 'tree': 5}
    assert findings.problems == {'category without instances': ['road']}


def stop(folder, ignore_zero=None) -> str:
    with pytest.raises(ArgumentError) as caught:
        fit(segmentor(), folder, ignore_zero=ignore_zero)
    assert read_folder(folder, ignore_zero=ignore_zero).fatal[0] == str(caught.value)
    return str(caught.value)


def test_labels_beyond_the_names_stop(tmp_path):
    maps = {'a': [[0, 9], [2, 255]], 'b': [[1, 1], [4, 4]]}
    folder = write_ade(tmp_path / 'mine', maps=maps, classes=('a', 'b'))
    assert stop(folder).startswith(
        'label maps hold the labels [2, 4, 9], but classes.txt names 2 classes, labels 0 to 1; '
    )
    assert stop(folder, ignore_zero=True).startswith(
        'label maps hold the labels [4, 9], but classes.txt names 2 classes, labels 1 to 2; '
    )
    (findings,) = read_folder(folder).findings
    assert findings.problems == {'label beyond the classes': ['labels [2, 4, 9]']}
    maps = {'a': [[3, 4, 5, 6, 7, 8, 9]] * 2}
    write_ade(folder, 'validation', maps=maps, classes=('a', 'b'))
    assert stop(folder).startswith('label maps hold the labels [2, 3, 4, 5, 6], but ')
    (findings, _) = read_folder(folder).findings
    assert findings.problems == {'label beyond the classes': ['labels [2, 3, 4, 5, 6]']}


def test_label_maps_without_a_class_stop(tmp_path):
    folder = write_ade(tmp_path / 'mine', maps={key: [[0, 0], [0, 0]] for key in 'ab'})
    assert stop(folder, ignore_zero=True) == (
        f'the label maps in {folder}/annotations/training hold no class: label 0 means '
        '"unlabelled" and 255 is ignored; label the classes from 1 on, or leave out --ignore-zero'
    )


@pytest.mark.parametrize(
    'labels, told', [((0, 255), True), ((255, 255), True), ((0, 0), False), ((0, 1, 255), False)]
)
def test_masks_of_0_and_255_are_named(labels, told, tmp_path):
    """Drawn by programs that write white for the object: 255 is ignored in training."""
    rows = np.resize(np.array(labels, np.uint8), (2, 3))
    folder = write_ade(tmp_path / 'mine', maps=dict.fromkeys('ab', rows))
    _, (findings,) = fit(segmentor(), folder)
    lines = findings.problems.get('label maps of 0 and 255 only', [])
    assert lines == ([f'{folder}/annotations/training'] if told else [])
