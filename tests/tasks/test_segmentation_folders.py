"""``--data`` for a segmentor: folders used as they are, and evaluations by the names of classes."""

import copy
import re
from pathlib import Path

import numpy as np
import pytest
from mmengine.registry import init_default_scope
from mmseg.registry import DATASETS
from PIL import Image

from fastervit_mm.config.data_sets import check_data_files
from fastervit_mm.errors import ArgumentError
from fastervit_mm.tasks import task_of
from fastervit_mm.tasks.segmentation_data import _spread
from fastervit_mm.tasks.use_folder import evaluate_on, train_on
from tests.helpers import ROOT
from tests.tasks.folders import CLASSES, SCENES, config, write_ade, write_image

NAMES = ('background', *CLASSES)
ADE20K = ROOT / 'configs/segmentation/upernet_fastervit_2_160k.py'
TRAINING = ('train_dataloader', 'val_dataloader')
ALL = [[0, 1], [2, 3], [4, 255]]  # unlabelled, four classes, ignored


@pytest.fixture
def cfg(tmp_path):
    """Of four classes, labelled from 1 on."""
    return config(SCENES, tmp_path / 'work')


@pytest.fixture
def folder(tmp_path):
    folder = write_ade(tmp_path / 'mine', 'training', {'a': ALL, 'b': [[1, 1]]}, NAMES)
    return write_ade(folder, 'validation', {'v': ALL})


@pytest.fixture
def no_photograph_is_opened(monkeypatch):
    opened = Image.open

    def refuse(path, *args):
        mapped = not isinstance(path, str | Path) or 'annotations' in str(path)
        assert mapped, f'opened {path}'  # mmseg opens bytes of label maps
        return opened(path, *args)

    monkeypatch.setattr('PIL.Image.open', refuse)


def truth(cfg, loader='test_dataloader') -> dict[str, list]:
    """The class of each pixel as mmseg reads it, by image."""
    init_default_scope('mmseg')
    dataset = DATASETS.build(dict(cfg[loader].dataset, pipeline=[dict(type='LoadAnnotations')]))
    samples = [dataset[i] for i in range(len(dataset))]
    # mmseg reads a map of one row as a row
    return {Path(s['img_path']).stem: s['gt_seg_map'].tolist() for s in samples}


def test_a_folder_that_fits_is_used_as_it_is(cfg, folder, no_photograph_is_opened):
    (line,) = train_on(cfg, folder)
    assert re.fullmatch(
        rf'--data {folder} fits the config: used as it is \(looked at in \d+\.\d s\)', line
    )
    check_data_files(cfg, TRAINING)
    assert not Path(cfg.work_dir).exists()
    assert cfg.train_dataloader.dataset.data_root == str(folder)
    assert truth(cfg) == {'v': [[255, 0], [1, 2], [3, 255]]}
    assert set(truth(cfg, 'train_dataloader')) == {'a', 'b'}


def test_ade20k_itself_fits_by_its_list_of_objects(tmp_path, no_photograph_is_opened):
    cfg = config(ADE20K, tmp_path / 'work')
    folder = write_ade(tmp_path / 'ade', 'training', {'a': [[0, 3]]})
    write_ade(folder, 'validation', {'v': [[0, 150]]})
    task = task_of(cfg)
    assert task.misfit(cfg, folder, TRAINING, None) == 'it has no classes.txt'
    (folder / 'objectInfo150.txt').write_text('Idx\tRatio\n')
    assert task.misfit(cfg, folder, TRAINING, None) is None
    assert 'used as it is' in train_on(cfg, folder)[0]
    assert truth(cfg) == {'v': [[255, 149]] * 2}


def reason(cfg, folder, loaders=TRAINING, ignore_zero=None):
    return task_of(cfg).misfit(cfg, folder, loaders, ignore_zero)


def test_files_of_other_kinds(cfg, folder):
    assert reason(cfg, folder) is None
    images, labels = folder / 'images/training', folder / 'annotations/training'
    (images / 'b.jpg').rename(images / 'c.jpg')
    assert reason(cfg, folder) == 'images and label maps are not of the same names'
    (images / 'c.jpg').rename(images / 'b.png')
    assert reason(cfg, folder) == f'{images} holds other files than .jpg'
    (images / 'b.png').rename(images / 'b.jpg')
    (labels / 'b.png').rename(labels / 'b.tif')
    assert reason(cfg, folder) == f'{labels} holds other files than .png'
    cfg.train_dataloader.dataset.seg_map_suffix = '.tif'
    (labels / 'a.png').rename(labels / 'a.tif')
    assert reason(cfg, folder) is None
    for path in (folder / 'images/validation').iterdir():
        path.unlink()
    assert reason(cfg, folder) == f'{folder / "images/validation"} holds other files than .jpg'
    (folder / 'images/validation').rmdir()
    assert reason(cfg, folder) == f'{folder / "images/validation"} is not there'


