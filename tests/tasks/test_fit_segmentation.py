"""A segmentor's config fitted to a folder: files, suffixes and class counts."""

from pathlib import Path

import pytest
from PIL import Image

from fastervit_mm.errors import ArgumentError
from tests.data.folders import (
    BLUE,
    RED,
    colours,
    fit,
    fit_to_folder,
    innermost,
    read,
    segmentor,
    write_ade,
    write_coco,
)

ROWS = [[0, 1], [2, 2]]


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """Red scenes to train on, blue ones of the same names, and other maps, to validate on."""
    folder = tmp_path_factory.mktemp('data') / 'mine'
    write_ade(folder, maps=dict.fromkeys('abc', ROWS), colour=RED)
    return write_ade(folder, 'validation', {key: [[2, 2], [2, 0]] for key in 'ab'}, colour=BLUE)


@pytest.fixture(scope='module')
def fitted(folder):
    return fit(segmentor(), folder)[0]


def test_each_loader_reads_its_own_scenes(fitted, folder):
    assert [len(read(fitted, s)) for s in ('train', 'val', 'test')] == [3, 2, 2]
    assert [colours(read(fitted, s)) for s in ('train', 'val', 'test')] == [{RED}, {BLUE}, {BLUE}]
    for split, labels in (('train', ROWS), ('val', [[2, 2], [2, 0]]), ('test', [[2, 2], [2, 0]])):
        for sample in read(fitted, split):
            assert sample['data_samples'].gt_sem_seg.data[0].tolist() == labels
    for split, name in (('train', 'training'), ('val', 'validation'), ('test', 'validation')):
        dataset = innermost(fitted, split)
        assert dataset['data_prefix'] == dict(
            img_path=str(folder / 'images' / name), seg_map_path=str(folder / 'annotations' / name)
        )
        assert (dataset['type'], dataset['data_root']) == ('BaseSegDataset', '')
        assert (dataset['img_suffix'], dataset['seg_map_suffix']) == ('.jpg', '.png')
        assert dataset['metainfo'].palette == [(242, 60, 60), (60, 113, 242), (166, 242, 60)]


def test_only_whole_files_are_left_in_the_work_dir(fitted, folder):
    data = folder.parent / 'work' / 'data'
    assert sorted(p.name for p in data.iterdir()) == [
        'train.txt',
        'val.txt',
        'written_by_train.txt',
    ]
    assert (data / 'train.txt').read_text() == 'a\nb\nc\n'
    assert (data / 'val.txt').read_text() == 'a\nb\n'


def test_every_head_counts_the_classes_and_every_pipeline_the_zero(fitted):
    assert fitted.model == dict(
        decode_head=dict(num_classes=3), auxiliary_head=[dict(num_classes=3)]
    )
    assert fitted.tta_pipeline == [
        dict(type='TestTimeAug', transforms=[[dict(type='LoadAnnotations')]]),  # as the data set
        dict(type='LoadAnnotations', reduce_zero_label=False),
    ]
    for split in ('train', 'val', 'test'):
        assert innermost(fitted, split)['pipeline'] == [
            dict(type='LoadImageFromFile'),
            dict(type='LoadAnnotations', reduce_zero_label=False),
            dict(type='PackSegInputs'),
        ]
    assert fitted.test_evaluator == dict(type='IoUMetric', iou_metrics=['mIoU'])


def test_the_config_works_from_anywhere(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(folder.parent)
    cfg, _ = fit(segmentor(), Path('mine'), Path('here'))
    monkeypatch.chdir(tmp_path)
    assert colours(read(cfg, 'val')) == {BLUE}


def test_loaders_may_be_missing(folder, tmp_path):
    cfg = segmentor()
    cfg.train_dataloader = None
    cfg.pop('val_dataloader')
    fit(cfg, folder, tmp_path)
    assert cfg.train_dataloader is None and 'val_dataloader' not in cfg
    assert colours(read(cfg, 'test')) == {BLUE}


@pytest.mark.parametrize('maps', ['.png', '.tif', '.bmp'])
@pytest.mark.parametrize('images', ['.jpg', '.JPG', '.png', '.webp'])
def test_files_of_any_one_kind(images, maps, tmp_path):
    folder = write_ade(tmp_path / 'mine', maps=dict.fromkeys('abc', ROWS), suffix=images)
    for path in (folder / 'annotations/training').iterdir():
        Image.open(path).save(path.with_suffix(maps))
        if maps != '.png':
            path.unlink()
    cfg, _ = fit(segmentor(), folder)
    assert (innermost(cfg)['img_suffix'], innermost(cfg)['seg_map_suffix']) == (images, maps)
    assert [len(read(cfg, s)) for s in ('train', 'val')] == [2, 1]


def mixed(tmp_path, what) -> str:
    """Why a folder with a .bmp among its training files cannot be used."""
    folder = write_ade(tmp_path / 'mine', maps=dict.fromkeys('abc', ROWS))
    write_ade(folder, 'validation')
    suffix = '.jpg' if what == 'images' else '.png'
    path = folder / what / 'training' / f'b{suffix}'
    Image.open(path).save(path.with_suffix('.bmp'))
    path.unlink()
    with pytest.raises(ArgumentError) as caught:
        fit(segmentor(), folder)
    return str(caught.value)


def test_files_of_several_kinds_stop(tmp_path):
    images, maps = (tmp_path / 'mine' / p / 'training' for p in ('images', 'annotations'))
    assert mixed(tmp_path, 'images') == (
        f'images in {images} end in .bmp, .jpg; mmseg reads one kind of file in a split: convert '
        'them to one'
    )
    (images / 'b.bmp').unlink()
    assert mixed(tmp_path, 'annotations').startswith(f'label maps in {maps} end in .bmp, .png; ')


def test_kinds_may_differ_between_splits_and_in_files_left_out(tmp_path):
    folder = write_ade(tmp_path / 'mine')
    write_ade(folder, maps={'z': None}, suffix='.png')
    write_ade(folder, 'validation', suffix='.png')
    cfg, _ = fit(segmentor(), folder)
    assert [innermost(cfg, s)['img_suffix'] for s in ('train', 'val')] == ['.jpg', '.png']


def test_a_folder_without_label_maps_says_what_a_segmentor_needs(tmp_path):
    folder = write_coco(tmp_path / 'mine')
    with pytest.raises(ArgumentError) as caught:
        fit_to_folder(segmentor(), folder, tmp_path)
    assert str(caught.value) == (
        f'{folder} has no images/training and annotations/training (or train), which a segmentor '
        'needs'
    )
