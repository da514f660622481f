"""A model is evaluated on its own classes, which checkpoint and data know by their names."""

from types import SimpleNamespace

import pytest
import torch

from fastervit_mm.training.same_classes import other_classes
from fastervit_mm.weights.publishing import publish
from tests.helpers import call_tool, few

DETECTION = 'configs/detection/cascade_fastervit_shapes.py'
SEGMENTATION = 'configs/segmentation/upernet_fastervit_shapes.py'
NAMES = {
    DETECTION: ('circle', 'square', 'triangle'),
    SEGMENTATION: ('background', 'circle', 'square', 'triangle'),
}
MANY = tuple('abcdefg')


def data(classes):
    return SimpleNamespace(metainfo=dict(classes=classes))


@pytest.mark.parametrize(
    'meta',
    [
        dict(dataset_meta=dict(classes=['a', 'b'])),
        dict(dataset_meta=dict(CLASSES=('a', 'b'))),
        dict(CLASSES=('a', 'b')),
        dict(dataset_meta=None),
        dict(dataset_meta=dict(classes=None)),
        {},
    ],
)
def test_the_same_classes_or_none_that_are_named(meta):
    for classes in (('a', 'b'), ['a', 'b'], ('A', 'b '), None):
        assert other_classes(dict(meta=meta), data(classes)) is None
    assert other_classes({}, data(('a',))) is None
    assert other_classes(dict(meta=meta), object()) is None


@pytest.mark.parametrize(
    'old, new, said, number',
    [
        ('ab', 'ba', ('2 classes a, b', '2 classes b, a'), 1),
        ('ab', 'ac', ('2 classes a, b', '2 classes a, c'), 2),
        ('ab', 'a', ('2 classes a, b', '1 classes a'), 2),
        (MANY, 'abcdegf', ('7 classes a, b, c, d, e …', '7 classes a, b, c, d, e …'), 6),
        (('a\nb',), ('a b',), (r'1 classes a\nb', '1 classes a b'), 1),
    ],
)
def test_other_classes_or_another_order(old, new, said, number):
    for meta in (dict(dataset_meta=dict(classes=tuple(old))), dict(CLASSES=list(old))):
        found = other_classes(dict(meta=meta), data(tuple(new)))
        first = f' (number {number} is the first that differs)'
        assert found == (f'the {said[0]}', f'the {said[1]}{first}')


def checkpoint(folder, classes, suffix):
    """One that names ``classes`` and has no weight of any network."""
    path = folder / 'c.pth'
    content = dict(state_dict=dict(w=torch.ones(1)), meta=dict(dataset_meta=dict(classes=classes)))
    torch.save(content, path)
    return path if suffix == '.pth' else publish(str(path), folder / 'c')[0]


@pytest.mark.parametrize(
    'config, layout, suffix, data_option',
    [
        (DETECTION, 'coco', '.pth', True),
        (DETECTION, 'coco', '.safetensors', False),
        (SEGMENTATION, 'ade', '.safetensors', True),
        (SEGMENTATION, 'ade', '.pth', False),
    ],
)
def test_a_model_of_other_classes_is_not_evaluated(
    config, layout, suffix, data_option, shapes, tmp_path
):
    folder, names = shapes / layout, NAMES[config]

    def said_of(classes):
        path = checkpoint(tmp_path, classes, suffix)
        options = ['--data', folder] if data_option else []
        root = [] if data_option else [f'test_dataloader.dataset.data_root={folder}/']
        if config == DETECTION and not data_option:
            root += [f'test_evaluator.ann_file={folder}/annotations/instances_val2017.json']
        given = [config, path, *options, '--work-dir', tmp_path / 'run']
        output = call_tool('test.py', *given, '--cfg-options', *few(), *root, expect=1)
        return path, output.strip().splitlines()[-1]

    path, line = said_of(names[::-1])
    assert line == (
        f'error: the model in {path} has the {len(names)} classes {", ".join(names[::-1])}, the '
        f'config evaluates the {len(names)} classes {", ".join(names)} (number 1 is the first that '
        'differs); use the config of the run that the checkpoint is of, which lies in its work dir'
    )
    assert 'the weights do not fit the config' in said_of(names)[1]  # looked at after the classes
