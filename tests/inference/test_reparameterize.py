"""Each module that can be rewritten for inference, alone: the same output before and after."""

import copy
from collections import Counter

import pytest
import torch
from torch import nn

from fastervit_mm import FasterViT, fuse
from fastervit_mm.inference import fusing
from fastervit_mm.network.convolution import ConvBlock, Downsample, PatchEmbed
from fastervit_mm.network.hierarchical_attention import Attention, HATBlock, Mlp, WindowBlock
from fastervit_mm.network.positions import ConstantTable, PositionMLP, token_grid
from fastervit_mm.network.reparameterization import REWRITINGS, Reparameterizable
from fastervit_mm.network.stages import ConvStage, WindowStage
from fastervit_mm.network.token_linear import TokenLinear

NORMS = 'BatchNorm layers into convolutions'
SCALES = 'layer scales into linear layers'
TABLES = 'position tables of windows into constants'
LINEAR = 'linear layers for oneDNN'
GRID = token_grid(4, 4)
CARRIER_GRID = token_grid(4, 4, window=2)  # of four windows with 2x2 carriers each


def trained(module: nn.Module) -> nn.Module:
    """In evaluation mode, with every parameter and statistic away from its first value."""
    generator = torch.Generator().manual_seed(0)
    for tensor in module.state_dict().values():
        if tensor.is_floating_point():
            tensor.add_(0.4 * (torch.rand(tensor.shape, generator=generator) - 0.3))
    return module.eval()


def values(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(1))


def outputs(module: nn.Module, *inputs) -> tuple[torch.Tensor, ...]:
    with torch.no_grad():
        found = module(*inputs)
    return found if isinstance(found, tuple) else (found,)


def assert_same_after(module: nn.Module, *inputs) -> Counter[str]:
    """Rewrite ``module``, whose outputs must stay; what it says it has done."""
    before = outputs(copy.deepcopy(module), *inputs)
    done = module.reparameterize()
    for a, b in zip(before, outputs(module, *inputs), strict=True):
        assert a.shape == b.shape and (a - b).abs().max() <= 1e-5 * a.abs().max()
    return +done


@pytest.mark.parametrize(
    ('module', 'shape'), [(PatchEmbed(3, 4, 6), (2, 3, 16, 20)), (ConvBlock(6), (2, 6, 8, 10))]
)
def test_batch_norms_go_into_the_convolutions_before_them(module, shape):
    trained(module)
    assert sum(isinstance(m, nn.BatchNorm2d) for m in module.modules()) == 2
    assert assert_same_after(module, values(*shape)) == {NORMS: 2}
    assert not any(isinstance(m, nn.BatchNorm2d) for m in module.modules())


def test_synchronised_batch_norms_too():
    module = nn.SyncBatchNorm.convert_sync_batchnorm(trained(ConvBlock(6)))
    assert assert_same_after(module, values(2, 6, 8, 10)) == {NORMS: 2}


def test_an_mlp():
    module = trained(Mlp(8, 24))
    assert (module.fc1.out_features, module.fc2.out_features) == (24, 8)
    assert assert_same_after(module, values(3, 5, 8)) == {LINEAR: 2}
    assert (module.fc1.activation, module.fc2.activation) == ('gelu', 'none')
    assert type(module.act) is nn.Identity


@pytest.mark.parametrize('carriers', [0, 4])
def test_attention(carriers):
    module = trained(Attention(8, 2))
    assert assert_same_after(module, values(3, carriers + 16, 8), GRID) == {LINEAR: 2}
    assert type(module.qkv) is type(module.proj) is TokenLinear
    assert not isinstance(module.pos_emb_funct, ConstantTable)  # its stage asks for that


@pytest.mark.parametrize('carriers', [0, 4])
def test_the_bias_of_a_window_becomes_constant(carriers):
    module, x = trained(Attention(8, 2)), values(3, carriers + 16, 8)
    (before,) = outputs(module, x, GRID)
    assert module.use_constant_bias(GRID, carriers) == 1
    assert module.pos_emb_funct.table.shape == (2, carriers + 16, carriers + 16)
    assert torch.equal(outputs(module, x, GRID)[0], before)


@pytest.mark.parametrize(
    'branch',
    [(Mlp(8, 24), (values(3, 5, 8),)), (Attention(8, 2), (values(3, 16, 8), GRID))],
)
def test_a_branch_scales_its_own_output(branch):
    module, inputs = trained(branch[0]), branch[1]
    (before,) = outputs(module, *inputs)
    gamma = torch.linspace(-1, 2, 8)
    module.scale_output(gamma)
    assert torch.allclose(outputs(module, *inputs)[0], gamma * before, atol=1e-5)


@pytest.mark.parametrize(('layer_scale', 'done'), [(0.3, {SCALES: 2}), (None, {})])
def test_a_window_block(layer_scale, done):
    module = trained(WindowBlock(8, 2, layer_scale=layer_scale))
    assert assert_same_after(module, values(3, 16, 8), GRID) == done
    assert module.gamma3 is None and module.gamma4 is None


