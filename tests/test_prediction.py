"""Which files tools/predict.py takes, how it names what it writes; which files a report reads."""

import json
import os
import runpy
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from tests.helpers import ROOT
from mmengine.config import Config
from PIL import Image

from fastervit_mm.errors import ArgumentError, FileError
from fastervit_mm import prediction
from fastervit_mm.report import run_page as report
from fastervit_mm.prediction import expand, frames_of, predict


def write(folder, *names, size=(6, 4), **options):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new('RGB', size, 'red').save(folder / name, **options)


@pytest.mark.parametrize(
    'files, names',
    [
        (['x/1.jpg', 'y/2.png'], ['1', '2']),
        (['a/1.jpg', 'b/1.jpg', 'b/1.png', 'b/2.jpg'], ['a/1', 'b/1.jpg', 'b/1.png', '2']),
        (['1.jpg', '1.png', '1.png.jpg'], ['1.jpg', '1.png', '1.png.jpg']),
        (['clip.avi', 'clip.jpg'], ['clip', 'clip']),  # frames have numbers
        (['clip.avi', 'clip.mp4', 'b/clip.mp4'], ['clip.avi', 'clip.mp4', 'b/clip']),
        (['clip.avi', 'clip_000001.jpg'], ['clip', 'clip_000001.jpg']),
        (['scan_000001.jpg', 'scan_000002.jpg'], ['scan_000001', 'scan_000002']),
    ],
)
def test_files_have_names_of_their_own(files, names, tmp_path):
    for file in files:
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).touch()
    sources = expand([str(tmp_path / file) for file in files])
    assert [source.name for source in sources] == names
    assert [source.file for source in sources] == [
        file if len({os.path.dirname(f) for f in files}) > 1 else os.path.basename(file)
        for file in files
    ]


def test_inputs_that_name_nothing_are_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path, 'a.jpg', '2023/deep/b.jpg')
    (tmp_path / 'empty').mkdir()
    with pytest.raises(FileError, match='^nothing.jpg names no image'):
        expand(['a.jpg', 'nothing.jpg', 'empty/'])
    with pytest.raises(FileError, match='^empty/ is a folder without images'):
        expand(['a.jpg', 'empty/'])
    assert [tuple(s) for s in expand(['2023'])] == [('2023/deep/b.jpg', 'deep/b.jpg', 'b')]
    assert [s.name for s in expand(['a.jpg', './a.jpg', '7', '*.jpg', '7'])] == ['a', 'camera7']


@pytest.mark.parametrize('option', ['--limit', '--batch'])
@pytest.mark.parametrize('value', ['-1', '0', 'x'])
def test_numbers_below_one_are_refused(option, value, monkeypatch, capsys):
    given = 'predict.py a.jpg --config c --weights w --out o'.split()
    monkeypatch.setattr(sys, 'argv', [*given, f'{option}={value}'])
    with pytest.raises(SystemExit) as stop:
        runpy.run_path(str(ROOT / 'tools/predict.py'), run_name='__main__')
    assert stop.value.code == 2
    assert f'{option}: {value} is not a number of at least 1' in capsys.readouterr().err


class Nobody:
    """A predictor that finds nothing, or one class everywhere."""

    classes = ('thing',)

    def __init__(self, segments):
        self.segments = segments

    def __call__(self, images):
        return images

    def draw(self, image, sample, score):
        return Image.fromarray(image)


