"""What comes out: which maps, in which order, of what kind; and what must come in."""

import copy
from functools import partial

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from fastervit_mm import FasterViT
from fastervit_mm.errors import ArgumentError
from fastervit_mm.network import backbone
from fastervit_mm.network.stages import ConvStage, WindowStage
from fastervit_mm.network.windows import pad_for_windows
from tests.helpers import SMALL


def build(**changes) -> FasterViT:
    torch.manual_seed(0)
    return FasterViT(**{'arch': SMALL, **changes}).eval()


@pytest.fixture(scope='module')
def whole() -> FasterViT:
    return build(channels_last=False)


@pytest.mark.parametrize('out_indices', [(3, 0), (2, 1, 3), (1,), 2])
def test_maps_come_in_the_order_asked_for(whole, out_indices):
    model, wanted = build(out_indices=out_indices), out_indices
    if isinstance(out_indices, int):
        wanted = (out_indices,)
    model.load_state_dict(whole.state_dict(), strict=False)
    assert model.out_indices == wanted
    assert model.out_channels == tuple({0: 16, 1: 32, 2: 64, 3: 128}[i] for i in wanted)
    assert model.out_strides == tuple({0: 4, 1: 8, 2: 16, 3: 32}[i] for i in wanted)
    assert len(model.levels) == max(wanted) + 1
    assert [level.downsample is None for level in model.levels] == [False] * max(wanted) + [True]
    x = torch.randn(1, 3, 96, 130)
    with torch.no_grad():
        expected, maps = whole(x), model(x)
    assert isinstance(maps, tuple) and len(maps) == len(wanted)
    assert all(torch.equal(m, expected[i]) for m, i in zip(maps, wanted, strict=True))


def test_the_arguments_can_be_read_back():
    with torch.device('meta'):
        model = FasterViT('fastervit_0', in_channels=2, frozen_stages=1, norm_eval=True)
    assert (model.arch, model.in_channels) == ('fastervit_0', 2)
    assert (model.frozen_stages, model.norm_eval, model.fused) == (1, True, False)
    assert model.variant.dim == 64 and model.init_cfg is None
    assert FasterViT(SMALL, init_cfg=dict(type='Pretrained', checkpoint='a.pth')).init_cfg


@pytest.mark.parametrize('out_norm', ['ln2d', 'bn', None])
def test_a_map_is_normalised_before_it_leaves_and_not_for_the_next_stage(out_norm):
    """The step to the next stage starts from the map itself."""
    model = build(out_norm=out_norm)
    plain = build(out_norm=None)
    plain.load_state_dict(model.state_dict(), strict=False)
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        maps, raw = model(x), plain(x)
        for i in range(4):
            norm = getattr(model, f'norm{i}')
            expected = norm(raw[i])
            assert torch.allclose(maps[i], expected, atol=1e-5)
            if out_norm == 'ln2d':
                by_hand = raw[i] - raw[i].mean(1, keepdim=True)
                by_hand = by_hand / (raw[i].var(1, unbiased=False, keepdim=True) + 1e-6).sqrt()
                assert torch.allclose(maps[i], by_hand, atol=1e-5)
    kinds = {type(getattr(model, f'norm{i}')).__name__ for i in range(4)}
    assert kinds == {{'ln2d': 'LayerNorm2d', 'bn': 'BatchNorm2d', None: 'Identity'}[out_norm]}


def test_other_numbers_of_channels():
    maps = build(in_channels=1)(torch.randn(1, 1, 64, 64))
    assert maps[0].shape == (1, 16, 16, 16)
    with pytest.raises(ArgumentError) as caught:
        build(in_channels=1)(torch.randn(1, 3, 64, 64))
    assert str(caught.value) == (
        'the image batch has shape (1, 3, 64, 64); expected (B, 1, H, W), because in_channels is 1'
    )


@pytest.mark.parametrize('shape', [(0, 3, 32, 32), (1, 3, 0, 32), (1, 3, 32, 0)])
def test_empty_batches_are_refused(whole, shape):
    with pytest.raises(ArgumentError) as caught:
        whole(torch.zeros(shape))
    assert str(caught.value) == (
        f'the image batch has shape {shape}; it must hold at least one image of at least 1×1 px'
    )


@pytest.mark.parametrize(
    'arguments, expected',
    [
        (
            dict(out_indices=(0, 4)),
            'out_indices is (0, 4); give one or more different stages out of 0 to 3',
        ),
        (dict(out_indices=(1, 1)), 'out_indices is (1, 1); give one or more different stages'),
        (dict(out_indices=[]), 'out_indices is (); give one or more'),
        (dict(out_indices=(-1,)), 'out_indices is (-1,); give one'),
        (dict(out_indices=4), 'out_indices is (4,); give one'),
        (dict(frozen_stages=-2), 'frozen_stages is -2; allowed: -1, 0, 1, 2, 3, 4'),
        (dict(frozen_stages=5), 'frozen_stages is 5; allowed: -1, 0, 1, 2, 3, 4'),
        (dict(position_unit='px'), "position_unit is 'px'; allowed: 'side', 'token_count'"),
        (dict(carrier_pooling='x'), "carrier_pooling is 'x'; allowed: 'aligned', 'stretched'"),
        (dict(out_norm='x'), "out_norm is 'x'; allowed: 'ln2d', 'bn', None"),
        (dict(in_channels=0), 'in_channels is 0; it must be a number of at least 1'),
        (dict(in_channels=1.5), 'in_channels is 1.5; it must be a number of at least 1'),
    ],
)
def test_arguments_that_are_not_allowed(arguments, expected):
    with pytest.raises(ArgumentError) as caught:
        FasterViT(SMALL, **arguments)
    assert str(caught.value).startswith(expected)


