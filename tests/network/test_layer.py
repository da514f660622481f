"""`HierarchicalAttention` alone: any map, the backbone's own arithmetic, its cost, its errors."""

import copy

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from fastervit_mm import FasterViT, HierarchicalAttention, fuse
from fastervit_mm.errors import ArgumentError
from tests.network.test_any_input import AUTOCAST, DTYPES, LAYOUTS, MODES, images, run

SIDES = st.one_of(st.integers(1, 12), st.integers(1, 50))


@st.composite
def layers(draw: st.DrawFn) -> dict:
    """Arguments of a small layer; every one of the table is drawn."""
    window, depth = draw(st.integers(1, 9)), draw(st.integers(1, 2))
    return dict(
        dim=draw(st.sampled_from([4, 8, 12])),
        depth=depth,
        num_heads=draw(st.sampled_from([1, 2, 4])),
        window_size=window,
        ct_size=draw(st.one_of(st.none(), st.integers(1, min(window, 4)))),
        mlp_ratio=draw(st.sampled_from([0.25, 1, 2.5])),
        drop_path=draw(st.sampled_from([0, 0.5, [0.1] * depth])),
        layer_scale=draw(st.sampled_from([None, 1e-5, 1.0])),
        do_propagation=draw(st.booleans()),
        carrier_pooling=draw(st.sampled_from(['aligned', 'stretched'])),
        with_cp=draw(st.booleans()),
    )


@given(
    layer=layers(),
    size=st.tuples(SIDES, SIDES),
    dtype=st.sampled_from(DTYPES),
    layout=st.sampled_from(LAYOUTS),
    mode=st.sampled_from(MODES),
)
@settings(max_examples=60, derandomize=True, deadline=None)
def test_finite_maps_of_the_same_shape(layer, size, dtype, layout, mode):
    torch.manual_seed(0)
    model = HierarchicalAttention(**layer).train(mode == 'train')
    model.to(torch.float32 if dtype == AUTOCAST else dtype)
    if mode.startswith('fused'):
        fuse(model)
    x = images(layout, 2, layer['dim'], *size)
    x = (x if dtype == AUTOCAST else x.to(dtype)).requires_grad_(mode == 'train')
    y = run(model, x, mode, dtype)
    assert y.shape == x.shape and y.isfinite().all()
    assert y.dtype == x.dtype
    if mode == 'train':
        y.float().square().mean().backward()
        assert x.grad is not None


def backbone_with(layer: dict, depths: list[int]) -> FasterViT:
    """A backbone whose third stage has the sizes of ``layer``."""
    arch = dict(
        dim=layer['dim'] // 4, in_dim=4, depths=depths, num_heads=[1, 1, layer['num_heads'], 1],
        do_propagation=True, layer_scale=0.5,
    )  # fmt: skip
    return FasterViT(arch, window_size=layer['window_size'], ct_size=layer['ct_size'])


def random_weights(model: nn.Module) -> nn.Module:
    """Far from the initial ones, which leave position tables all but even."""
    torch.manual_seed(1)
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.3)
    return model.eval()


@pytest.mark.parametrize('size', [(14, 14), (5, 30), (1, 1)])
def test_it_is_the_backbones_stage(size):
    """By the names of the published checkpoints."""
    sizes = dict(dim=16, num_heads=2, window_size=5, ct_size=2)
    stage = random_weights(backbone_with(sizes, [1, 1, 3, 1])).levels[2]
    layer = HierarchicalAttention(**sizes, depth=3, do_propagation=True, layer_scale=0.5).eval()
    weights = {n: v for n, v in stage.state_dict().items() if not n.startswith('downsample.')}
    layer.load_state_dict(weights)
    x = torch.randn(2, 16, *size)
    with torch.no_grad():
        assert torch.equal(layer(x), stage(x))


