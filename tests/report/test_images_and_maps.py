"""Which images and label maps a report reads, and how: as the run's config does."""

import os

import numpy as np
import pytest
from mmengine.config import Config
from PIL import Image

from fastervit_mm.errors import ArgumentError, FileError
from fastervit_mm.report.work_dir import is_complete
from fastervit_mm.tasks.pipeline import image_reader
from fastervit_mm.tasks.segmentation_results import label_map_files, segmentation_results


def write(folder, *names, size=(6, 4), **options):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new('RGB', size, 'red').save(folder / name, **options)


def segmentor(root, zero=False):
    """A config's part that reports read: images in sub-folders, label maps that are .bmp."""
    pipeline = [
        dict(type='LoadImageFromFile', color_type='color_ignore_orientation'),
        dict(type='LoadAnnotations'),
        dict(type='PackSegInputs'),
    ]
    dataset = dict(
        type='BaseSegDataset',
        data_root=str(root),
        data_prefix=dict(img_path='images/validation', seg_map_path='annotations/validation'),
        img_suffix='.jpg',
        seg_map_suffix='.bmp',
        reduce_zero_label=zero,
        metainfo=dict(classes=('ground', 'thing'), palette=[(0, 0, 0), (255, 0, 0)]),
        pipeline=pipeline,
    )
    return Config(dict(default_scope='mmseg', test_dataloader=dict(dataset=dataset)))


@pytest.mark.parametrize('zero', [False, True])
def test_report_of_label_maps_in_sub_folders(zero, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn, which the config does not make
    write(tmp_path / 'images/validation', 'a/1.jpg', 'b/2.jpg', exif=exif)
    labels = np.zeros((4, 6), np.uint8)
    labels[:, 3:] = 1
    maps = tmp_path / 'label_maps'
    maps.mkdir()
    for name in ('a/1', 'b/2'):
        path = tmp_path / f'annotations/validation/{name}.bmp'
        path.parent.mkdir(parents=True)
        Image.fromarray(labels + zero).save(path)
    cfg = segmentor(tmp_path, zero)
    cfg.test_dataloader.dataset.img_suffix = '.png'
    with pytest.raises(ArgumentError, match='no validation image that ends in .png'):
        label_map_files(cfg, maps)
    cfg = segmentor(tmp_path, zero)
    assert label_map_files(cfg, maps) == [maps / '1.png', maps / '2.png']
    Image.fromarray(labels + zero).save(maps / '1.png')
    with pytest.raises(FileError, match='lacks 1 of 2 label maps .such as 2.png'):
        segmentation_results(cfg, maps)
    Image.fromarray(np.zeros_like(labels) + zero).save(maps / '2.png')
    results = segmentation_results(cfg, maps)
    assert results.confusion.tolist() == [[24, 0], [12, 12]]
    assert [name for _, name, _ in results.images] == ['a/1', 'b/2']
    assert [score for score, _, _ in results.images] == [1, 0.25]
    picture = results.images[0].draw()
    assert picture.width > picture.height * 2  # two landscapes: as stored
    write(tmp_path / 'images/validation', 'b/1.jpg')
    with pytest.raises(ArgumentError, match='2 validation images are called 1;'):
        label_map_files(cfg, maps)


def test_an_interrupted_evaluation_is_not_complete(tmp_path):
    files = [tmp_path / name for name in ('checkpoint.pth', '1.png', '2.png')]
    checkpoint, *maps = files
    for path in files[:2]:
        path.touch()
    assert not is_complete(maps, checkpoint)
    maps[1].touch()
    assert is_complete(maps, checkpoint)
    os.utime(maps[0], (0, 0))  # of an earlier evaluation
    assert not is_complete(maps, checkpoint)


@pytest.mark.parametrize(
    'options, size', [({}, (4, 6)), ({'color_type': 'color_ignore_orientation'}, (6, 4))]
)
def test_a_detectors_report_reads_images_as_its_config(options, size, tmp_path):
    from mmengine.registry import init_default_scope

    init_default_scope('mmdet')
    exif = Image.Exif()
    exif[0x0112] = 6
    write(tmp_path, '1.jpg', exif=exif)
    read = image_reader(dict(pipeline=[dict(type='LoadImageFromFile', **options)]))
    image = read(tmp_path / '1.jpg')
    assert image.shape[1::-1] == size and image[0, 0, 0] > 200 > 50 > image[0, 0, 2]
