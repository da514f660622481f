"""Nothing that a file holds is executed: every entrance with every payload."""

import argparse
import os
import pickle
import re

import numpy as np
import pytest
import torch
from mmengine.config import Config, ConfigDict
from mmengine.runner.checkpoint import CheckpointLoader

from fastervit_mm import FasterViT
from fastervit_mm.errors import ArgumentError, FileError
from fastervit_mm.prediction import Predictor
from fastervit_mm.tasks.kept_detections import read_detections
from fastervit_mm.weights.entrances import FORCE_SAFE, FORCE_UNSAFE, guarded_loading, load_weights
from fastervit_mm.weights.published import network_entries
from fastervit_mm.weights.safe_loading import load_file
from tests.helpers import ROOT, SMALL, call_tool, few
from tests.logged import logged

SHAPES = 'configs/detection/cascade_fastervit_shapes.py'


class Payload:
    """Writes a file when it is unpickled."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.system, (f'echo ran >> {self.mark}',)


class Quiet(Payload):
    def __reduce__(self):
        return exec, (f'open({str(self.mark)!r}, "a").write("ran")',)


@pytest.fixture
def mark(tmp_path):
    """A file that is there once a payload ran."""
    return tmp_path / 'ran'


@pytest.fixture(params=[Payload, Quiet])
def payload(request, mark):
    return request.param(mark)


@pytest.fixture
def evil(payload, tmp_path):
    """A checkpoint with tensors of the right names, and more."""
    path = tmp_path / 'evil.pth'
    torch.save(dict(state_dict=FasterViT(SMALL).state_dict(), meta=dict(x=payload)), path)
    return path


def refused(output, mark):
    """One line that names the class; nothing ran."""
    last = output.strip().splitlines()[-1]
    assert last.startswith('error: checkpoint ') and 'which safe loading refuses' in last, output
    assert re.search(r'class (posix\.system|(\w+\.)?exec),', last)
    assert not mark.exists()


def test_the_payload_works(payload, mark, tmp_path):
    """Else nothing here could fail."""
    (tmp_path / 'p').write_bytes(pickle.dumps(payload))
    with open(tmp_path / 'p', 'rb') as file:
        pickle.load(file)
    assert mark.exists()


def common(shapes, tmp_path):
    return ['--data', shapes / 'coco', '--work-dir', tmp_path / 'run']


@pytest.mark.parametrize(
    'options',
    [
        ['--cfg-options', 'load_from={}'],
        ['--resume', '{}'],
        ['--from', '{}'],
        [
            '--cfg-options',
            'model.backbone.init_cfg.type=Pretrained',
            'model.backbone.init_cfg.checkpoint={}',
        ],
    ],
)
def test_training(options, evil, mark, shapes, tmp_path):
    given = [str(o).format(evil) for o in options]
    given += [] if '--cfg-options' in given else ['--cfg-options']
    output = call_tool('train.py', SHAPES, *common(shapes, tmp_path), *given, *few(), expect=1)
    refused(output, mark)


def test_testing(evil, mark, shapes, tmp_path):
    given = [SHAPES, evil, *common(shapes, tmp_path)]
    refused(call_tool('test.py', *given, '--cfg-options', *few(), expect=1), mark)


def test_predicting(evil, mark, shapes, tmp_path):
    given = ['--config', SHAPES, '--weights', evil, '--out', tmp_path / 'out']
    output = call_tool('predict.py', shapes / 'coco/val2017', *given, expect=1)
    refused(output, mark)
    with pytest.raises(FileError, match='which safe loading refuses'):
        Predictor(str(ROOT / SHAPES), str(evil), 'cpu')
    assert not mark.exists()


def test_converting(evil, mark, tmp_path):
    refused(call_tool('convert_dino_checkpoint.py', evil, tmp_path / 'o.pth', expect=1), mark)


def test_our_backbone(evil, mark):
    model = FasterViT(SMALL, init_cfg=dict(type='Pretrained', checkpoint=str(evil)))
    with pytest.raises(FileError, match='which safe loading refuses'):
        model.init_weights()
    assert not mark.exists()


@pytest.mark.parametrize(
    'backbone',
    [
        dict(type='SwinTransformer', embed_dims=8, depths=(1, 1, 1, 1), num_heads=(1, 1, 1, 1)),
        dict(type='ResNeXt', depth=50, groups=2, base_width=4),
    ],
)
def test_peers_backbones(backbone, evil, mark):
    from mmdet.registry import MODELS

    init = dict(type='Pretrained', checkpoint=str(evil))
    with guarded_loading():
        model = MODELS.build(ConfigDict(backbone, init_cfg=init))
        with pytest.raises(FileError, match='which safe loading refuses'):
            model.init_weights()
    assert not mark.exists()


def test_kept_predictions(payload, mark, shapes, tmp_path):
    path = tmp_path / 'evil.pkl'
    path.write_bytes(pickle.dumps([dict(img_id=1, pred_instances=payload)]))
    given = [SHAPES, '--eval-only', path, *common(shapes, tmp_path)]
    output = call_tool('test.py', *given, expect=1)
    assert f'error: {path} cannot be read as kept detections (it holds ' in output
    assert '--trust reads any pickle' in output and not mark.exists()
    output = call_tool('test.py', *given, '--trust', expect=1)
    assert f"error: {path} holds no detections of mmdet's DumpDetResults (prediction 1 of" in output
    assert mark.exists()  # which is what it says


def test_trusting_is_asked_for(evil, mark, shapes, tmp_path):
    given = ['--config', SHAPES, '--weights', evil, '--out', tmp_path / 'out', '--trust-checkpoint']
    output = call_tool('predict.py', shapes / 'coco/val2017', *given, expect=1)
    assert 'error: the weights do not fit the config' in output
    assert mark.exists()


def test_a_config_inside_a_checkpoint_is_not_read(mark, shapes, tmp_path):
    """Mmengine executes meta.config when it resumes."""
    call_tool(
        *('train.py', SHAPES, *common(shapes, tmp_path), '--epochs', 1),
        *('--cfg-options', *few(), 'train_cfg.val_interval=9', 'model.test_cfg.rpn.max_per_img=9'),
    )
    path = tmp_path / 'run/epoch_1.pth'
    content = torch.load(path, weights_only=False)
    content['meta']['config'] = f'open({str(mark)!r}, "w").write("ran")'
    torch.save(content, path)
    output = call_tool(
        *('train.py', SHAPES, *common(shapes, tmp_path), '--epochs', 2, '--resume', path),
        *('--cfg-options', *few(), 'train_cfg.val_interval=9', 'model.test_cfg.rpn.max_per_img=9'),
    )
    assert 'resumed epoch: 1' in output and not mark.exists()


def test_everything_is_as_before_afterwards(monkeypatch):
    monkeypatch.delenv(FORCE_SAFE, raising=False)
    before = dict(CheckpointLoader._schemes)
    with guarded_loading():
        assert os.environ[FORCE_SAFE] == '1'
        for name in ('x.pth', 'https://x.org/x.pth', 'http://x.org/x.pth'):
            assert CheckpointLoader._get_checkpoint_loader(name).__name__ == 'load_from_safe'
    assert FORCE_SAFE not in os.environ and CheckpointLoader._schemes == before
    with guarded_loading(trust=True):
        assert os.environ[FORCE_SAFE] == '0'
    assert FORCE_SAFE not in os.environ and CheckpointLoader._schemes == before
    monkeypatch.setenv(FORCE_SAFE, '0')
    with guarded_loading():
        pass
    assert os.environ[FORCE_SAFE] == '0'


def test_a_shell_that_asks_for_unsafe_loading_is_told(monkeypatch, tmp_path, evil, mark):
    """PyTorch's other switch, which with ours is an error of every ``torch.load``."""
    torch.save(dict(state_dict=dict(a=torch.ones(1))), tmp_path / 'a.pth')
    monkeypatch.setenv(FORCE_UNSAFE, '1')
    with logged() as lines:
        with guarded_loading():
            assert FORCE_UNSAFE not in os.environ
            load_weights(str(tmp_path / 'a.pth'))
            with pytest.raises(FileError, match='which safe loading refuses'):
                load_weights(str(evil))
            with pytest.raises(pickle.UnpicklingError):
                torch.load(evil)
        assert os.environ[FORCE_UNSAFE] == '1' and not mark.exists()
        (line,) = [line for line in lines if FORCE_UNSAFE in line]
        assert 'is not honoured' in line
        with guarded_loading(trust=True):
            torch.load(tmp_path / 'a.pth')
    assert len([line for line in lines if FORCE_UNSAFE in line]) == 1
    assert os.environ[FORCE_UNSAFE] == '1'


