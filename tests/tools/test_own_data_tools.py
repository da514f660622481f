"""Somebody's own photographs from the command line: train, look, predict, report."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.helpers import ROOT, call_tool, few

SHAPES = 'configs/detection/cascade_fastervit_shapes.py'
SEGMENTATION = 'configs/segmentation/upernet_fastervit_shapes.py'
SIZES = [
    'train_dataloader.dataset.pipeline.2.scale=(96,96)',
    'val_dataloader.dataset.pipeline.1.scale=(96,96)',
    'test_dataloader.dataset.pipeline.1.scale=(96,96)',
]


@pytest.fixture(scope='module')
def three_classes(coco_tiny, tmp_path_factory):
    """Photographs of three of COCO's classes, whose ids are not contiguous, without validation."""
    folder = tmp_path_factory.mktemp('three')
    content = json.loads((coco_tiny / 'annotations/instances_train2017.json').read_text())
    counts = np.bincount([a['category_id'] for a in content['annotations']])
    kept = sorted(np.argsort(-counts)[:6:2].tolist())
    content['categories'] = [c for c in content['categories'] if c['id'] in kept]
    content['annotations'] = [a for a in content['annotations'] if a['category_id'] in kept]
    images = {a['image_id'] for a in content['annotations']}
    content['images'] = [i for i in content['images'] if i['id'] in images][:10]
    (folder / 'photos').mkdir()
    for image in content['images']:
        shutil.copy(coco_tiny / 'train2017' / image['file_name'], folder / 'photos')
    (folder / 'labels.json').write_text(json.dumps(content))
    return folder


@pytest.fixture(scope='module')
def run(three_classes, tmp_path_factory):
    """A work dir of two iterations on ten photographs of three classes."""
    work_dir = tmp_path_factory.mktemp('run')
    output = call_tool(
        'train.py',
        SHAPES,
        '--data',
        three_classes,
        '--work-dir',
        work_dir,
        '--epochs',
        1,
        '--cfg-options',
        *few(4),
        *SIZES,
        'model.test_cfg.rcnn.score_thr=0.0',
        'model.test_cfg.rcnn.max_per_img=20',
    )
    assert '3 classes: ' in output and 'training for 2 iterations' in output
    return work_dir


def config_of(work_dir):
    (config,) = work_dir.glob('*.py')
    return config


@pytest.fixture(scope='module')
def evaluation(run):
    """What the evaluation of that run printed; its predictions lie where a report looks for them."""
    shared = ['--work-dir', run, '--out', run / 'predictions.json']
    return call_tool('test.py', config_of(run), run / 'epoch_1.pth', *shared)


def test_the_resolved_config_is_tested_as_it_is(evaluation):
    assert 'coco/segm_mAP' in evaluation


def test_start_from_a_detector_of_other_classes(run, shapes, tmp_path):
    """Three photographs' classes to the four of drawn scenes with a star."""
    content_file = shapes / 'coco/annotations/instances_train2017.json'
    folder = tmp_path / 'four'
    (folder / 'train').mkdir(parents=True)
    content = json.loads(content_file.read_text())
    content['categories'].append(dict(id=9, name='star'))
    (folder / 'train.json').write_text(json.dumps(content))
    for image in content['images']:
        shutil.copy(shapes / 'coco/train2017' / image['file_name'], folder / 'train')
    output = call_tool(
        'train.py',
        SHAPES,
        '--data',
        folder,
        '--from',
        run / 'epoch_1.pth',
        '--work-dir',
        tmp_path / 'run',
        '--epochs',
        1,
        '--cfg-options',
        *few(4),
        *SIZES,
        'train_cfg.val_interval=9',
    )
    assert 'left out, of another shape (other classes): roi_head' in output
    assert 'category without instances' in output
    before, after = (
        torch.load(p / 'epoch_1.pth', weights_only=False)['state_dict']
        for p in (run, tmp_path / 'run')
    )
    name = 'backbone.levels.2.blocks.0.mlp.fc1.weight'
    assert (after[name] - before[name]).abs().max() < 0.01
    line = call_tool(
        'train.py',
        'configs/detection/cascade_fastervit_0_3x.py',
        '--data',
        folder,
        '--from',
        run / 'epoch_1.pth',
        '--work-dir',
        tmp_path / 'no',
        expect=1,
    )
    assert 'error: ' in line and "does not fit the config's backbone" in line


