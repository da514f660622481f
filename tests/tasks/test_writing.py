"""What each task writes of a prediction on any image."""

from types import SimpleNamespace

import numpy as np
import torch
from mmengine.structures import InstanceData, PixelData
from PIL import Image

from fastervit_mm.prediction import Frame, image_entry
from fastervit_mm.tasks import TASKS

CLASSES = ('cat', 'dog')


def test_a_detector_writes_one_list(tmp_path):
    task = TASKS['detection']
    found = InstanceData(
        bboxes=torch.tensor([[1.0, 2, 4, 8], [0, 0, 1, 1]]),
        scores=torch.tensor([0.75, 0.25]),
        labels=torch.tensor([1, 0]),
    )
    sample, image = SimpleNamespace(pred_instances=found), dict(image_id=3, file_name='a.jpg')
    entries = task.write(tmp_path, 'a', sample, image, CLASSES, 0.5)
    assert entries == [
        dict(image, category_id=2, category='dog', bbox=[1, 2, 3, 6], score=0.75),
    ]
    assert not list(tmp_path.iterdir())
    assert task.listed
    assert image == dict(image_id=3, file_name='a.jpg')  # stays as it was


def test_a_segmentor_writes_a_label_map_for_each_image(tmp_path):
    task = TASKS['segmentation']
    labels = np.array([[0, 1, 1], [149, 0, 1]])
    sample = SimpleNamespace(pred_sem_seg=PixelData(data=torch.from_numpy(labels)[None]))
    assert task.write(tmp_path, 'b/x.y', sample, {}, CLASSES, 0.5) == []
    assert not task.listed
    assert [p for p in tmp_path.rglob('*') if p.is_file()] == [tmp_path / 'labels/b/x.y.png']
    written = Image.open(tmp_path / 'labels/b/x.y.png')
    assert written.mode == 'L' and (np.asarray(written) == labels).all()


def test_what_the_list_says_of_an_image():
    assert image_entry(Frame('a', 'x/a.jpg', None), 2) == dict(image_id=2, file_name='x/a.jpg')
    assert image_entry(Frame('v_000007', 'v.avi', None, 7), 9) == dict(
        image_id=9, file_name='v.avi', frame=7
    )