def test_the_arguments_reach_the_stages():
    """Each changes the maps, and from the first stage that it concerns."""
    x = torch.randn(1, 3, 250, 330)
    plain = build()(x)
    for changes, first in (
        (dict(pad_all_stages=True), 0),
        (dict(position_unit='token_count'), 2),
        (dict(carrier_pooling='stretched'), 2),
        (dict(ct_size=1), 2),
        (dict(window_size=(7, 7, 7, 6)), 3),
        (dict(window_size=(9, 9, 7, 7)), 4),  # of stages 0 and 1 only where they are padded
    ):
        maps = build(**changes)(x)
        same = [torch.allclose(a, b, atol=1e-6) for a, b in zip(plain, maps, strict=True)]
        assert same == [i < first for i in range(4)], changes


def test_padding_of_convolutional_stages_is_to_each_stages_own_window():
    arch = dict(SMALL, window_size=(5, 3, 7, 7))
    model = build(arch=arch, pad_all_stages=True)
    assert [model.levels[i].pad_window for i in (0, 1)] == [5, 3]
    assert [build(arch=arch).levels[i].pad_window for i in (0, 1)] == [None, None]


@pytest.mark.parametrize('height, width', [(9, 13), (7, 14), (1, 6)])
def test_a_padded_stage_is_the_stage_on_a_padded_map(height, width):
    torch.manual_seed(0)
    padded = ConvStage(4, [0.0, 0.0], pad_window=7).eval()
    plain = copy.deepcopy(padded)
    plain.pad_window = None
    x = torch.randn(2, 4, height, width)
    by_hand = F.pad(x, (0, -width % 7, 0, -height % 7))
    assert by_hand.shape[2] % 7 == by_hand.shape[3] % 7 == 0
    with torch.no_grad():
        assert torch.equal(padded(x), plain(by_hand)[:, :, :height, :width])


def test_a_stage_has_a_step_to_the_next_unless_told_otherwise():
    stages = (partial(ConvStage, 4, [0.0]), partial(WindowStage, 4, 1, [0.0], window=2))
    for stage in stages:
        assert stage().downsample(torch.zeros(1, 4, 6, 6)).shape == (1, 8, 3, 3)
        assert stage(with_downsample=False).downsample is None


def test_channels_last_concerns_the_weights_of_every_convolution():
    for channels_last in (False, True):
        model = build(channels_last=channels_last)
        weights = [m.weight for m in model.modules() if isinstance(m, nn.Conv2d) and m.groups == 1]
        last = [w.is_contiguous(memory_format=torch.channels_last) for w in weights]
        assert set(last) == {channels_last} and len(last) == 2 + 2 * 2 + 3


@pytest.mark.parametrize('hat', [True, False])
def test_a_network_without_memory_gives_the_maps_shapes(hat):
    """All that is computed on the way must be where the image is."""
    with torch.device('meta'):
        model = FasterViT(dict(SMALL, hat=(False, False, hat, hat), do_propagation=True)).eval()
        x = torch.zeros(2, 3, 250, 330)
    with torch.no_grad():
        shapes = [(m.device.type, tuple(m.shape)) for m in model(x)]
    sides = [(63, 83), (32, 42), (16, 21), (8, 11)]
    assert shapes == [('meta', (2, 16 * 2**i, *side)) for i, side in enumerate(sides)]


@pytest.mark.parametrize('size', [(224, 224), (250, 330), (33, 500)])
def test_what_is_done_otherwise_in_compiled_code_gives_the_same_maps(monkeypatch, size):
    """It pads as much at every size, so that no size needs a compilation of its own."""
    model = build(arch=dict(SMALL, do_propagation=True))
    x = torch.randn(1, 3, *size)
    with torch.no_grad():
        eager = model(x)
        monkeypatch.setattr(torch.compiler, 'is_compiling', lambda: True)
        assert all(map(torch.allclose, model(x), eager))
    assert pad_for_windows(torch.ones(1, 1, 7, 15), 7).shape == (1, 1, 13, 21)
    assert pad_for_windows(torch.ones(1, 1, 7, 15), 7).sum() == 7 * 15


def test_every_backbone_of_a_model_is_found():
    first, second = build(out_indices=(0,)), build(out_indices=(0,))
    model = nn.ModuleDict({'a': nn.Sequential(first), 'b': second})
    assert backbone.backbones_in(model) == [first, second]
    assert backbone.backbones_in(first) == [first]
    with pytest.raises(ArgumentError) as caught:
        backbone.backbones_in(nn.ReLU())
    assert str(caught.value) == (
        'ReLU holds no fastervit_mm.FasterViT; give a backbone, or a model that has one'
    )
