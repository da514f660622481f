"""``--data`` where a mistake would be silent: orders of classes, labels, and what stays as it was."""

import json

import pytest
from mmengine.registry import init_default_scope
from PIL import Image

from fastervit_mm.config.data_sets import check_data_files, point_to_folder
from fastervit_mm.errors import ArgumentError
from fastervit_mm.tasks import task_of
from fastervit_mm.tasks.segmentation_data import LOOKED_AT, _spread
from fastervit_mm.tasks.use_folder import evaluate_on, train_on
from tests.helpers import call_tool
from tests.tasks.folders import (
    CLASSES,
    SCENES,
    SHAPES,
    coco_content,
    config,
    write_ade,
    write_coco,
    write_coco2017,
)
from tests.training.toys import NotingRunner, registered

NAMES = ('background', *CLASSES)
TEST = ('test_dataloader',)
TRAINING = ('train_dataloader', 'val_dataloader')
AS_STORED = 'color_ignore_orientation'


@pytest.fixture
def detector(tmp_path):
    return config(SHAPES, tmp_path / 'work')


@pytest.fixture
def segmentor(tmp_path):
    """Of four classes, labelled from 1 on."""
    return config(SCENES, tmp_path / 'work')


def read(cfg, loader):
    """The data set of a loader, as its host library builds it."""
    init_default_scope(cfg.default_scope)
    library = __import__(f'{cfg.default_scope}.registry', fromlist=['DATASETS'])
    steps = [] if cfg.default_scope == 'mmdet' else [dict(type='LoadAnnotations')]
    return library.DATASETS.build(dict(cfg[loader].dataset, filter_cfg=None, pipeline=steps))


def class_indices(cfg, loader):
    return [o['bbox_label'] for sample in read(cfg, loader) for o in sample['instances']]


def label_maps(cfg, loader):
    return [sample['gt_seg_map'].tolist() for sample in read(cfg, loader)]


# One order of the classes, in training and testing


@pytest.mark.parametrize('names', [('triangle', 'circle', 'square'), CLASSES])
@pytest.mark.parametrize('own_names', [True, False])
def test_a_detector_is_tested_by_the_numbers_it_learnt(names, own_names, tmp_path, detector):
    """Whether the files are used as they are, or read and written again."""
    content = coco_content(4, names, ids=(9, 4, 7))
    folder = tmp_path / 'mine'
    if own_names:
        write_coco2017(folder, content, content)
    else:
        write_coco(folder / 'train.json', content, folder / 'photos')
        write_coco(folder / 'val.json', content, folder / 'photos')
    tested = config(SHAPES, tmp_path / 'tested')
    train_on(detector, folder)
    evaluate_on(tested, folder)
    learnt = class_indices(detector, 'train_dataloader')
    assert learnt == [CLASSES.index(names[i]) for i in (0, 1, 2, 0)]
    assert class_indices(detector, 'val_dataloader') == class_indices(tested, TEST[0]) == learnt
    for cfg, loader in ((detector, TRAINING[0]), (detector, TRAINING[1]), (tested, TEST[0])):
        assert tuple(cfg[loader].dataset.metainfo.classes) == CLASSES
        check_data_files(cfg, (loader,))


def test_files_of_a_detector_in_another_order_do_not_fit(tmp_path, detector):
    content = coco_content(3, CLASSES[::-1])
    folder = write_coco2017(tmp_path / 'mine', content, content)
    reason = 'the annotation files have their categories in another order'
    for loaders in (TRAINING, TEST, TRAINING[:1]):
        assert task_of(detector).misfit(detector, folder, loaders, None) == reason


def test_other_classes_are_numbered_by_their_ids(tmp_path, detector):
    content = coco_content(10, ('triangle', 'circle'), ids=(9, 4))
    write_coco(tmp_path / 'mine/labels.json', content, tmp_path / 'mine/photos')
    train_on(detector, tmp_path / 'mine')
    assert detector.train_dataloader.dataset.metainfo.classes == ('circle', 'triangle')
    written = json.loads((tmp_path / 'work/data/train.json').read_text())
    assert [c['id'] for c in written['categories']] == [4, 9]
    assert detector.model.roi_head.mask_head.num_classes == 2


