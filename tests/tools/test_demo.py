"""tools/demo.py: its commands, tables and pictures, with the training and evaluation played."""

import json
import os
import pickle
import runpy
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.config import Config
from PIL import Image

from fastervit_mm.config.data_sets import point_to_folder
from fastervit_mm.report.results import ImageResult
from fastervit_mm.tasks import task_of
from tests.helpers import ROOT, call_tool
from tests.report.folders import ORANGE, write_ade, write_coco

RED, BLUE, GREEN = (242, 60, 60), (60, 113, 242), (166, 242, 60)  # of classes 0, 1, 2
DETECTION = {
    'coco/bbox_mAP': 0.9,
    'coco/bbox_mAP_50': 0.96,
    'coco/bbox_mAP_75': 0.92,
    'coco/segm_mAP': 0.8504,
    'coco/segm_mAP_50': 0.97,
    'coco/segm_mAP_75': 0.93,
}
SEGMENTATION = {'mIoU': 84.96, 'mAcc': 91.0, 'aAcc': 99.0}


@pytest.fixture(scope='module')
def demo():
    return SimpleNamespace(**runpy.run_path(str(ROOT / 'tools' / 'demo.py')))


def test_the_table_of_a_detector(demo, capsys):
    assert demo.detection_table(DETECTION) == 0.8504
    assert capsys.readouterr().out.splitlines() == [
        '',
        'held-out images       AP    AP50    AP75',
        'boxes              0.900   0.960   0.920',
        'masks              0.850   0.970   0.930',
    ]
    assert demo.detection_table({**DETECTION, 'coco/bbox_mAP': 0.5}) == 0.5


def test_the_table_of_a_segmentor(demo, capsys):
    assert demo.segmentation_table(SEGMENTATION) == pytest.approx(0.8496)
    assert capsys.readouterr().out.splitlines() == [
        '',
        'held-out images     mIoU    mAcc    aAcc',
        'label maps         0.850   0.910   0.990',
    ]


def test_the_newest_metrics_count(demo, tmp_path):
    for name, time in (('a', 2000), ('c', 3000), ('b', 4000), ('d', 1000)):
        path = tmp_path / name / f'{name}.json'
        path.parent.mkdir()
        path.write_text(json.dumps(dict(mIoU=time)))
        os.utime(path, (time, time))
    (tmp_path / 'run.json').write_text('{}')
    assert demo.read_metrics(tmp_path) == dict(mIoU=4000)


def encoded(x0, y0, x1, y1, size=48):
    from pycocotools import mask as coco_mask

    mask = np.zeros((size, size), np.uint8, order='F')
    mask[y0:y1, x0:x1] = 1
    return coco_mask.encode(mask)


def is_colour(picture, colour, tolerance=1):
    return (abs(np.asarray(picture).astype(int) - np.array(colour)) <= tolerance).all(-1)


def tint(colour, strength):
    return (1 - strength) * np.array(ORANGE) + strength * np.array(colour)


def images_of(demo, task, data, predictions, score=None):
    """What the demo draws."""
    cfg = Config.fromfile(demo.DEMOS[task].config)
    point_to_folder(cfg, data)
    return task_of(cfg).images(cfg, predictions, demo.SCORE if score is None else score)


def test_pairs_of_a_detector(demo, tmp_path):
    """The truth: a square; found: a triangle in its place and a circle; one too unsure."""
    names = {1: 'circle', 2: 'square', 3: 'triangle'}
    objects = [('a.png', 2, (10, 15, 20, 20))]
    write_coco(tmp_path, 'val2017', {'a.png': (48, 48)}, objects, names)
    rows = [(0, 0.49, [0, 30, 8, 40]), (2, 0.9, [10, 15, 30, 35]), (0, 0.5, [35, 15, 45, 25])]
    found = dict(
        bboxes=torch.tensor([box for *_, box in rows]).float(),
        scores=torch.tensor([score for _, score, _ in rows]),
        labels=torch.tensor([label for label, *_ in rows]),
        masks=[encoded(*box) for *_, box in rows],
    )
    path = tmp_path / 'predictions.pkl'
    path.write_bytes(pickle.dumps([dict(img_id=101, pred_instances=found)]))
    ((_, name, pictures),) = images_of(demo, 'detection', tmp_path, path)
    truth, prediction = pictures()
    assert name == 'a.png' and truth.size == prediction.size == (480, 480)
    assert is_colour(truth, BLUE)[150:350, 100].all() and is_colour(truth, BLUE)[350, 100:300].all()
    assert is_colour(truth, tint(BLUE, 0.4))[240, 200]
    assert is_colour(prediction, GREEN)[150:350, 100].all()
    assert is_colour(prediction, tint(GREEN, 0.4))[240, 200]
    assert is_colour(prediction, RED)[150:250, 350].all()  # of score 0.5
    assert is_colour(prediction, tint(RED, 0.4))[230, 400]
    assert is_colour(prediction, ORANGE)[360:, :100].all()  # where that of 0.49 would be
    ((_, _, pictures),) = images_of(demo, 'detection', tmp_path, path, score=0.6)
    _, surer = pictures()
    assert not is_colour(surer, RED).any()


