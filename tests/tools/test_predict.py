"""What tools/predict.py passes on and prints, with a stand-in for the network."""

import json
from types import SimpleNamespace

import pytest
import torch
from mmengine.structures import InstanceData
from PIL import Image

from fastervit_mm import prediction
from fastervit_mm.tasks import TASKS
from tests.helpers import call_tool


class Stand:
    """Finds a sure object and an unsure one in every image."""

    classes, task = ('thing',), TASKS['detection']
    made: list  # of what it was made with, and of the sizes of batches

    def __init__(self, *given, trust):
        assert trust is False
        self.made.append(given)

    def __call__(self, images):
        self.made.append(len(images))
        objects = InstanceData(
            bboxes=torch.tensor([[0.0, 0, 2, 2]] * 2),
            scores=torch.tensor([0.9, 0.3]),
            labels=torch.tensor([0, 0]),
        )
        return [SimpleNamespace(pred_instances=objects) for _ in images]

    def draw(self, image, sample, score):
        return Image.fromarray(image)


@pytest.fixture
def made(monkeypatch):
    monkeypatch.setattr(Stand, 'made', [], raising=False)
    monkeypatch.setattr(prediction, 'Predictor', Stand)
    return Stand.made


@pytest.fixture
def photos(tmp_path):
    """Six images and a broken one."""
    folder = tmp_path / 'in'
    folder.mkdir()
    for i in range(6):
        Image.new('RGB', (8, 8)).save(folder / f'{i}.png')
    (folder / '6.png').write_bytes(b'no image')
    return folder


def predict(folder, out, *options, expect=0):
    given = ['--config', 'c.py', '--weights', 'w.pth', '--out', out]
    return call_tool('predict.py', folder, *given, *options, expect=expect)


def test_the_help_names_the_options():
    output = call_tool('predict.py', '--help')
    assert 'Predict on images, folders, videos or a camera, and draw the predictions.' in output
    assert 'INPUT [INPUT ...]' in output


def test_defaults(made, photos, tmp_path):
    output = predict(photos, tmp_path / 'out')
    assert made == [('c.py', 'w.pth', 'auto'), 4, 2]
    lines = output.splitlines()
    assert 'skipped 6.png: no image or video that can be read' in lines
    assert lines[-1] == f'6 images done, 1 skipped; pictures: {tmp_path}/out/pictures'
    assert len(json.loads((tmp_path / 'out/predictions.json').read_text())) == 12


def test_options(made, photos, tmp_path):
    options = ['--batch', 3, '--limit', 5, '--score', 0.5, '--device', 'cpu']
    output = predict(photos, tmp_path / 'out', *options)
    assert made == [('c.py', 'w.pth', 'cpu'), 3, 2]
    assert '5 images done, 0 skipped' in output and 'skipped ' not in output.split('done')[0]
    results = json.loads((tmp_path / 'out/predictions.json').read_text())
    assert [r['score'] for r in results] == [0.9] * 5


def test_one_is_a_number_that_is_allowed(made, photos, tmp_path):
    predict(photos, tmp_path / 'out', '--batch', 1, '--limit', 1)
    assert made[1:] == [1]


def test_nothing_that_can_be_read_is_an_error(made, photos, tmp_path):
    output = predict(photos / '6.png', tmp_path / 'out', expect=1)
    assert '0 images done, 1 skipped' in output
    reason = 'no image or video that can be read'
    assert output.splitlines()[-1] == f'error: none of the inputs could be predicted on: {reason}'


def test_what_all_failed_of_is_named(made, photos, tmp_path, monkeypatch):
    def fails(self, images):
        raise KeyError('a defect')

    monkeypatch.setattr(Stand, '__call__', fails)
    output = predict(photos, tmp_path / 'out', expect=1)
    last = output.splitlines()[-1]
    assert '0 images done, 7 skipped' in output
    assert last.startswith('error: none of the inputs could be predicted on: failed on its 8x8 px')
    assert "(KeyError: 'a defect'; test_predict.py, line " in last
    assert last.endswith(' (and 1 more, above)')


@pytest.mark.parametrize('value', ['-0.1', '1.1', 'x', 'nan'])
def test_scores_are_from_0_to_1(value, made, photos, tmp_path):
    output = predict(photos, tmp_path, f'--score={value}', expect=2)
    assert f'--score: {value} is not a number from 0 to 1' in output and made == []


def test_larger_images_are_skipped(made, photos, tmp_path):
    Image.new('RGB', (9, 8)).save(photos / '3.png')
    output = predict(photos, tmp_path / 'out', '--max-pixels', 64)
    assert 'skipped 3.png: 9x8 px are more than 64 px; ' in output
    assert '5 images done, 2 skipped' in output


def test_inputs_come_before_the_network(made, tmp_path):
    output = predict(tmp_path / 'none.jpg', tmp_path / 'out', expect=1)
    assert output.startswith('error: ') and 'names no image' in output
    assert made == []


@pytest.mark.parametrize('missing', ['--config', '--weights', '--out'])
def test_config_weights_and_a_folder_are_needed(missing, made, photos):
    given = {'--config': 'c.py', '--weights': 'w.pth', '--out': 'o'}
    del given[missing]
    output = call_tool('predict.py', photos, *(p for pair in given.items() for p in pair), expect=2)
    assert f'the following arguments are required: {missing}' in output and made == []


@pytest.mark.parametrize('option', ['--limit', '--batch'])
@pytest.mark.parametrize('value', ['-1', '0', 'x', '1.5'])
def test_numbers_below_one_are_refused(option, value, made, photos, tmp_path):
    output = predict(photos, tmp_path, f'{option}={value}', expect=2)
    assert f'{option}: {value} is not a number of at least 1' in output and made == []