@pytest.mark.parametrize('first', [0, 1])
def test_a_segmentor_is_tested_by_the_numbers_it_learnt(first, tmp_path, segmentor):
    """Its label maps are written again, in the config's numbers; those of the folder stay."""
    rows = [[first, first + 1], [first + 3, 255]]  # triangle, square, background
    folder = write_ade(tmp_path / 'mine', 'training', {'a': rows}, NAMES[::-1])
    write_ade(folder, 'validation', {'b': rows})
    (path,) = folder.glob('annotations/training/*')
    before = path.read_bytes()
    tested = config(SCENES, tmp_path / 'tested')
    train_on(segmentor, folder)
    evaluate_on(tested, folder)
    for cfg, loader in ((segmentor, TRAINING[0]), (segmentor, TRAINING[1]), (tested, TEST[0])):
        assert label_maps(cfg, loader) == [[[3, 2], [0, 255]]]
        assert tuple(cfg[loader].dataset.metainfo.classes) == NAMES
    assert segmentor.model.decode_head.num_classes == 4
    assert path.read_bytes() == before


def test_label_maps_in_the_order_of_the_config_are_not_written_again(tmp_path, segmentor):
    """Images of another kind alone do not fit."""
    folder = write_ade(tmp_path / 'mine', 'training', {'a': [[0, 4]]}, NAMES, suffix='.png')
    write_ade(folder, 'validation', {'b': [[1, 2]]}, suffix='.png')
    train_on(segmentor, folder)
    assert label_maps(segmentor, 'train_dataloader') == [[[255, 3]] * 2]
    assert not (tmp_path / 'work/data/train_labels').exists()


# Labels without names


@pytest.mark.parametrize('zero, fits, beyond', [(True, 4, 5), (False, 3, 4)])
def test_labels_beyond_the_classes_stop_an_evaluation(zero, fits, beyond, tmp_path, segmentor):
    segmentor.test_dataloader.dataset.reduce_zero_label = zero
    folder = write_ade(tmp_path / 'mine', 'validation', {'a': [[0, 1]], 'b': [[fits, 255]]})
    assert 'used as it is' in evaluate_on(segmentor, folder)[0]
    write_ade(folder, 'validation', {'c': [[beyond, 254]]})
    reason = 'its label maps hold labels beyond the classes of the config'
    segmentor = config(SCENES, tmp_path / 'work')
    segmentor.test_dataloader.dataset.reduce_zero_label = zero
    assert task_of(segmentor).misfit(segmentor, folder, TEST, None) == reason
    with pytest.raises(ArgumentError, match='and the model has 4; name them in classes.txt$'):
        evaluate_on(segmentor, folder)


def test_a_large_folder_is_not_looked_through(tmp_path, segmentor, monkeypatch):
    """Label 0 is a class of the config: no label map at all may tell otherwise."""
    assert LOOKED_AT == 200
    folder = write_ade(tmp_path / 'mine', 'training', {'a': [[0, 3]]}, NAMES)
    images, labels = folder / 'images/training', folder / 'annotations/training'
    for i in range(299):
        (images / f'{i}.jpg').hardlink_to(images / 'a.jpg')
        (labels / f'{i}.png').hardlink_to(labels / 'a.png')
    segmentor.train_dataloader.dataset.reduce_zero_label = False
    opened, open_image = [], Image.open
    monkeypatch.setattr('PIL.Image.open', lambda path: opened.append(path) or open_image(path))
    task = task_of(segmentor)
    assert task.misfit(segmentor, folder, TRAINING[:1], None) is None
    assert len(opened) == len(set(opened)) == 200 == len(_spread(labels))


# What is not asked for stays