def test_configs_that_read_otherwise(cfg, folder):
    cfg.train_dataloader.dataset.ann_file = 'train.txt'
    assert reason(cfg, folder) == 'it has a list of its images'
    cfg.train_dataloader.dataset.ann_file = ''
    prefix = cfg.train_dataloader.dataset.data_prefix
    prefix.img_path = str(folder / 'images/training')
    assert reason(cfg, folder) is None
    prefix.img_path = '/elsewhere'
    assert reason(cfg, folder) == '/elsewhere is not there'
    cfg.train_dataloader.dataset.pop('data_root')
    assert reason(cfg, folder) == 'the data sets of train_dataloader have no data_root'


def test_classes_that_differ(cfg, folder):
    cfg.model.decode_head.num_classes = 5
    wrong = 'the config names no classes, or not as many as its heads have'
    assert reason(cfg, folder) == wrong
    cfg.model.decode_head.num_classes = 4
    (folder / 'classes.txt').write_text('\n'.join(reversed(NAMES)))
    assert reason(cfg, folder) == 'classes.txt has other classes'
    (folder / 'classes.txt').unlink()
    assert reason(cfg, folder) == 'it has no classes.txt'


def test_what_zero_means_is_told_by_the_label_maps(cfg, folder):
    """Labels up to the number of classes: zero is none of them. Else it may be the first."""
    unknown = 'its label maps do not tell that label 0 means what it means in the config'
    assert reason(cfg, folder) is None
    for loader in ('train', 'val', 'test'):
        cfg[f'{loader}_dataloader'].dataset.reduce_zero_label = False
    assert reason(cfg, folder) == unknown
    for path in folder.glob('annotations/*/*.png'):
        Image.fromarray(np.array([[0, 1], [2, 3]], np.uint8)).save(path)
    assert reason(cfg, folder) is None
    assert reason(cfg, folder, ignore_zero=True) == 'label 0 is a class of the config'
    for loader in ('train', 'val', 'test'):
        cfg[f'{loader}_dataloader'].dataset.reduce_zero_label = True
    assert reason(cfg, folder) == unknown
    assert reason(cfg, folder, ignore_zero=True) is None
    # the validation alone: a model has learnt what 0 means
    assert reason(cfg, folder, ('test_dataloader',)) is None


def test_neighbouring_label_maps_are_looked_at_far_from_each_other(tmp_path):
    """Frames of one scene hold the same labels."""
    for i in range(9):
        write_image(tmp_path / f'{i}.png')
    assert [path.stem for path in _spread(tmp_path)] == [*'036147258']


def test_a_label_map_that_cannot_be_read_tells_nothing(cfg, folder):
    (folder / 'annotations/training/a.png').write_bytes(b'broken')
    assert 'do not tell' in reason(cfg, folder)


def test_an_evaluation_without_names_is_in_the_models_numbers(tmp_path, cfg):
    folder = write_ade(tmp_path / 'mine', 'validation', {'v': [[0, 1, 4]]})
    assert 'used as it is' in evaluate_on(cfg, folder)[0]
    assert truth(cfg) == {'v': [[255, 0, 3]] * 2}
    fitted = write_ade(tmp_path / 'other', 'validation', {'v': [[0, 1, 2]]}, suffix='.png')
    assert 'holds other files' in evaluate_on(cfg, fitted)[0]
    assert truth(cfg) == {'v': [[255, 0, 1]] * 2}
    beyond = write_ade(tmp_path / 'more', 'validation', {'v': [[0, 1, 6]]}, suffix='.png')
    message = r'hold 6 classes, up to class 6, and the model has 4; name them in classes.txt$'
    with pytest.raises(ArgumentError, match=message):
        evaluate_on(cfg, beyond)


@pytest.mark.parametrize('first', [0, 1])
def test_classes_are_told_by_their_names(first, tmp_path, cfg):
    """The folder's order is its own; its first class has the label ``first``."""
    names = ('triangle', 'background')
    rows = [[first, first + 1], [255, first]]
    folder = write_ade(tmp_path / 'mine', 'validation', {'sub/v': rows}, names)
    lines = evaluate_on(cfg, folder)
    assert lines[0].startswith(f'--data {folder} is not what the config reads (classes.txt has')
    assert lines[1:] == [
        'evaluation: 1 images',
        f'  evaluation: all images of {folder / "images/validation"}',
        '2 classes: triangle, background',
    ]
    assert truth(cfg) == {'v': [[3, 0], [255, 3]]}
    dataset = cfg.test_dataloader.dataset
    assert tuple(dataset.metainfo.classes) == NAMES and dataset.type == 'BaseSegDataset'
    assert cfg.model.decode_head.num_classes == 4
    check_data_files(cfg, ('test_dataloader',))