def test_an_unsafe_load_of_another_library_is_refused(evil, mark):
    with guarded_loading(), pytest.raises(pickle.UnpicklingError):
        torch.load(evil, weights_only=False)
    assert not mark.exists()


def test_what_training_writes_is_harmless(tmp_path):
    """Namespaces, numpy arrays and histories, as published files and mmengine hold them."""
    content = dict(
        state_dict=dict(a=torch.ones(1)),
        meta=dict(args=argparse.Namespace(lr=1), config='1/0', epoch=3, x=np.arange(3)),
    )
    torch.save(content, tmp_path / 'a.pth')
    with guarded_loading():
        found = CheckpointLoader.load_checkpoint(str(tmp_path / 'a.pth'), map_location='cpu')
    assert found['meta']['epoch'] == 3 and 'config' not in found['meta']
    assert Config(dict(a=1)).a == 1


@pytest.fixture(scope='module')
def weights(tmp_path_factory):
    """All weights of the demo's network, at random, with the names of its classes left out."""
    from fastervit_mm.config.host import build_model

    torch.manual_seed(0)
    cfg = Config.fromfile(ROOT / SHAPES)
    return build_model(cfg).state_dict()


def stored(path, entries, **more):
    torch.save(dict(state_dict=entries, **more), path)
    return path