def test_an_evaluation_as_it_is_points_the_test_data_alone(tmp_path, detector):
    before = detector.to_dict()
    folder = write_coco2017(tmp_path / 'mine', coco_content(1), coco_content(2))
    assert 'used as it is' in evaluate_on(detector, folder)[0]
    assert detector.test_dataloader.dataset.data_root == str(folder)
    truth = folder / 'annotations/instances_val2017.json'
    assert detector.test_evaluator.ann_file == str(truth)
    for key in ('train_dataloader', 'val_dataloader', 'val_evaluator'):
        assert detector.to_dict()[key] == before[key]


def test_only_the_loaders_asked_for_are_pointed(detector):
    point_to_folder(detector, 'new', ('val_dataloader',))
    roots = [detector[f'{k}_dataloader'].dataset.data_root for k in ('train', 'val', 'test')]
    assert roots == ['data/shapes/coco/', 'new', 'data/shapes/coco/']
    assert detector.val_evaluator.ann_file == 'new/annotations/instances_val2017.json'
    assert detector.test_evaluator.ann_file.startswith('data/shapes/coco/')


def test_steps_of_other_loaders_stay(tmp_path, segmentor):
    """Label 0 of the folder is a class; of the data that were learnt from it is none."""
    step = dict(type='LoadAnnotations', reduce_zero_label=True)
    segmentor.train_dataloader.dataset.pipeline = [dict(type='LoadImageFromFile'), step]
    segmentor.test_dataloader.dataset.pipeline = [dict(type='LoadImageFromFile'), dict(step)]
    folder = write_ade(tmp_path / 'mine', 'validation', {'v': [[0, 1]]}, NAMES[:2])
    evaluate_on(segmentor, folder)
    assert segmentor.train_dataloader.dataset.pipeline[1].reduce_zero_label is True
    assert segmentor.test_dataloader.dataset.pipeline[1].reduce_zero_label is False


def turned(folder, stated, rotation=6):
    """A photograph of 16×12 px that EXIF turns, annotated in the size ``stated``."""
    content = coco_content(1)
    content['images'][0].update(width=stated[0], height=stated[1])
    write_coco(folder / 'labels.json', content, folder / 'photos')
    exif = Image.Exif()
    exif[0x0112] = rotation
    Image.new('RGB', (16, 12)).save(folder / 'photos/0.jpg', exif=exif)
    return folder


@pytest.mark.parametrize('stated, rotation', [((12, 16), 6), ((16, 12), 1)])
def test_photographs_are_turned_again(stated, rotation, tmp_path, detector):
    """After a folder annotated as stored, one as shown, or one that does not tell."""
    evaluate_on(detector, turned(tmp_path / 'stored', (16, 12)))
    steps = [detector[f'{k}_dataloader'].dataset.pipeline[0] for k in ('test', 'val', 'train')]
    assert [step.get('color_type') for step in steps] == [AS_STORED, None, None]
    evaluate_on(detector, turned(tmp_path / 'other', stated, rotation))
    assert steps[0].color_type == 'color' and 'color_type' not in steps[1]


@pytest.mark.parametrize('kind', [None, 'unchanged'])
def test_other_ways_to_read_stay(kind, tmp_path, detector):
    step = detector.test_dataloader.dataset.pipeline[0]
    if kind is not None:
        step.color_type = kind
    evaluate_on(detector, turned(tmp_path / 'shown', (12, 16)))
    assert step.get('color_type') == kind


def test_a_segmentor_reads_photographs_as_its_config_says(tmp_path, segmentor):
    segmentor.test_dataloader.dataset.pipeline[0].color_type = AS_STORED
    folder = write_ade(tmp_path / 'mine', 'validation', {'v': [[0, 1]]}, NAMES[:2])
    evaluate_on(segmentor, folder)
    assert segmentor.test_dataloader.dataset.pipeline[0].color_type == AS_STORED


# Paths


