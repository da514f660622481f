"""Networks of timm as backbones: what reaches timm, what comes out, and where weights come from."""

import inspect

import pytest
import timm
import torch
from timm.layers import DropPath, LayerNorm2d
from torch import nn

from fastervit_mm.errors import ArgumentError, FileError
from fastervit_mm.models.timm_features import TimmFeatures
from fastervit_mm.registry import MODELS
from tests.logged import logged

NAME = 'convnext_atto'  # 3.4 million parameters; channels 40, 80, 160, 320


def build(**changes) -> TimmFeatures:
    torch.manual_seed(0)
    return TimmFeatures(NAME, **{'pretrained': False, **changes})


def test_the_defaults_are_as_documented():
    parameters = inspect.signature(TimmFeatures).parameters.values()
    assert {p.name: p.default for p in parameters if p.name != 'model_name'} == dict(
        out_indices=(0, 1, 2, 3),
        pretrained=True,
        drop_path_rate=0.0,
        out_norm=True,
        with_cp=False,
    )
    assert MODELS.get('fastervit_mm.TimmFeatures') is TimmFeatures


@pytest.mark.parametrize('out_indices', [(0, 1, 2, 3), (1, 3), [2]])
def test_maps_are_those_of_timms_network(out_indices):
    model = build(out_indices=out_indices).eval()
    channels = tuple({0: 40, 1: 80, 2: 160, 3: 320}[i] for i in out_indices)
    assert model.out_channels == channels
    assert model.out_strides == tuple({0: 4, 1: 8, 2: 16, 3: 32}[i] for i in out_indices)
    theirs = timm.create_model(NAME, features_only=True, out_indices=(0, 1, 2, 3)).eval()
    theirs.load_state_dict(model.network.state_dict(), strict=False)
    x = torch.randn(2, 3, 64, 96)
    with torch.no_grad():
        maps, raw = model(x), theirs(x)
    assert isinstance(maps, tuple) and len(maps) == len(out_indices)
    for ours, i in zip(maps, out_indices, strict=True):
        centred = raw[i] - raw[i].mean(1, keepdim=True)
        by_hand = centred / (raw[i].var(1, unbiased=False, keepdim=True) + 1e-6).sqrt()
        assert torch.allclose(ours, by_hand, atol=1e-4)


def test_a_network_without_memory_has_its_names_and_shapes():
    """Every timm builds it so, whether or not it computes on what it builds."""
    with torch.device('meta'):
        skeleton = build(drop_path_rate=0.2)
    assert all(p.is_meta for p in skeleton.parameters())
    shapes = {name: value.shape for name, value in skeleton.state_dict().items()}
    assert shapes == {name: value.shape for name, value in build().state_dict().items()}


def test_norms_can_be_left_out():
    with_norms, without = build(), build(out_norm=False)
    assert [type(m) for m in with_norms.norms] == [LayerNorm2d] * 4
    assert [m.weight.numel() for m in with_norms.norms] == [40, 80, 160, 320]
    assert [type(m) for m in without.norms] == [nn.Identity] * 4
    x = torch.randn(1, 3, 64, 64)
    without.eval()
    with torch.no_grad():
        assert all(map(torch.equal, without(x), without.network(x)))


def test_maps_are_contiguous():
    model = build(out_norm=False).eval().to(memory_format=torch.channels_last)
    x = torch.randn(2, 3, 64, 64).to(memory_format=torch.channels_last)
    with torch.no_grad():
        assert not all(m.is_contiguous() for m in model.network(x))
        assert all(m.is_contiguous() for m in model(x))


def test_the_drop_path_rate_reaches_timm():
    def rates(**changes) -> list[float]:
        return [m.drop_prob for m in build(**changes).modules() if isinstance(m, DropPath)]

    assert max(rates(drop_path_rate=0.3)) == pytest.approx(0.3) and len(rates(drop_path_rate=1)) > 4
    assert not any(rates())


def test_checkpointing_is_timms():
    assert not any(getattr(m, 'grad_checkpointing', False) for m in build().modules())
    assert any(getattr(m, 'grad_checkpointing', False) for m in build(with_cp=True).modules())


@pytest.fixture
def hub(monkeypatch):
    """In place of timm's downloads: ``pretrained`` gives a network whose weights are all 3."""
    asked, create = [], timm.create_model

    def create_model(name, pretrained=False, **options):
        asked.append((name, pretrained, options))
        network = create(name, **options)
        if pretrained:
            for parameter in network.parameters():
                nn.init.constant_(parameter, 3)
        return network

    monkeypatch.setattr(timm, 'create_model', create_model)
    return asked


OPTIONS = dict(features_only=True, out_indices=(0, 2), drop_path_rate=0.1)


def test_weights_are_loaded_when_asked_for_and_not_before(hub):
    model = build(pretrained=True, out_indices=[0, 2], drop_path_rate=0.1)
    assert hub == [(NAME, False, OPTIONS)] and not model.is_init
    assert not any((p == 3).all() for p in model.network.parameters())
    with logged() as lines:
        model.init_weights()
    assert hub[1:] == [(NAME, True, OPTIONS)] and model.is_init
    assert all((p == 3).all() for p in model.network.parameters())
    assert all((m.weight == 1).all() for m in model.norms)
    assert lines == [f"loading timm's weights of {NAME}"]


def test_no_weights_are_loaded_otherwise(hub):
    model = build()
    with logged() as lines:
        model.init_weights()
    assert [pretrained for _, pretrained, _ in hub] == [False] and not lines and model.is_init


@pytest.mark.parametrize(
    'error, told',
    [
        (RuntimeError('no hub\nsecond line'), 'RuntimeError: no hub'),
        (OSError(), 'OSError: '),
        (ValueError('x'), 'ValueError: x'),
    ],
)
def test_weights_that_cannot_be_had(monkeypatch, error, told):
    create = timm.create_model

    def fail(*arguments, pretrained=False, **options):
        if pretrained:
            raise error
        return create(*arguments, **options)

    monkeypatch.setattr(timm, 'create_model', fail)
    model = build(pretrained=True)
    with pytest.raises(FileError) as caught:
        model.init_weights()
    assert str(caught.value) == (
        f'cannot get the weights of {NAME} ({told}); connect once to fetch them, or set '
        'model.backbone.pretrained=False'
    )
    assert not model.is_init


def test_other_networks_and_maps():
    with pytest.raises(ArgumentError) as caught:
        TimmFeatures('convnext_gigantic')
    assert str(caught.value) == ("model_name is 'convnext_gigantic'; timm.list_models() names all")
    with pytest.raises(ArgumentError) as caught:
        build(out_indices=[0, 7])
    assert str(caught.value).startswith(
        f'out_indices is (0, 7); {NAME} does not have all of these maps ('
    )