def test_label_maps_in_the_models_numbers_are_not_rewritten(tmp_path, cfg):
    folder = write_ade(tmp_path / 'mine', 'validation', {'v': [[0, 1]]}, NAMES[:2])
    evaluate_on(cfg, folder)
    labels = str(folder / 'annotations/validation')
    assert cfg.test_dataloader.dataset.data_prefix.seg_map_path == labels
    assert truth(cfg) == {'v': [[0, 1]] * 2}  # two names, labels 0 and 1


def test_names_of_the_model_keep_its_zero(tmp_path, cfg):
    """A few images hold no label 4, by which 0 would be told from a class."""
    folder = write_ade(tmp_path / 'mine', 'validation', {'v': [[0, 1, 3]]}, NAMES, suffix='.png')
    evaluate_on(cfg, folder)
    assert truth(cfg) == {'v': [[255, 0, 2]] * 2}
    cfg.test_dataloader.dataset.reduce_zero_label = False
    evaluate_on(cfg, folder)
    assert truth(cfg) == {'v': [[0, 1, 3]] * 2}
    evaluate_on(cfg, folder, ignore_zero=True)
    assert truth(cfg) == {'v': [[255, 0, 2]] * 2}
    cfg.test_dataloader.dataset.reduce_zero_label = False
    write_ade(folder, 'validation', {'w': [[0, 4]]}, suffix='.png')
    evaluate_on(cfg, folder)  # 4 is beyond four classes from 0 on
    assert truth(cfg)['w'] == [[255, 3]] * 2


def test_classes_that_the_model_does_not_know(tmp_path, cfg):
    folder = write_ade(tmp_path / 'mine', 'validation', {'v': [[0, 1]]}, ('sky', 'circle'))
    with pytest.raises(ArgumentError, match='has classes that the model does not know: sky; its 4'):
        evaluate_on(cfg, folder)


def test_what_training_holds_out_is_evaluated(tmp_path, cfg):
    maps = {f'{i}': ALL for i in range(10)}
    folder = write_ade(tmp_path / 'mine', 'training', maps, NAMES)
    train_on(cfg, folder)
    held_out = set(truth(cfg, 'val_dataloader'))
    again = config(SCENES, tmp_path / 'work')
    lines = evaluate_on(again, folder)
    source = folder / 'images/training'
    note = f'2 of the images of {source}, the share that training holds out'
    assert f'  evaluation: {note}' in lines
    assert set(truth(again)) == held_out and len(held_out) == 2


def test_a_trained_config_is_evaluated_on_another_folder(tmp_path, cfg):
    """Its data sets have no data_root, and a list of their images."""
    folder = write_ade(tmp_path / 'mine', 'training', {c: [[0, 1]] for c in 'abcd'}, ('x', 'y'))
    train_on(cfg, folder)
    other = write_ade(tmp_path / 'other', 'validation', {'v': [[0, 1]]}, ('y', 'x'))
    assert '(it has a list of its images)' in evaluate_on(cfg, other)[0]
    assert truth(cfg) == {'v': [[1, 0]] * 2}
    files = {p.name for p in (tmp_path / 'work/data').iterdir()}
    assert files == {'train.txt', 'val.txt', 'test.txt', 'test_labels', 'written_by_train.txt'}


def test_a_folder_without_splits(tmp_path, cfg):
    with pytest.raises(ArgumentError, match='has no images/training and annotations/training'):
        evaluate_on(cfg, tmp_path)


def test_a_config_without_class_names_evaluates_nothing(cfg, folder):
    cfg.test_dataloader.dataset.update(metainfo=None, type='BaseSegDataset')
    message = r'^the config names no classes \(test_dataloader.dataset.metainfo\)$'
    with pytest.raises(ArgumentError, match=message):
        evaluate_on(cfg, folder)


def test_weights_of_other_classes_are_left_out(cfg, tmp_path):
    """One weight for each class of the config cannot weigh the classes of another folder."""
    maps, heads = {'a': ALL, 'b': [[1, 1]]}, ('decode_head', 'auxiliary_head')
    weights = list(cfg.model.decode_head.loss_decode.class_weight)
    kept = copy.deepcopy(cfg)
    same = write_ade(tmp_path / 'same', 'training', maps, NAMES)  # without a validation split
    assert not any('class_weight' in line for line in train_on(kept, same, ignore_zero=True))
    assert all(kept.model[head].loss_decode.class_weight == weights for head in heads)
    others = write_ade(tmp_path / 'other', 'training', maps, ('background', *'wxyz'))
    lines = [line for line in train_on(cfg, others, ignore_zero=True) if 'class_weight' in line]
    assert len(lines) == 1 and f'class_weight={weights} of the config is left out' in lines[0]
    assert all('class_weight' not in cfg.model[head].loss_decode for head in heads)