@pytest.mark.parametrize('name', ['.', '../mine', './'])
def test_the_folder_one_is_in_fits(name, tmp_path, detector, monkeypatch):
    folder = write_coco2017(tmp_path / 'mine', coco_content(3), coco_content(2))
    monkeypatch.chdir(folder)
    (line,) = train_on(detector, type(folder)(name))
    assert 'used as it is' in line
    check_data_files(detector, TRAINING)
    assert class_indices(detector, 'val_dataloader') == [0, 1]


def test_an_evaluator_may_take_its_truth_from_the_data(tmp_path, detector):
    folder = write_coco2017(tmp_path / 'mine', coco_content(1), coco_content(1))
    detector.val_evaluator.ann_file = None
    assert task_of(detector).misfit(detector, folder, TRAINING, None) is None
    detector.val_evaluator.ann_file = 'elsewhere.json'
    assert task_of(detector).misfit(detector, folder, TRAINING, None) is not None


# A run's own config


@pytest.fixture
def run(tmp_path):
    """A work dir with the config of a run, and a checkpoint; a second folder of data beside it."""
    work_dir = tmp_path / 'work_dirs/x'
    work_dir.mkdir(parents=True)
    cfg = config(SHAPES, work_dir)
    cfg.dump(work_dir / 'x.py')
    (work_dir / 'c.pth').touch()
    content = coco_content(2, CLASSES[:2])
    write_coco(tmp_path / 'other/labels.json', content, tmp_path / 'other/photos')
    return work_dir


def call_test(run, *options, data=True):
    """What tools/test.py says on the run's config, and the work dir of its runner."""
    folder = ['--data', run.parents[1] / 'other'] if data else []
    given = [run / 'x.py', run / 'c.pth', *folder, *options]
    with registered():
        output = call_tool('test.py', *given, '--cfg-options', 'runner_type=NotingRunner')
        (runner,) = NotingRunner.made
    return output, runner.cfg


def test_other_data_leave_the_run_alone(run):
    before = (run / 'x.py').read_bytes()
    output, cfg = call_test(run)
    assert cfg.work_dir == str(run / 'test_on_other')
    line = f'{run}/x.py is the config of a run: what is written goes to {run}/test_on_other'
    assert output.splitlines().count(line) == 1
    assert cfg.test_evaluator.ann_file == f'{run}/test_on_other/data/test.json'
    assert not (run / 'data').exists() and (run / 'x.py').read_bytes() == before


def test_a_work_dir_that_is_named_is_taken(run, tmp_path):
    output, cfg = call_test(run, '--work-dir', tmp_path / 'named')
    assert cfg.work_dir == str(tmp_path / 'named') and 'config of a run' not in output
    assert (tmp_path / 'named/data/test.json').is_file()
    option = f'work_dir={tmp_path / "again"}'
    with registered():
        given = [run / 'x.py', run / 'c.pth', '--data', tmp_path / 'other', '--cfg-options', option]
        output = call_tool('test.py', *given, 'runner_type=NotingRunner')
        assert NotingRunner.made[0].cfg.work_dir == str(tmp_path / 'again')
    assert 'config of a run' not in output and not (run / 'test_on_other').exists()


def test_a_config_outside_its_work_dir_needs_no_other(run, tmp_path):
    (run / 'x.py').rename(tmp_path / 'x.py')
    with registered():
        given = [tmp_path / 'x.py', run / 'c.pth', '--data', tmp_path / 'other']
        output = call_tool('test.py', *given, '--cfg-options', 'runner_type=NotingRunner')
        assert NotingRunner.made[0].cfg.work_dir == str(run)
    assert 'config of a run' not in output


def test_without_other_data_a_run_is_tested_in_its_work_dir(run, tmp_path):
    cfg = config(run / 'x.py', run)
    folder = write_coco2017(tmp_path / 'mine', coco_content(1), coco_content(1))
    point_to_folder(cfg, folder)
    cfg.dump(run / 'x.py')
    output, cfg = call_test(run, data=False)
    assert cfg.work_dir == str(run) and 'config of a run' not in output
