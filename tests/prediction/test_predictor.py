"""`Predictor` asks the host library's inferencer, and draws what it finds in the right colours."""

from types import SimpleNamespace

import mmdet.apis
import mmseg.apis
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.structures import InstanceData, PixelData

from fastervit_mm.errors import ArgumentError, FileError
from fastervit_mm.pictures import draw_labels, draw_objects
from fastervit_mm.prediction import Predictor
from fastervit_mm.tasks import TASKS
from tests.configs.resolved import CONFIGS

NAMES = ('cat', 'dog')


class Inferencer:
    """Stands for mmdet's and mmseg's: notes what it is given, finds the number of each image."""

    def __init__(self, **options):
        self.options, self.calls = options, []
        self.model = SimpleNamespace(dataset_meta=dict(classes=list(NAMES)))

    def __call__(self, images, **options):
        self.calls.append((type(images), len(images), options))
        found = [f'sample {i}' for i in range(len(images))]
        if options.get('no_save_vis'):  # mmdet's
            return dict(predictions=found, visualization=None)
        return found if len(found) > 1 else found[0]


@pytest.fixture
def make(tmp_path, monkeypatch):
    """A function that makes a Predictor of a scope, on stand-ins of both inferencers."""
    other = SimpleNamespace  # fails when it is called with images
    config, weights = tmp_path / 'c.py', tmp_path / 'w.pth'
    weights.touch()

    def maker(scope, device='auto'):
        config.write_text(f'default_scope = {scope!r}\nmodel = dict(type=0)\nmark = 3\n')
        for module, name in ((mmdet.apis, 'DetInferencer'), (mmseg.apis, 'MMSegInferencer')):
            kind = Inferencer if module.__name__.startswith(scope) else other
            monkeypatch.setattr(module, name, kind)
        return Predictor(str(config), str(weights), device)

    maker.weights = str(weights)
    return maker


@pytest.mark.parametrize('scope', ['mmdet', 'mmseg'])
@pytest.mark.parametrize('device, given', [('auto', None), ('cpu', 'cpu')])
def test_the_host_library_gets_config_weights_and_device(scope, device, given, make):
    predictor = make(scope, device)
    options = dict(predictor.inferencer.options)
    assert isinstance(options['model'], Config) and options.pop('model').mark == 3
    quiet = dict(show_progress=False) if scope == 'mmdet' else {}
    assert options == dict(weights=make.weights, device=given, scope=scope, **quiet)
    assert predictor.task is TASKS['segmentation' if scope == 'mmseg' else 'detection']
    assert predictor.classes == NAMES


def test_the_device_is_chosen_by_itself(make):
    assert make('mmdet').inferencer.options['device'] is None


def test_what_does_not_exist_is_an_error(make, tmp_path):
    make('mmdet')
    with pytest.raises(FileError, match='config none.py does not exist'):
        Predictor('none.py', make.weights)
    with pytest.raises(FileError, match='checkpoint none.pth does not exist'):
        Predictor(str(tmp_path / 'c.py'), 'none.pth')
    with pytest.raises(ArgumentError, match="default_scope of the config is 'mmfoo'"):
        make('mmfoo')


@pytest.mark.parametrize('count', [1, 3])
@pytest.mark.parametrize('scope', ['mmdet', 'mmseg'])
def test_each_image_has_a_sample(scope, count, make):
    predictor = make(scope)
    samples = predictor(tuple(np.zeros((4, 4, 3), np.uint8) for _ in range(count)))
    assert samples == [f'sample {i}' for i in range(count)]
    quiet = dict(no_save_vis=True, no_save_pred=True) if scope == 'mmdet' else {}
    options = dict(batch_size=count, return_datasamples=True, **quiet)
    assert predictor.inferencer.calls == [(list, count, options)]


@pytest.fixture
def photo():
    """(500, 600, 3): blue on the left, red on the right, in BGR."""
    image = np.zeros((500, 600, 3), np.uint8)
    image[:, :300, 0] = image[:, 300:, 2] = 250
    return image


def test_a_detectors_picture(photo, make):
    boxes = np.array([[350.0, 100, 450, 200], [50, 300, 150, 400], [0, 0, 590, 490]], np.float32)
    masks = np.zeros((3, 500, 600), np.uint8)
    masks[0, 120:180, 370:430] = 1
    objects = InstanceData(
        bboxes=torch.from_numpy(boxes),
        scores=torch.tensor([0.9, 0.5, 0.49]),
        labels=torch.tensor([1, 0, 0]),
    )
    rgb = photo[..., ::-1].copy()
    predictor = make('mmdet')
    picture = predictor.draw(photo, SimpleNamespace(pred_instances=objects), 0.5)
    expected = draw_objects(rgb, boxes[:2], [1, 0], NAMES, [0.9, 0.5])
    assert (np.asarray(picture) == np.asarray(expected)).all()
    assert picture.getpixel((10, 490)) == (0, 0, 250)  # blue
    assert picture.getpixel((590, 490)) == (250, 0, 0)  # red

    objects.masks = torch.from_numpy(masks)
    picture = predictor.draw(photo, SimpleNamespace(pred_instances=objects), 0.5)
    expected = draw_objects(rgb, boxes[:2], [1, 0], NAMES, [0.9, 0.5], list(masks[:2] > 0))
    assert (np.asarray(picture) == np.asarray(expected)).all()
    assert picture.getpixel((400, 150)) != (250, 0, 0)


def test_a_segmentors_picture(photo, make):
    labels = np.full((500, 600), 255)
    labels[100:200, 100:200] = 1
    sample = SimpleNamespace(pred_sem_seg=PixelData(data=torch.from_numpy(labels)[None]))
    picture = make('mmseg').draw(photo, sample, 0.5)
    expected = draw_labels(photo[..., ::-1].copy(), labels, NAMES)
    assert (np.asarray(picture) == np.asarray(expected)).all()
    assert picture.getpixel((10, 490)) == (0, 0, 250)
    assert picture.getpixel((590, 490)) == (250, 0, 0)


@pytest.mark.parametrize(
    'name',
    [
        'detection/cascade_fastervit_0_3x',
        'detection/mask2former_fastervit_2_50e_panoptic',
        'segmentation/upernet_fastervit_0_160k',
    ],
)
def test_a_config_may_leave_its_classes_to_its_data_set(name, make, monkeypatch):
    """The type of which only the host library knows; panoptic truth is not read for predicting."""
    make('mmdet')
    monkeypatch.setattr(mmseg.apis, 'MMSegInferencer', Inferencer)
    predictor = Predictor(str(CONFIGS / f'{name}.py'), make.weights)
    assert predictor.classes == NAMES  # of the checkpoint's
    steps = predictor.inferencer.options['model'].test_dataloader.dataset.pipeline
    assert 'LoadPanopticAnnotations' not in {step.type for step in steps}