@pytest.mark.parametrize(
    ('layer_scale', 'propagates', 'done'),
    [(0.3, False, {SCALES: 4}), (0.3, True, {SCALES: 2}), (None, True, {})],
)
def test_a_hat_block(layer_scale, propagates, done):
    module = trained(HATBlock(8, 2, layer_scale=layer_scale, propagates=propagates))
    inputs = values(4, 16, 8), values(1, 16, 8), GRID, CARRIER_GRID
    assert assert_same_after(module, *inputs) == done
    kept = layer_scale is not None and propagates
    assert [module.gamma1 is None, module.gamma2 is None] == [not kept] * 2
    assert module.gamma3 is None and module.gamma4 is None


def test_what_a_hat_block_propagates_is_scaled_before_and_after():
    module = trained(HATBlock(8, 2, layer_scale=0.3, propagates=True))
    x, carriers = values(4, 16, 8), values(1, 16, 8)
    expected = module.propagate(x, carriers, 2, 4)
    module.reparameterize()
    assert torch.equal(module.propagate(x, carriers, 2, 4), expected)
    # the first window's first carrier reaches its upper left quarter, times gamma1
    assert torch.allclose(expected[0, 0] - x[0, 0], module.gamma1 * carriers[0, 0], atol=1e-6)
    assert torch.allclose(expected[0, 5] - x[0, 5], module.gamma1 * carriers[0, 0], atol=1e-6)


@pytest.mark.parametrize(
    'options',
    [
        dict(),
        dict(position_unit='token_count'),
        dict(ct_size=2, layer_scale=0.3, do_propagation=True),
        dict(ct_size=1, carrier_pooling='stretched'),
    ],
)
@pytest.mark.parametrize('size', [(4, 4), (9, 14)])
def test_a_window_stage(options, size):
    module = trained(WindowStage(8, 2, [0.0, 0.1], window=4, **options))
    assert assert_same_after(module, values(2, 8, *size)) == {TABLES: 4}
    left = {name for name, m in module.named_modules() if isinstance(m, PositionMLP)}
    if 'ct_size' in options:  # the carriers' tables depend on the image
        hat = ('hat_pos_embed', 'hat_attn.pos_emb_funct')
        assert left == {f'blocks.{i}.{name}' for i in (0, 1) for name in hat}
    else:
        assert left == set()


def test_only_the_last_block_of_a_stage_propagates():
    options = dict(window=4, ct_size=2, do_propagation=True)
    assert [b.propagates for b in WindowStage(8, 2, [0, 0, 0], **options).blocks] == [
        *(False, False, True)
    ]
    off = WindowStage(8, 2, [0, 0], **dict(options, do_propagation=False))
    assert not any(b.propagates for b in off.blocks)
    assert not WindowStage(8, 2, [0], **dict(options, ct_size=None)).do_propagation


def test_which_modules_can_be_rewritten():
    model = FasterViT(dict(dim=16, in_dim=8, depths=(1, 1, 1, 1), num_heads=(1, 1, 2, 2)))
    assert {type(m) for m in model.modules() if isinstance(m, Reparameterizable)} == {
        *(PatchEmbed, ConvBlock, WindowStage, WindowBlock, HATBlock, Attention, Mlp)
    }
    for module in (ConvStage(4, [0.0]), Downsample(4), nn.Linear(1, 1)):
        assert not isinstance(module, Reparameterizable)


def test_fuse_visits_in_any_order_and_counts(monkeypatch):
    """Each module rewrites its own layers only, so the last may come first."""
    arch = dict(
        dim=16, in_dim=8, depths=(1, 1, 2, 1), num_heads=(1, 1, 2, 2), layer_scale=0.3,
        do_propagation=True,
    )  # fmt: skip
    lines = []
    monkeypatch.setattr(fusing, 'print_log', lambda line, logger: lines.append(line))
    plain, image = trained(FasterViT(arch)), values(1, 3, 100, 140)
    expected = outputs(plain, image)
    backwards = copy.deepcopy(plain)
    order = list(backwards.modules())[::-1]
    monkeypatch.setattr(backwards, 'modules', lambda: order)
    done = fusing._fuse_part(backwards)
    assert done == {NORMS: 6, SCALES: 8, TABLES: 6, LINEAR: 20}
    for fused in (backwards, fuse(copy.deepcopy(plain))):
        for a, b in zip(expected, outputs(fused, image), strict=True):
            assert (a - b).abs().max() <= 1e-4 * a.std()
    assert lines == [f'fused: 6 {NORMS}, 8 {SCALES}, 6 {TABLES}, 20 {LINEAR}']
    assert REWRITINGS == (NORMS, SCALES, TABLES, LINEAR)
    fuse(backwards)
    assert lines[1:] == ['fused: nothing, it was before']