def tried(tool, path, shapes, tmp_path, expect):
    """What test.py or predict.py says of a checkpoint."""
    if tool == 'test.py':
        given = [SHAPES, path, *common(shapes, tmp_path), '--cfg-options', *few()]
    else:
        given = [shapes / 'coco/val2017', '--config', SHAPES, '--weights', path]
        given += ['--out', tmp_path / 'out', '--limit', 1]
    return call_tool(tool, *given, expect=expect)


@pytest.mark.parametrize('tool', ['test.py', 'predict.py'])
@pytest.mark.parametrize(
    'change, said',
    [
        (
            lambda w: {'foo': torch.ones(1)},
            '0 of {n} entries of the network are in the checkpoint, 1 of',
        ),
        (
            lambda w: {k: v for k, v in w.items() if 'fc_cls' not in k},
            'missing or of another shape: roi_head.bbox_head.0.fc_cls.weight, ',
        ),
        (
            lambda w: {k: v[:2] if k.endswith('0.fc_cls.bias') else v for k, v in w.items()},
            'missing or of another shape: roi_head.bbox_head.0.fc_cls.bias; use the config',
        ),
        (
            lambda w: {k: v * float('nan') if k.startswith('neck') else v for k, v in w.items()},
            'that are not finite',
        ),
    ],
)
def test_weights_that_cannot_be_right(tool, change, said, weights, shapes, tmp_path):
    path = stored(tmp_path / 'other.pth', change(weights))
    output = tried(tool, path, shapes, tmp_path, expect=1)
    last = output.strip().splitlines()[-1]
    assert last.startswith('error: ') and said.format(n=len(weights)) in last, output[-2000:]


@pytest.mark.parametrize('tool', ['test.py', 'predict.py'])
def test_what_the_network_does_not_have_is_counted(tool, weights, shapes, tmp_path):
    path = stored(tmp_path / 'more.pth', weights | {'aux.weight': torch.ones(1)})
    output = tried(tool, path, shapes, tmp_path, expect=0)
    n = len(weights)
    assert f'weights: {n} of {n} entries of the network are in the checkpoint, 1 of its ' in output


def test_names_of_classes_come_from_the_config(weights, tmp_path):
    """Not from COCO, as mmdet has it for a checkpoint without names."""
    path = stored(tmp_path / 'nameless.pth', weights)
    assert Predictor(str(ROOT / SHAPES), str(path), 'cpu').classes == (
        'circle',
        'square',
        'triangle',
    )
    meta = dict(dataset_meta=dict(classes=('a', 'b', 'c')))
    path = stored(tmp_path / 'named.pth', weights, meta=meta)
    assert Predictor(str(ROOT / SHAPES), str(path), 'cpu').classes == ('a', 'b', 'c')


class Forged:
    """Pickles as a call with a state, such as numpy's own classes take it."""

    def __init__(self, function, arguments, state=None):
        self.parts = (function, arguments) if state is None else (function, arguments, state)

    def __reduce__(self):
        return self.parts


