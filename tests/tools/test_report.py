"""tools/report.py: when it evaluates first, with which command, and where its page goes."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from tests.helpers import ROOT, call_tool
from tests.report.folders import write_ade, write_coco
from tests.report.pages import sections, tables


def write_run(work_dir, config):
    """A work dir as training leaves it, its checkpoint an hour old."""
    work_dir.mkdir()
    (work_dir / 'config.py').write_text(config)
    checkpoint = work_dir / 'epoch_3.pth'
    checkpoint.write_text('')
    os.utime(checkpoint, (1e9, 1e9))
    (work_dir / 'last_checkpoint').write_text(str(checkpoint))
    return work_dir


@pytest.fixture
def detector(tmp_path):
    """A run on two images of 20 px with a cat and a dog."""
    images = {'a.png': (20, 20), 'b.png': (20, 20)}
    objects = [('a.png', 5, (2, 2, 10, 10)), ('b.png', 9, (4, 4, 12, 12))]
    folder = write_coco(tmp_path / 'animals', 'val', images, objects, {5: 'cat', 9: 'dog'})
    dataset = dict(
        type='CocoDataset',
        data_root=str(folder),
        ann_file='annotations/instances_val.json',
        data_prefix=dict(img='val/'),
        metainfo=dict(classes=('cat', 'dog')),
        pipeline=[],
    )
    config = f"default_scope = 'mmdet'\ntest_dataloader = dict(dataset={dataset!r})\n"
    return write_run(tmp_path / 'run', config)


def detections(path):
    """The cat exactly, the dog not at all."""
    found = dict(image_id=101, category_id=5, bbox=[2, 2, 10, 10], score=0.9)
    path.write_text(json.dumps([found]))


@pytest.fixture
def segmentor(tmp_path):
    """A run on two label maps of four pixels."""
    maps = {'a.png': [[1, 1], [2, 2]], 'b.png': [[1, 2], [1, 2]]}
    folder = write_ade(tmp_path / 'scenes', 'validation', maps)
    dataset = dict(
        type='BaseSegDataset',
        data_root=str(folder),
        data_prefix=dict(img_path='images/validation', seg_map_path='annotations/validation'),
        img_suffix='.png',
        reduce_zero_label=True,
        metainfo=dict(classes=('sky', 'tree')),
        pipeline=[],
    )
    config = f"default_scope = 'mmseg'\ntest_dataloader = dict(dataset={dataset!r})\n"
    return write_run(tmp_path / 'run', config)


def label_maps(path):
    path.mkdir(exist_ok=True)
    for name in 'ab':
        Image.fromarray(np.array([[1, 1], [2, 2]], np.uint8)).save(path / f'{name}.png')


@pytest.fixture
def evaluations(monkeypatch):
    """The commands that the tool starts; they write what ``answer`` does, and end with ``status``."""

    class Evaluations(list):
        answer = staticmethod(detections)
        status = 0

        def run(self, command):
            self.append(command)
            self.answer(type(ROOT)(command[-1]))
            return subprocess.CompletedProcess(command, self.status)

    started = Evaluations()
    monkeypatch.setattr(subprocess, 'run', started.run)
    return started


def command_of(work_dir, out):
    files = [ROOT / 'tools' / 'test.py', work_dir / 'config.py', work_dir / 'epoch_3.pth']
    return [sys.executable, *map(str, files), '--work-dir', str(work_dir), '--out', str(out)]


def test_a_detector_is_evaluated_once(detector, evaluations):
    out = detector / 'predictions.json'
    output = call_tool('report.py', detector)
    assert evaluations == [command_of(detector, out)]
    assert '$ ' + ' '.join(command_of(detector, out)) in output.splitlines()
    assert output.splitlines()[-1] == f'report: {detector / "report.html"}'
    page = (detector / 'report.html').read_text()
    assert tables(sections(page)['Classes'])[0][1:] == [
        ['cat', '1', '1.000'],
        ['dog', '1', '0.000'],
    ]
    assert 'Worst images (F1 at IoU 0.5)' in page and 'Report of run' in page
    again = call_tool('report.py', detector)
    assert len(evaluations) == 1 and '$ ' not in again
    os.utime(out, (1e9 - 1, 1e9 - 1))  # of an earlier checkpoint
    call_tool('report.py', detector)
    assert len(evaluations) == 2


def test_the_page_goes_where_it_is_wanted(detector, evaluations, tmp_path):
    output = call_tool('report.py', detector, '--out', tmp_path / 'mine.html')
    assert f'report: {tmp_path / "mine.html"}' in output
    assert 'Report of run' in (tmp_path / 'mine.html').read_text()
    assert not (detector / 'report.html').exists()


def test_a_segmentor_is_evaluated_until_all_label_maps_are_there(segmentor, evaluations):
    evaluations.answer = label_maps
    call_tool('report.py', segmentor)
    assert evaluations == [command_of(segmentor, segmentor / 'label_maps')]
    page = (segmentor / 'report.html').read_text()
    # sky: 3 of 4 + 4 - 3 pixels
    assert tables(sections(page)['Classes'])[0][1:] == [
        ['sky', '4', '0.600'],
        ['tree', '4', '0.600'],
    ]
    assert 'Worst images (mean IoU)' in page
    call_tool('report.py', segmentor)
    assert len(evaluations) == 1
    (segmentor / 'label_maps' / 'b.png').unlink()
    call_tool('report.py', segmentor)
    assert len(evaluations) == 2


def test_an_evaluation_that_fails_ends_it(detector, evaluations):
    evaluations.status = 3
    output = call_tool('report.py', detector, expect=1)
    checkpoint = detector / 'epoch_3.pth'
    message = f'error: the evaluation of {checkpoint} failed (its messages are above)'
    assert output.splitlines()[-1] == message and not (detector / 'report.html').exists()


def test_work_dirs_that_are_none(detector, tmp_path):
    output = call_tool('report.py', tmp_path / 'none', expect=1)
    assert output == f'error: {tmp_path / "none"} is not a folder; training writes its work dir\n'
    output = call_tool('report.py', tmp_path, expect=1)
    assert 'holds 0 configs' in output
    (detector / 'last_checkpoint').unlink()
    assert 'holds no checkpoint' in call_tool('report.py', detector, expect=1)


def test_data_that_is_gone_is_named_before_anything_runs(detector, evaluations):
    (detector.parent / 'animals').rename(detector.parent / 'moved')
    output = call_tool('report.py', detector, expect=1)
    assert f'data folder {detector.parent / "animals"} does not exist' in output
    assert not evaluations