def test_one_block_lets_every_pixel_hear_of_every_other():
    layer = random_weights(HierarchicalAttention(8, 1, 2, window_size=4))
    x = torch.randn(1, 8, 13, 18, requires_grad=True)
    layer(x)[0, :, 0, 0].sum().backward()
    assert (x.grad[0].abs().sum(0) > 0).all()
    alone = random_weights(HierarchicalAttention(8, 2, 2, window_size=4, ct_size=None))
    x.grad = None
    alone(x)[0, :, 0, 0].sum().backward()
    heard = x.grad[0].abs().sum(0) > 0
    assert heard[:4, :4].all() and heard.sum() == 16


@pytest.mark.parametrize('with_cp', [False, True])
@pytest.mark.parametrize('size', [(3, 4), (17, 9)])
def test_every_parameter_has_a_gradient(with_cp, size):
    layer = HierarchicalAttention(
        8, 2, 2, window_size=4, do_propagation=True, layer_scale=0.1, with_cp=with_cp
    )
    layer(torch.randn(2, 8, *size)).square().sum().backward()
    assert [n for n, p in layer.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_checkpointing_changes_no_gradient():
    plain = HierarchicalAttention(8, 2, 2, window_size=4)
    checkpointed = HierarchicalAttention(8, 2, 2, window_size=4, with_cp=True)
    checkpointed.load_state_dict(plain.state_dict())
    x = torch.randn(2, 8, 9, 6)
    for layer in (plain, checkpointed):
        layer(x).square().sum().backward()
    for a, b in zip(plain.parameters(), checkpointed.parameters(), strict=True):
        assert torch.allclose(a.grad, b.grad, atol=1e-6)


def test_weights_at_the_start_are_the_published_ones():
    torch.manual_seed(0)
    layer = HierarchicalAttention(64, 2, 4)
    linear = [m for m in layer.modules() if isinstance(m, nn.Linear)]
    assert all(m.bias is None or not m.bias.any() for m in linear)
    values = torch.cat([m.weight.flatten() for m in linear])
    assert values.std().item() == pytest.approx(0.02, rel=0.02)


@pytest.mark.parametrize(
    ('options', 'size'),
    [
        (dict(dim=16, depth=2, num_heads=2), (20, 33)),
        (dict(dim=12, depth=1, num_heads=3, window_size=4, ct_size=1, mlp_ratio=2.5), (1, 1)),
        (dict(dim=12, depth=3, num_heads=3, ct_size=None), (14, 9)),
        (dict(dim=6, depth=1, num_heads=1, window_size=5, ct_size=3, do_propagation=True), (9, 26)),
    ],
)
def test_the_stated_cost_is_what_pytorch_counts(options, size):
    layer = HierarchicalAttention(**options).eval()
    counter = FlopCounterMode(display=False)
    with counter, sdpa_kernel(SDPBackend.MATH), torch.no_grad():
        layer(torch.randn(1, options['dim'], *size))
    assert counter.get_total_flops() == 2 * layer.multiply_adds(*size)


@pytest.mark.parametrize(
    ('size', 'named'),
    [((0, 5), 'height is 0'), ((5, 7.0), 'width is 7.0'), ((-1, 5), 'height is -1')],
)
def test_maps_of_which_nothing_can_be_counted(size, named):
    with pytest.raises(ArgumentError, match=rf'^{named}; it takes a whole number of at least 1$'):
        HierarchicalAttention(8, 1, 2).multiply_adds(*size)


def test_the_formula_of_the_docstring():
    """For a block of 6x4 windows: all but position tables and the first carrier tokens."""
    layer, larger = (HierarchicalAttention(32, depth, 4, ct_size=3) for depth in (1, 2))
    n, tokens, dim = 24, 49 + 9, 32
    formula = (n * tokens + n * 9) * (4 + 2 * 4) * dim**2
    formula += 2 * n * tokens**2 * dim + 2 * (n * 9) ** 2 * dim
    tables = 512 * ((49 + n * 9) * (2 + dim) + (13 * 13 + 35 * 23) * (2 + 4))
    assert larger.multiply_adds(40, 28) - layer.multiply_adds(40, 28) == formula + tables


@pytest.mark.parametrize('options', [dict(), dict(layer_scale=0.3, do_propagation=True)])
def test_a_network_of_ones_own_is_fused(options):
    layer = HierarchicalAttention(8, 2, 2, window_size=4, **options)
    network = random_weights(nn.Sequential(nn.Conv2d(3, 8, 3), layer))
    x, plain = torch.randn(2, 3, 13, 22), copy.deepcopy(network)
    assert fuse(network) is network and layer.fused
    with torch.no_grad():
        a, b = plain(x), network(x)
    assert torch.allclose(a, b, atol=1e-4 * float(a.std()))
    with pytest.raises(ArgumentError, match='^the layer is fused for inference; train it before'):
        network.train()
    with pytest.raises(ArgumentError, match='^the layer is fused and takes no weights; load them'):
        network.load_state_dict(plain.state_dict())
    fuse(network)  # once more changes nothing
    with torch.no_grad():
        assert torch.equal(network(x), b)


def test_nothing_to_fuse():
    with pytest.raises(ArgumentError, match='ReLU holds no fastervit_mm.FasterViT'):
        fuse(nn.ReLU())


@pytest.mark.parametrize(
    ('arguments', 'expected'),
    [
        (dict(dim=0), 'dim is 0; it takes a whole number of at least 1'),
        (dict(dim=8.0), 'dim is 8.0; it takes a whole'),
        (dict(depth=0), 'depth is 0; it takes a whole'),
        (dict(num_heads=3), 'num_heads is 3; it must divide dim, the 8 channels of the map'),
        (dict(num_heads=True), 'num_heads is True; it takes a whole'),
        (dict(window_size='7'), "window_size is '7'; it takes a whole"),
        (dict(ct_size=0), 'ct_size is 0; it takes a whole'),
        (dict(ct_size=8), 'ct_size is 8; it must lie between 1 and window_size, which is 7'),
        (dict(mlp_ratio=0.1), 'mlp_ratio is 0.1; it takes a finite number of at least 1 / dim'),
        (dict(mlp_ratio=float('nan')), 'mlp_ratio is nan; it takes a finite'),
        (dict(layer_scale='1'), "layer_scale is '1'; it takes None or a finite number"),
        (dict(drop_path=1), 'drop_path is 1; give one rate, or one for each of the 2 blocks'),
        (dict(drop_path=[0.1]), 'drop_path is [0.1]; give one rate, or one for each of the 2'),
        (dict(drop_path='0'), "drop_path is '0'; give one rate"),
        (
            dict(carrier_pooling='mean'),
            "carrier_pooling is 'mean'; allowed: 'aligned', 'stretched'",
        ),
    ],
)
def test_arguments_that_are_not_allowed_are_named_in_one_line(arguments, expected):
    with pytest.raises(ArgumentError) as caught:
        HierarchicalAttention(**{'dim': 8, 'depth': 2, 'num_heads': 2, **arguments})
    assert str(caught.value).startswith(expected) and '\n' not in str(caught.value)


@pytest.mark.parametrize(
    ('x', 'expected'),
    [
        (torch.zeros(1, 3, 8, 8), 'the map batch has shape (1, 3, 8, 8); expected (B, 8, H, W)'),
        (
            torch.zeros(1, 8, 0, 8),
            'the map batch has shape (1, 8, 0, 8); it must hold at least one',
        ),
        (torch.zeros(1, 8, 2, 2).double(), 'the map batch has dtype torch.float64, the weights'),
        (np.zeros((1, 8, 2, 2)), 'the map batch is of type ndarray; give a tensor'),
    ],
)
def test_what_is_no_map_is_named_in_one_line(x, expected):
    with pytest.raises(ArgumentError) as caught:
        HierarchicalAttention(8, 1, 2)(x)
    assert str(caught.value).startswith(expected) and '\n' not in str(caught.value)


@pytest.mark.long
def test_one_graph_serves_maps_of_all_sizes():
    layer = random_weights(HierarchicalAttention(8, 1, 2, window_size=4))
    compiled = torch.compile(layer, dynamic=True, fullgraph=True, backend='aot_eager')
    with torch.no_grad():
        for size in ((9, 13), (20, 6), (30, 31)):
            x = torch.randn(2, 8, *size)
            assert torch.allclose(compiled(x), layer(x), atol=1e-5)