def test_pairs_of_a_segmentor(demo, tmp_path):
    """Labels from 1 on: background, circle, square, triangle."""
    write_ade(tmp_path, 'validation', {'b.jpg': [[1, 1], [2, 0]], 'a.jpg': [[3, 3], [3, 3]]})
    for name, rows in (('a', [[1, 2], [2, 1]]), ('b', [[3, 3], [1, 1]])):
        path = tmp_path / 'found' / f'{name}.png'
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(np.array(rows, np.uint8)).save(path)
    images = images_of(demo, 'segmentation', tmp_path, tmp_path / 'found')
    assert [image.name for image in images] == ['a', 'b']
    first, second = (image.pictures() for image in images)
    strong = 0.549
    assert is_colour(first[0], tint(GREEN, strong), 3)[100:].all()
    assert is_colour(first[1], tint(BLUE, strong), 3)[50:230, 250:].all()
    assert is_colour(second[0], tint(RED, strong), 3)[100:230].all()
    assert is_colour(second[0], ORANGE, 3)[250:, 250:].all()  # 0: unlabelled
    assert is_colour(second[1], tint(GREEN, strong), 3)[100:230].all()


def test_pictures_and_their_sheet(demo, tmp_path):
    def pictures():
        return Image.new('RGB', (100, 60), RED), Image.new('RGB', (100, 60), BLUE)

    images = [ImageResult(1.0, f'{i}.jpg', pictures) for i in range(13)]
    out = tmp_path / 'new' / 'pictures'
    demo.draw_pictures(images, 'our model', out, tmp_path / 'sheet.png')
    assert sorted(p.name for p in out.iterdir()) == sorted(f'{i}.png' for i in range(13))
    with Image.open(out / '3.png') as picture:
        assert picture.size == (208, 88)
        assert is_colour(picture, RED)[28:, :100].all()
        assert is_colour(picture, BLUE)[28:, 108:].all()
    with Image.open(tmp_path / 'sheet.png') as sheet:  # the first twelve, two a row
        assert sheet.size == (2 * 208 + 24, 6 * 88 + 5 * 24)
        assert is_colour(sheet, BLUE)[5 * 112 + 28 :, 232 + 108 :].all()


def test_titles_name_the_truth_and_the_model(demo, tmp_path, monkeypatch):
    from PIL import ImageDraw

    seen = []
    monkeypatch.setattr(
        ImageDraw.ImageDraw, 'text', lambda self, xy, text, *args, **kwargs: seen.append(text)
    )
    picture = Image.new('RGB', (10, 10))
    images = [ImageResult(1.0, 'a.jpg', lambda: (picture, picture))]
    demo.draw_pictures(images, 'our model', tmp_path, tmp_path / 's.png')
    assert seen == ['truth', 'our model']


class Played:
    """The tools that the demo starts: noted, and what they would write is written."""

    def __init__(self, fail=None):
        self.commands, self.fail, self.metrics = [], fail, DETECTION

    def run(self, command):
        tool, arguments = Path(command[1]).name, command[2:]
        assert command[:2] == [sys.executable, str(ROOT / 'tools' / tool)]
        self.commands.append([tool, *arguments])
        if tool == self.fail:
            return subprocess.CompletedProcess(command, 7)
        if tool != 'report.py':
            work_dir = Path(arguments[arguments.index('--work-dir') + 1])
            getattr(self, tool.removesuffix('.py'))(work_dir, arguments)
        return subprocess.CompletedProcess(command, 0)

    @staticmethod
    def train(work_dir, arguments):
        work_dir.mkdir()
        (work_dir / 'last_checkpoint').write_text(f'{work_dir}/last.pth\n')

    def test(self, work_dir, arguments):
        """Finds nothing anywhere, whatever its metrics say."""
        data = Path(arguments[arguments.index('--data') + 1])
        out = Path(arguments[arguments.index('--out') + 1])
        if out.suffix == '.json':
            out.write_text('[]')
        else:
            out.mkdir()
            for path in (data / 'annotations' / 'validation').iterdir():
                (out / path.name).write_bytes(path.read_bytes())
        metrics = work_dir / '20260101' / '20260101.json'
        metrics.parent.mkdir()
        metrics.write_text(json.dumps(self.metrics if out.suffix else SEGMENTATION))


