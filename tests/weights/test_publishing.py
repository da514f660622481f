"""What is given to others: weights and class names, in a file that goes wherever a checkpoint does."""

import hashlib

import pytest
import torch
from safetensors import safe_open

from fastervit_mm import FasterViT
from fastervit_mm.errors import FileError
from fastervit_mm.weights.publishing import publish
from fastervit_mm.weights.safe_loading import load_file
from tests.helpers import SMALL, call_tool, few

SHAPES = 'configs/detection/cascade_fastervit_shapes.py'


def checkpoint(path, **more):
    weight = torch.arange(6.0).reshape(2, 3)
    entries = {'module.a.weight': weight, 'module.b.weight': weight, 'module.c': weight.t()}
    torch.save(dict(state_dict=entries, optimizer=dict(state={0: torch.ones(100)}), **more), path)
    return entries


def test_weights_and_names_alone(tmp_path):
    meta = dict(dataset_meta=dict(classes=('dog', 'cät')), epoch=3)
    entries = checkpoint(tmp_path / 'run.pth', meta=meta)
    path, names = publish(str(tmp_path / 'run.pth'), tmp_path / 'mine.pth')
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert path.name == f'mine-{digest[:8]}.safetensors' and names == ('dog', 'cät')
    assert sorted(p.name for p in tmp_path.iterdir()) == [path.name, 'run.pth']
    with safe_open(path, framework='pt') as file:
        assert set(file.keys()) == {'a.weight', 'b.weight', 'c'}
    content = load_file(path)
    for name, value in entries.items():
        assert torch.equal(content['state_dict'][name.removeprefix('module.')], value)
    assert content['meta']['dataset_meta']['classes'] == ('dog', 'cät')


def test_names_that_are_not_there(tmp_path):
    checkpoint(tmp_path / 'run.pth')
    path, names = publish(str(tmp_path / 'run.pth'), tmp_path / 'mine')
    assert names == () and path.name.startswith('mine-')
    torch.save([1], tmp_path / 'list.pth')
    with pytest.raises(FileError, match='expected a dict of tensors'):
        publish(str(tmp_path / 'list.pth'), tmp_path / 'mine')


def test_a_broken_safetensors_file(tmp_path):
    (tmp_path / 'a.safetensors').write_bytes(b'12345678')
    with pytest.raises(FileError, match=r'checkpoint .*a\.safetensors cannot be loaded'):
        load_file(tmp_path / 'a.safetensors')


def test_it_goes_wherever_a_checkpoint_does(shapes, tmp_path):
    """Tested, predicted with and started from, with the same result as the checkpoint."""
    common = ['--data', shapes / 'coco', '--work-dir', tmp_path / 'run']
    quick = [*few(), 'train_cfg.val_interval=9', 'model.test_cfg.rcnn.score_thr=0.0']
    quick += ['model.test_cfg.rpn.max_per_img=9']
    call_tool('train.py', SHAPES, *common, '--epochs', 1, '--cfg-options', *quick)
    trained = tmp_path / 'run/epoch_1.pth'
    output = call_tool('publish_checkpoint.py', trained, tmp_path / 'mine')
    (published,) = tmp_path.glob('mine-*.safetensors')
    assert f'{published}: ' in output and '3 classes: circle, square, triangle' in output
    assert published.stat().st_size < trained.stat().st_size / 2
    kept = []
    for weights in (trained, published):
        out = tmp_path / f'{weights.stem}.json'
        call_tool('test.py', SHAPES, weights, *common, '--out', out, '--cfg-options', *quick)
        kept.append(out.read_text())
        call_tool(
            *('predict.py', shapes / 'coco/val2017', '--config', SHAPES, '--weights', weights),
            *('--out', tmp_path / weights.stem, '--limit', 1, '--device', 'cpu'),
        )
    assert kept[0] == kept[1] and len(kept[0]) > 2
    start = ('--fresh', '--from', published)
    output = call_tool('train.py', SHAPES, *common, '--epochs', 1, *start, '--cfg-options', *quick)
    assert 'entries taken over' in output and 'left out' not in output


def test_a_backbone_takes_one_too(tmp_path):
    theirs = FasterViT(SMALL)
    torch.save(dict(state_dict=theirs.state_dict()), tmp_path / 'a.pth')
    path, _ = publish(str(tmp_path / 'a.pth'), tmp_path / 'a')
    ours = FasterViT(SMALL, init_cfg=dict(type='Pretrained', checkpoint=str(path)))
    ours.init_weights()
    assert all(torch.equal(v, theirs.state_dict()[k]) for k, v in ours.state_dict().items())
