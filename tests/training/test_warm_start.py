"""Starting from a checkpoint of other classes: what is taken over, what is left out, what is said."""

import pytest
import torch
from mmdet.registry import MODELS
from mmengine.config import Config

from fastervit_mm.errors import ArgumentError, FileError
from fastervit_mm.training.warm_start import model_shapes, start_from
from tests.training.toys import ToyNet, registered


@pytest.fixture(autouse=True)
def toys():
    """The toys in the registries."""
    with registered():
        yield


def config(backbone='ToyBackbone', channels=8, **model):
    return Config(
        dict(
            default_scope='mmdet',
            load_from=None,
            resume=True,
            model=dict(
                type='ToyNet',
                backbone=dict(type=backbone, channels=channels, init_cfg=dict(type='Pretrained')),
                **model,
            ),
        )
    )


def write(path, change=lambda entries: None, **model):
    """A checkpoint of the toy, with changes; its entries."""
    torch.manual_seed(0)
    cfg = config(**model)
    net = MODELS.build(cfg.model)
    entries = {name: torch.rand_like(value) for name, value in net.state_dict().items()}
    change(entries)
    torch.save(dict(state_dict=entries, meta=dict(epoch=3)), path)
    return entries


def test_shapes_of_the_configs_model():
    shapes = model_shapes(config())
    assert {n: tuple(s) for n, s in shapes.items() if not n.startswith('neck')} == {
        'backbone.conv.weight': (8, 3, 1, 1),
        'backbone.conv.bias': (8,),
        'head.weight': (3, 4),
        'head.bias': (3,),
    }
    assert len(shapes) == 10 and ToyNet.devices == ['meta']  # no memory, no time
    model_shapes(config('ToySwin'))
    assert ToyNet.devices == ['meta', 'cpu']  # Swin cannot be built so


def test_all_is_taken_over_where_all_fits(tmp_path):
    entries = write(tmp_path / 'c.pth')
    cfg = config()
    lines = start_from(cfg, str(tmp_path / 'c.pth'), tmp_path / 'run')
    assert lines == [f'{tmp_path}/c.pth: 10 of 10 entries taken over']
    path = tmp_path / 'run/data/start.pth'
    assert cfg.load_from == str(path) and cfg.resume is False
    assert cfg.model.backbone.init_cfg is None
    written = torch.load(path, weights_only=True)
    assert set(written) == {'state_dict'} and set(written['state_dict']) == set(entries)
    assert all(torch.equal(written['state_dict'][n], v) for n, v in entries.items())
    assert [p.name for p in path.parent.iterdir()] == ['start.pth']


def test_an_end_while_it_is_written_leaves_what_was_there(tmp_path, monkeypatch):
    """A run that is started again would read half a file."""
    write(tmp_path / 'c.pth')
    start_from(config(), str(tmp_path / 'c.pth'), tmp_path / 'run')
    before = (tmp_path / 'run/data/start.pth').read_bytes()

    def save(content, file):
        (file if hasattr(file, 'write') else open(file, 'wb')).write(b'half')
        raise KeyboardInterrupt

    monkeypatch.setattr(torch, 'save', save)
    with pytest.raises(KeyboardInterrupt):
        start_from(config(), str(tmp_path / 'c.pth'), tmp_path / 'run')
    assert (tmp_path / 'run/data/start.pth').read_bytes() == before
    assert [p.name for p in (tmp_path / 'run/data').iterdir()] == ['start.pth']


def test_heads_of_other_classes_start_afresh(tmp_path):
    def change(entries):
        entries['extra.weight'] = torch.zeros(1)
        for i in range(1, 6):
            del entries[f'neck.{i}']

    write(tmp_path / 'c.pth', change)
    (tmp_path / 'run/data').mkdir(parents=True)
    cfg = config(num_classes=5)
    lines = start_from(cfg, str(tmp_path / 'c.pth'), tmp_path / 'run')
    assert lines == [
        f'{tmp_path}/c.pth: 3 of 10 entries taken over',
        '2 left out, of another shape (other classes): head.weight, head.bias',
        '1 left out, not in this model: extra.weight',
        '5 not in the file, start afresh: neck.1, neck.2, neck.3, neck.4, …',
    ]
    written = torch.load(cfg.load_from, weights_only=True)['state_dict']
    assert set(written) == {'backbone.conv.weight', 'backbone.conv.bias', 'neck.0'}


def test_four_names_are_listed_whole(tmp_path):
    def change(entries):
        for i in range(2, 6):
            del entries[f'neck.{i}']

    write(tmp_path / 'c.pth', change)
    lines = start_from(config(), str(tmp_path / 'c.pth'), tmp_path)
    assert lines[1] == '4 not in the file, start afresh: neck.2, neck.3, neck.4, neck.5'


def test_prefixes_of_a_distributed_training_are_taken_off(tmp_path):
    entries = write(tmp_path / 'c.pth')
    torch.save({f'module.{name}': value for name, value in entries.items()}, tmp_path / 'd.pth')
    (line,) = start_from(config(), str(tmp_path / 'd.pth'), tmp_path)
    assert line.endswith(': 10 of 10 entries taken over')


@pytest.mark.parametrize(
    'channels, missing, message',
    [
        (6, (), '2 of its entries are missing or of another shape, such as backbone.conv.weight;'),
        (8, ('backbone.conv.bias',), '1 of its entries are missing .* backbone.conv.bias;'),
    ],
)
def test_another_backbone_is_an_error(channels, missing, message, tmp_path):
    write(tmp_path / 'c.pth', lambda e: [e.pop(name) for name in missing], channels=channels)
    cfg = config()
    with pytest.raises(ArgumentError, match=f"c.pth does not fit the config's backbone: {message}"):
        start_from(cfg, str(tmp_path / 'c.pth'), tmp_path / 'run')
    assert cfg.load_from is None and not (tmp_path / 'run').exists()


def test_what_is_no_checkpoint_is_an_error(tmp_path):
    with pytest.raises(FileError, match='none.pth does not exist'):
        start_from(config(), 'none.pth', tmp_path)
    (tmp_path / 'c.pth').write_bytes(b'text')
    with pytest.raises(FileError, match='cannot be loaded'):
        start_from(config(), str(tmp_path / 'c.pth'), tmp_path)