FORGED = {
    # an object dtype without its flags: what is read as an object are the attacker's bytes
    'flags': Forged(np.dtype, ('O8', False, True), (3, '|', None, None, None, -1, -1, 0x20)),
    'objects': np.array([print], dtype=object),
    'fields': np.void((1, 2), dtype=[('config', 'i4'), ('epoch', 'i4')]),
    'subarray': Forged(
        np.dtype, ('f8', False, True), (3, '<', (np.dtype('O'), (1,)), None, None, 8, 8, 0)
    ),
    'an array of a buffer': Forged(np.ndarray, ((1,), np.dtype('i8'), bytearray(8))),
    'strings': np.array(['a']),
}


@pytest.mark.parametrize('kind', FORGED)
@pytest.mark.parametrize('where', ['meta', 'message_hub', 'state_dict', 'whole'])
def test_numbers_alone_are_made_of_bytes(kind, where, tmp_path):
    """Numpy's own classes would make arrays of pointers."""
    content = FORGED[kind] if where == 'whole' else {where: dict(a=FORGED[kind])}
    torch.save(content, tmp_path / 'forged.pth')
    with guarded_loading(), pytest.raises(FileError, match='forged.pth'):
        load_weights(str(tmp_path / 'forged.pth'))
    (tmp_path / 'forged.pkl').write_bytes(pickle.dumps([content]))
    with pytest.raises(FileError, match='cannot be read as kept detections'):
        read_detections(Config(), tmp_path / 'forged.pkl')


@pytest.mark.parametrize('meta', [np.float64(1), [('config', 'x')], 'config', 3])
def test_a_meta_that_is_no_dict(meta, tmp_path):
    torch.save(dict(state_dict={}, meta=meta), tmp_path / 'a.pth')
    with guarded_loading(), pytest.raises(FileError, match='its meta is none: not a checkpoint'):
        load_weights(str(tmp_path / 'a.pth'))


@pytest.mark.parametrize('dtype', ['f4', 'f8', '>f8', 'i4', 'i8', 'u1', '?', 'f2', 'c8'])
def test_arrays_of_numbers_come_as_they_were(dtype, tmp_path):
    arrays = [np.arange(6).reshape(2, 3).astype(dtype), np.asfortranarray(np.ones((2, 3), dtype))]
    arrays += [np.zeros((0, 2), dtype), np.array(3, dtype)]
    scalar = np.dtype(dtype).type(1)
    content = dict(a=arrays, b=(arrays[0], dict(c=scalar)), d=argparse.Namespace(x=arrays[1]))
    torch.save(dict(meta=content), tmp_path / 'a.pth')
    with guarded_loading():
        found = load_weights(str(tmp_path / 'a.pth'))['meta']
    for one, other in zip(
        [*found['a'], found['b'][0], found['d'].x], [*arrays, *arrays[:2]], strict=True
    ):
        assert type(one) is np.ndarray and one.dtype == other.dtype and one.shape == other.shape
        assert np.array_equal(one, other)
    assert found['b'][1]['c'] == scalar
    torch.save(found, tmp_path / 'again.pth')  # a run saves what it has loaded


@pytest.mark.parametrize('address', ['s3://a/b.pth', 'http://example.org/a.pth', 'pavi://a'])
def test_other_addresses_are_refused(address):
    with guarded_loading(), pytest.raises(ArgumentError, match='is not https'):
        CheckpointLoader.load_checkpoint(address)


@pytest.mark.parametrize('key', ['state_dict', 'model', None])
@pytest.mark.parametrize('dtype', [torch.float32, torch.float16, torch.float8_e5m2])
def test_weights_that_are_not_finite_are_refused_everywhere(key, dtype, tmp_path):
    entries = dict(a=torch.tensor([1.0, float('inf')]).to(dtype))
    torch.save(entries if key is None else {key: entries}, tmp_path / 'a.pth')
    for load in (load_weights, lambda p: network_entries(load_file(p))):
        with guarded_loading(), pytest.raises(FileError, match='values in a that are not finite'):
            load(str(tmp_path / 'a.pth'))


def test_trusting_keeps_the_other_checks(shapes, tmp_path):
    path = stored(tmp_path / 'other.pth', {'foo': torch.ones(1)})
    given = ['--config', SHAPES, '--weights', path, '--out', tmp_path / 'out', '--trust-checkpoint']
    output = call_tool('predict.py', shapes / 'coco/val2017', *given, expect=1)
    assert 'error: the weights do not fit the config' in output
