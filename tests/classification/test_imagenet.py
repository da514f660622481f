"""tools/validate_imagenet.py on generated folders in the layouts of ImageNet, -A, -R and -V2."""

import csv
import runpy
from shutil import copy

import numpy as np
import pytest
import timm
import torch
from PIL import Image

from fastervit_mm.classification.imagenet import (
    COLUMNS,
    SYNSETS,
    class_numbers,
    competing_classes,
    image_folder,
    measure,
    read_synsets,
)
from fastervit_mm.errors import ArgumentError, FileError
from fastervit_mm.models.classifier import FasterViTClassifier
from tests.helpers import ROOT, call_tool

WNIDS = read_synsets(SYNSETS)


def write(folder, classes, each=2):
    """Images of 40 px in folders of these names."""
    random = np.random.default_rng(0)
    for name in classes:
        (folder / name).mkdir(parents=True)
        for i in range(each):
            pixels = random.integers(0, 255, (40, 50, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / name / f'{i}.JPEG')
    return folder


def test_classes_have_imagenets_numbers(tmp_path):
    write(tmp_path / 'val', ['n01440764', 'n15075141', 'n02123045'], each=1)
    (tmp_path / 'val/unknown').mkdir()
    assert image_folder(tmp_path) == tmp_path / 'val'
    assert class_numbers(tmp_path / 'val') == dict(n01440764=0, n15075141=999, n02123045=281)
    write(tmp_path / 'v2', ['10', '2', '999'], each=1)  # not in the order of their names
    assert class_numbers(tmp_path / 'v2') == {'10': 10, '2': 2, '999': 999}
    (tmp_path / 'cats').mkdir()
    (tmp_path / 'cats/tabby').mkdir()
    with pytest.raises(FileError, match=r'no folder that is named after a class .* are tabby\)'):
        class_numbers(tmp_path / 'cats')
    with pytest.raises(FileError, match='nowhere is not a folder'):
        image_folder(tmp_path / 'nowhere')


@pytest.mark.parametrize('variant, count', [('1k', None), ('v2', None), ('a', 200), ('r', 200)])
def test_which_classes_compete(variant, count):
    classes = competing_classes(variant)
    assert (None if classes is None else len(set(classes))) == count


def test_accuracy_by_hand():
    """Class 3 always scores highest, then 7, 1, 0, 2, 4; on a subset without 3, class 7 does."""
    scores = torch.full((1000,), -1.0)
    for place, number in enumerate((3, 7, 1, 0, 2, 4)):
        scores[number] = 10.0 - place

    class Fixed(torch.nn.Module):
        def forward(self, x):
            return scores.expand(len(x), -1)

    labels = torch.tensor([3, 7, 4, 9])
    found = measure(Fixed(), [(torch.zeros(4, 3, 8, 8), labels)])
    assert found == (4, 25.0, 50.0)
    found = measure(Fixed(), [(torch.zeros(3, 3, 8, 8), labels[1:])], competing=[4, 7, 9, 11])
    assert found.images == 3 and found.top1 == pytest.approx(100 / 3) and found.top5 == 100
    with pytest.raises(ArgumentError, match='not among the 2 of this variant'):
        measure(Fixed(), [(torch.zeros(4, 3, 8, 8), labels)], competing=[4, 7])


@pytest.fixture(scope='module')
def checkpoint(tmp_path_factory):
    """Weights of fastervit_0 whose head always says class 281, then 0, 1, 2, 3."""
    torch.manual_seed(0)
    model = FasterViTClassifier('fastervit_0')
    model.head.weight.data.zero_()
    model.head.bias.data = -torch.arange(1000.0)
    model.head.bias.data[281] = 1
    path = tmp_path_factory.mktemp('weights') / 'published.pth.tar'
    torch.save(dict(state_dict=model.state_dict()), path)
    return path


@pytest.mark.parametrize(
    'variant, names, top1, top5',
    [
        ('1k', [WNIDS[281], WNIDS[0], WNIDS[3], WNIDS[500]], 25.0, 75.0),
        ('v2', ['281', '10', '2', '3'], 25.0, 75.0),
        ('a', [WNIDS[i] for i in competing_classes('a')[:3]], 100 / 3, 100.0),
    ],
)
def test_the_tool(variant, names, top1, top5, checkpoint, tmp_path):
    data, out = write(tmp_path / 'data', names, each=1), tmp_path / 'results.csv'
    options = ('--model', 'fastervit_0', '--checkpoint', checkpoint, '--variant', variant)
    quick = ('--img-size', 32, '--workers', 0, '--out', out)
    for _ in range(2):
        output = call_tool('validate_imagenet.py', data, *options, *quick)
    assert f'{len(names)} images of ImageNet-{variant.upper()}' in output
    rows = list(csv.DictReader(out.open()))
    assert len(rows) == 2 and tuple(rows[0]) == COLUMNS and rows[0] == rows[1]
    assert float(rows[0]['top1']) == pytest.approx(top1, abs=1e-3)
    assert float(rows[0]['top5']) == pytest.approx(top5, abs=1e-3)
    assert rows[0]['param_count'] == '31.4' and rows[0]['img_size'] == '32'


@pytest.mark.parametrize('dtype', ['fp32', 'bf16'])
def test_mixed_precision(dtype, checkpoint, tmp_path):
    data = write(tmp_path, [WNIDS[281]], each=3)
    options = ('--model', 'fastervit_0', '--checkpoint', checkpoint, '--dtype', dtype)
    output = call_tool('validate_imagenet.py', data, *options, '--img-size', 32, '--workers', 0)
    assert 'top1 100.0, top1_err 0.0, top5 100.0' in output


def test_other_windows_and_the_published_figure(checkpoint, tmp_path, monkeypatch):
    """A network fine-tuned with other windows needs them; a published figure is for published weights."""
    data = write(tmp_path / 'data', [WNIDS[281]], each=1)
    quick = ('--model', 'fastervit_0', '--img-size', 32, '--workers', 0)
    options = ('--checkpoint', checkpoint, '--model-kwargs', 'window_size=[7,7,5,2]')
    built = []
    create = timm.create_model
    monkeypatch.setattr(
        timm, 'create_model', lambda *a, **k: built.append(create(*a, **k)) or built[-1]
    )
    output = call_tool('validate_imagenet.py', data, *quick, *options)
    assert [level.window for level in built[0].levels[2:]] == [5, 2]
    assert 'published' not in output
    monkeypatch.setenv('TORCH_HOME', str(tmp_path))
    (tmp_path / 'hub/checkpoints').mkdir(parents=True)
    copy(checkpoint, tmp_path / 'hub/checkpoints/fastervit_0_224_1k.pth.tar')
    output = call_tool('validate_imagenet.py', data, *quick)
    assert 'published top-1, 224 px, crop 0.875: 82.1' in output and 'top1 100.0' in output


@pytest.mark.parametrize(
    'name, variant, line',
    [
        ('fastervit_4', '1k', 'published top-1, 224 px, crop 1.0: 85.4'),
        ('fastervit_4', 'a', 'published top-1, 224 px, crop 0.875: 49.0'),
        ('fastervit_4_21k_768', '1k', 'published top-1, 768 px, crop 0.93: 87.9'),
        ('fastervit_1', 'r', 'published top-1: none on these images'),
    ],
)
def test_published_figures_come_with_their_crop(name, variant, line):
    tool = runpy.run_path(str(ROOT / 'tools' / 'validate_imagenet.py'))
    settings = timm.get_pretrained_cfg(name).to_dict()
    assert tool['published_line'](name, variant, settings) == line


@pytest.mark.parametrize('text', ['foo', '=3'])
def test_arguments_of_the_network_are_key_and_value(text):
    options = ('.', '--model', 'fastervit_0', f'--model-kwargs={text}')
    output = call_tool('validate_imagenet.py', *options, expect=2)
    assert f'argument --model-kwargs: {text} is not KEY=VALUE' in output
    assert 'Traceback' not in output


@pytest.mark.parametrize(
    'options, words',
    [
        (('nowhere', '--model', 'fastervit_0'), 'nowhere is not a folder'),
        (('.', '--model', 'fastervit_9'), "--model is 'fastervit_9'; ours are fastervit_0, "),
        (('.', '--model', 'fastervit_0', '--checkpoint', 'none.pth'), 'none.pth does not exist'),
    ],
)
def test_errors_are_one_line(options, words):
    output = call_tool('validate_imagenet.py', *options, expect=1)
    assert words in output and 'Traceback' not in output