def test_predict_on_a_folder_with_a_broken_file_and_a_video(run, three_classes, tmp_path):
    import cv2

    folder = tmp_path / 'inputs'
    folder.mkdir()
    for path in sorted((three_classes / 'photos').iterdir())[:2]:
        shutil.copy(path, folder)
    (folder / 'broken.jpg').write_bytes(b'no image')
    video = cv2.VideoWriter(
        str(tmp_path / 'clip.avi'), cv2.VideoWriter_fourcc(*'MJPG'), 5, (96, 64)
    )
    for i in range(3):
        video.write(np.full((64, 96, 3), 60 * i, np.uint8))
    video.release()
    out = tmp_path / 'out'
    output = call_tool(
        'predict.py',
        folder,
        tmp_path / 'clip.avi',
        '--config',
        config_of(run),
        '--weights',
        run / 'epoch_1.pth',
        '--out',
        out,
        '--score',
        0.0,
        '--batch',
        2,
    )
    assert '5 images done, 1 skipped' in output and re.search(r'skipped \S*broken.jpg', output)
    assert len(list((out / 'pictures').glob('*.jpg'))) == 5
    results = json.loads((out / 'predictions.json').read_text())
    assert results and {'image_id', 'category_id', 'bbox', 'score', 'segmentation'} <= set(
        results[0]
    )
    nothing = call_tool(
        'predict.py',
        tmp_path / 'none*.jpg',
        '--config',
        config_of(run),
        '--weights',
        run / 'epoch_1.pth',
        '--out',
        out,
        expect=1,
    )
    assert 'names no image, folder, video or camera' in nothing


def test_report_of_a_detector(run, evaluation):
    output = call_tool('report.py', run)
    assert 'tools/test.py' not in output  # evaluated already
    page = (run / 'report.html').read_text()
    for part in (
        'Curves',
        'bbox AP',
        'segm AP',
        'What is taken for what',
        'Worst images',
        'tools/train.py',
        'torch',
    ):
        assert part in page
    assert page.count('data:image/jpeg') >= 2 and 'src="http' not in page


def run_in_process(command, run=subprocess.run, **options):
    """`subprocess.run`, but for a tool of ours no process of its own: seconds less."""
    if options:  # some other program's
        return run(command, **options)
    python, path, *arguments = command
    assert python == sys.executable and Path(path).parent == ROOT / 'tools'
    print(call_tool(Path(path).name, *arguments))
    return subprocess.CompletedProcess(command, 0)


def test_segmentor_from_training_to_report(shapes, tmp_path, monkeypatch):
    work_dir = tmp_path / 'run'
    call_tool(
        'train.py',
        SEGMENTATION,
        '--data',
        shapes / 'ade',
        '--work-dir',
        work_dir,
        '--iters',
        2,
        '--cfg-options',
        *few(),
    )
    (checkpoint,) = work_dir.glob('iter_*.pth')
    call_tool(
        'predict.py',
        shapes / 'ade/images/validation',
        '--config',
        config_of(work_dir),
        '--weights',
        checkpoint,
        '--out',
        tmp_path / 'out',
    )
    labels = np.asarray(Image.open(next((tmp_path / 'out/labels').glob('*.png'))))
    assert labels.shape == (64, 64) and labels.max() < 4
    monkeypatch.setattr(subprocess, 'run', run_in_process)
    assert 'mIoU' in call_tool('report.py', work_dir)  # evaluated first
    page = (work_dir / 'report.html').read_text()
    assert 'mean IoU' in page and 'triangle' in page


def test_the_check_of_photographs_and_its_page(coco_tiny, three_classes, tmp_path):
    output = call_tool('check_data.py', coco_tiny, '--out', tmp_path)
    assert 'person' in output and '80 classes' in output
    page = (tmp_path / 'data.html').read_text()
    assert page.count('data:image/jpeg') == 24 and page.count('data:image/svg') == 2
    assert 'src="http' not in page
    (three_classes.parent / 'bad').mkdir(exist_ok=True)
    bad = call_tool('check_data.py', three_classes.parent / 'bad', '--out', tmp_path, expect=1)
    assert 'neither in COCO' in bad


def test_the_page_opens_in_a_browser(three_classes, tmp_path):
    browser = shutil.which('chromium') or shutil.which('google-chrome')
    if browser is None:
        pytest.skip('no headless browser is installed (chromium)')
    call_tool('check_data.py', three_classes, '--out', tmp_path)
    shot = tmp_path / 'shot.png'
    subprocess.run(
        [
            browser,
            '--headless',
            '--no-sandbox',
            '--disable-gpu',
            '--no-first-run',
            '--disable-background-networking',
            f'--user-data-dir={tmp_path / "profile"}',
            '--window-size=1200,2400',
            f'--screenshot={shot}',
            f'file://{tmp_path / "data.html"}',
        ],
        check=True,
        capture_output=True,
        timeout=120,
    )
    pixels = np.asarray(Image.open(shot).convert('L'))
    assert pixels.shape[1] == 1200 and pixels.std() > 10


def test_two_lines_of_python_predict(run):
    """As docs/training.md shows them."""
    code = (
        'from fastervit_mm.prediction import Predictor\n'
        f'p = Predictor({str(config_of(run))!r}, {str(run / "epoch_1.pth")!r}, "cpu")\n'
        'import numpy as np\n'
        'print(len(p([np.zeros((64, 64, 3), np.uint8)])))'
    )
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0 and done.stdout.split()[-1] == '1', done.stderr[-2000:]