@pytest.mark.parametrize('segments', [False, True])
def test_no_output_overwrites_another(segments, tmp_path, monkeypatch):
    write(tmp_path / 'in', 'a/1.jpg', 'b/1.jpg', 'b/1.png', 'c/2.jpg')
    (tmp_path / 'in/broken.jpg').write_bytes(b'no image')
    monkeypatch.setattr(prediction, 'label_map', lambda sample: sample[..., 0])
    monkeypatch.setattr(
        prediction,
        'coco_results',
        lambda sample, frame, number, *_: [dict(image_id=number, file_name=frame.file)],
    )
    out = tmp_path / 'out'
    done, broken = predict(Nobody(segments), expand([str(tmp_path / 'in')]), out)
    assert (done, broken) == (4, ['broken.jpg'])
    for kind, suffix in [('pictures', 'jpg')] + [('labels', 'png')] * segments:
        found = {str(p.relative_to(out / kind)) for p in (out / kind).rglob(f'*.{suffix}')}
        assert found == {f'{name}.{suffix}' for name in ('a/1', 'b/1.jpg', 'b/1.png', '2')}
    if not segments:
        stated = [r['file_name'] for r in json.loads((out / 'predictions.json').read_text())]
        assert stated == ['a/1.jpg', 'b/1.jpg', 'b/1.png', 'c/2.jpg']
        assert all((tmp_path / 'in' / name).is_file() for name in stated)
    with pytest.raises(ArgumentError, match='--limit is 0'):
        predict(Nobody(segments), [], out, limit=0)


def test_objects_state_their_file_and_frame(tmp_path):
    import cv2
    from mmengine.structures import InstanceData
    from torch import tensor

    clip = str(tmp_path / 'clip.avi')
    video = cv2.VideoWriter(clip, cv2.VideoWriter_fourcc(*'MJPG'), 5, (32, 32))
    video.write(np.zeros((32, 32, 3), np.uint8))
    video.release()
    (frame,) = frames_of(*expand([clip]))
    assert frame.name == 'clip_000001'
    objects = InstanceData(
        bboxes=tensor([[1.0, 2, 4, 6]]), scores=tensor([0.9]), labels=tensor([0])
    )
    (result,) = prediction.coco_results(
        SimpleNamespace(pred_instances=objects), frame, 1, ('thing',), 0.3
    )
    assert (result['file_name'], result['frame'], result['bbox']) == ('clip.avi', 1, [1, 2, 3, 4])


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
        report.label_map_files(cfg, maps)
    cfg = segmentor(tmp_path, zero)
    assert report.label_map_files(cfg, maps) == [maps / '1.png', maps / '2.png']
    Image.fromarray(labels + zero).save(maps / '1.png')
    with pytest.raises(FileError, match='lacks 1 of 2 label maps .such as 2.png'):
        report.segmentation_results(cfg, maps)
    Image.fromarray(np.zeros_like(labels) + zero).save(maps / '2.png')
    results = report.segmentation_results(cfg, maps)
    assert results.confusion.tolist() == [[24, 0], [12, 12]]
    assert [name for _, name, _ in results.images] == ['a/1', 'b/2']
    assert [score for score, _, _ in results.images] == [1, 0.25]
    picture = results.images[0][2]()
    assert picture.width > picture.height * 2  # two landscapes: as stored
    write(tmp_path / 'images/validation', 'b/1.jpg')
    with pytest.raises(ArgumentError, match='2 validation images are called 1;'):
        report.label_map_files(cfg, maps)


def test_an_interrupted_evaluation_is_not_complete(tmp_path):
    files = [tmp_path / name for name in ('checkpoint.pth', '1.png', '2.png')]
    checkpoint, *maps = files
    for path in files[:2]:
        path.touch()
    assert not report.is_complete(maps, checkpoint)
    maps[1].touch()
    assert report.is_complete(maps, checkpoint)
    os.utime(maps[0], (0, 0))  # of an earlier evaluation
    assert not report.is_complete(maps, checkpoint)


@pytest.mark.parametrize(
    'options, size', [({}, (4, 6)), ({'color_type': 'color_ignore_orientation'}, (6, 4))]
)
def test_a_detectors_report_reads_images_as_its_config(options, size, tmp_path):
    from mmengine.registry import init_default_scope

    init_default_scope('mmdet')
    exif = Image.Exif()
    exif[0x0112] = 6
    write(tmp_path, '1.jpg', exif=exif)
    read = report._image_reader(dict(pipeline=[dict(type='LoadImageFromFile', **options)]))
    image = read(tmp_path / '1.jpg')
    assert image.shape[1::-1] == size and image[0, 0, 0] > 200 > 50 > image[0, 0, 2]