@pytest.fixture
def played(monkeypatch):
    tools = Played()
    monkeypatch.setattr(subprocess, 'run', tools.run)
    return tools


CONFIGS = {
    'detection': ('detection/cascade_fastervit_shapes.py', 'coco', 'predictions.json'),
    'segmentation': ('segmentation/upernet_fastervit_shapes.py', 'ade', 'label_maps'),
}


@pytest.mark.parametrize('task, reached', [('detection', 0.8504), ('segmentation', 0.8496)])
def test_a_whole_demo(task, reached, played, tmp_path):
    work_dir, options = tmp_path / 'run', ['--cfg-options', 'a.b=1', 'c=2']
    arguments = ['--task', task, '--data', tmp_path / 'data', '--work-dir', work_dir]
    output = call_tool(
        'demo.py', *arguments, '--images', 3, 2, '--expect', reached - 1e-6, *options
    )
    config, layout, predictions = CONFIGS[task]
    config = str(ROOT / 'configs' / config)
    shared = ['--data', f'{tmp_path}/data/{layout}', '--work-dir', str(work_dir), *options]
    assert played.commands == [
        ['train.py', config, *shared, '--resume'],
        ['test.py', config, f'{work_dir}/last.pth', '--out', f'{work_dir}/{predictions}', *shared],
        ['report.py', str(work_dir)],
    ]
    lines = output.splitlines()
    assert lines[0] == f'drawing 3 training and 2 held-out images under {tmp_path}/data'
    assert f'$ {sys.executable} {ROOT}/tools/report.py {work_dir}' in lines
    assert any(line.startswith('held-out images') for line in lines)
    sheet = work_dir / f'{task}s.png'
    pictures = work_dir / 'pictures'
    assert lines[-1] == f'pictures beside the truth: {sheet}, one for each image in {pictures}'
    assert sorted(p.name for p in pictures.iterdir()) == ['000000.png', '000001.png']
    drawn = {'coco': 'coco/train2017', 'ade': 'ade/images/training'}[layout]
    assert len(list((tmp_path / 'data' / drawn).iterdir())) == 3
    with Image.open(sheet) as image:
        # 192 px three times as large, in pairs with a title
        assert image.size == (2 * (2 * 576 + 8) + 24, 576 + 28)


def test_what_is_below_the_mark_ends_with_status_one(played, tmp_path):
    arguments = ['--data', tmp_path / 'data', '--images', 1, 2]
    output = call_tool(
        *('demo.py', *arguments, '--work-dir', tmp_path / 'a', '--expect', 0.86), expect=1
    )
    message = '0.850 is below the 0.86 that this demo should reach'
    assert output.splitlines()[-1] == message
    assert len(played.commands) == 3  # its report is written all the same
    call_tool('demo.py', *arguments, '--work-dir', tmp_path / 'b')
    played.metrics = {**DETECTION, 'coco/segm_mAP': 0.799}
    output = call_tool('demo.py', *arguments, '--work-dir', tmp_path / 'c', expect=1)
    assert '0.799 is below the 0.80 that' in output


@pytest.mark.parametrize('tool, started', [('train.py', 1), ('test.py', 2), ('report.py', 3)])
def test_a_tool_that_fails_ends_the_demo_with_its_status(tool, started, played, tmp_path):
    played.fail = tool
    arguments = ['--data', tmp_path / 'data', '--images', 1, 2, '--work-dir', tmp_path / 'run']
    call_tool('demo.py', *arguments, expect=7)
    assert len(played.commands) == started


@pytest.mark.parametrize(
    'options, task, folder',
    [
        ([], 'detection', 'demo'),
        (['--task', 'segmentation'], 'segmentation', 'demo-segmentation'),
    ],
)
def test_defaults(options, task, folder, played, monkeypatch):
    drawn = []
    monkeypatch.setattr(
        'fastervit_mm.data.drawn_shapes.write_shapes', lambda *args: drawn.append(args)
    )
    played.fail = 'train.py'
    output = call_tool('demo.py', *options, expect=7)
    assert drawn == [(ROOT / 'data' / 'shapes', 400, 60)]
    assert 'drawing 400 training and 60 held-out images' in output
    config, layout, _ = CONFIGS[task]
    data, work_dir = ROOT / 'data' / 'shapes' / layout, ROOT / 'work_dirs' / folder
    config = ROOT / 'configs' / config
    expected = ['train.py', config, '--data', data, '--work-dir', work_dir, '--resume']
    assert played.commands == [[str(part) for part in expected]]
