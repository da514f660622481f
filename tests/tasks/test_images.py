"""Each image's prediction beside its truth, as the report and the demo draw it."""

import pickle

import numpy as np
import pytest
import torch
from mmengine.config import Config
from PIL import Image
from pycocotools.coco import COCO

from fastervit_mm.config.data_sets import point_to_folder
from fastervit_mm.report.results import ImageResult
from fastervit_mm.tasks import TASKS
from tests.helpers import ROOT


@pytest.fixture(scope='module')
def detector(shapes, tmp_path_factory):
    """A config on the drawn scenes, and predictions: the truth, of score 0.4."""
    cfg = Config.fromfile(ROOT / 'configs/detection/cascade_fastervit_shapes.py')
    point_to_folder(cfg, shapes / 'coco')
    coco = COCO(str(shapes / 'coco/annotations/instances_val2017.json'))
    kept = []
    for image_id in coco.getImgIds():
        truth = coco.loadAnns(coco.getAnnIds(image_id))
        boxes = [[x, y, x + w, y + h] for x, y, w, h in (a['bbox'] for a in truth)]
        found = dict(
            bboxes=torch.tensor(boxes),
            scores=torch.full((len(truth),), 0.4),
            labels=torch.tensor([a['category_id'] - 1 for a in truth]),
            masks=[coco.annToRLE(a) for a in truth],
        )
        kept.append(dict(img_id=image_id, pred_instances=found))
    path = tmp_path_factory.mktemp('kept') / 'predictions.pkl'
    path.write_bytes(pickle.dumps(kept))
    return cfg, path


@pytest.fixture(scope='module')
def segmentor(shapes):
    """A config on the drawn scenes, and its truth as predictions."""
    cfg = Config.fromfile(ROOT / 'configs/segmentation/upernet_fastervit_shapes.py')
    point_to_folder(cfg, shapes / 'ade')
    return cfg, shapes / 'ade/annotations/validation'


def pixels(picture):
    return np.asarray(picture).astype(int)


def test_a_detectors_truth_has_a_perfect_score(detector):
    results = TASKS['detection'].results(*detector)
    assert results.score_name == 'F1 at IoU 0.5'
    assert [(i.score, i.name) for i in results.images] == [(1, '000000.jpg'), (1, '000001.jpg')]
    assert all(row[2:] == [pytest.approx(1)] * 2 for row in results.per_class if row[1])


def test_a_segmentors_truth_has_a_perfect_score(segmentor):
    results = TASKS['segmentation'].results(*segmentor)
    assert results.score_name == 'mean IoU'
    assert [(i.score, i.name) for i in results.images] == [(1, '000000'), (1, '000001')]
    assert results.confusion.sum() == np.trace(results.confusion) == 2 * 64 * 64


def test_objects_below_the_score_are_neither_counted_nor_drawn(detector, shapes):
    """Against the photograph itself: nothing is painted where nothing was found."""
    task = TASKS['detection']
    (shown, *_), (hidden, *_) = task.images(*detector, 0.4), task.images(*detector, 0.41)
    assert (shown.score, hidden.score) == (1, 0)
    photo = Image.open(shapes / 'coco/val2017/000000.jpg').convert('RGB')
    plain = photo.resize((512, 512), Image.Resampling.BICUBIC)
    truth, prediction = hidden.pictures()
    assert (pixels(prediction) == pixels(plain)).all()
    assert (pixels(truth) != pixels(plain)).any()
    # the same boxes and masks; the prediction has its score beside the name
    truth, prediction = shown.pictures()
    assert (pixels(prediction) != pixels(plain)).any()
    assert 0 < (pixels(truth) != pixels(prediction)).any(-1).mean() < 0.2


def test_label_maps_have_no_scores(segmentor):
    task = TASKS['segmentation']
    images = task.images(*segmentor, 0.99)
    assert [(i.score, i.name) for i in images] == [(1, '000000'), (1, '000001')]
    truth, prediction = images[1].pictures()
    assert (pixels(truth) == pixels(prediction)).all()


@pytest.mark.parametrize('task', ['detection', 'segmentation'])
def test_the_report_draws_the_same_images(task, request):
    cfg, path = request.getfixturevalue(dict(detection='detector').get(task, 'segmentor'))
    for one, other in zip(
        TASKS[task].results(cfg, path).images, TASKS[task].images(cfg, path, 0.3), strict=True
    ):
        assert isinstance(one, ImageResult) and one[:2] == other[:2]
        assert (pixels(one.draw()) == pixels(other.draw())).all()
