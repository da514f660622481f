"""Drop path: which rate each block gets, and that every branch of every block can be left out."""

import pytest
import torch
from timm.layers import DropPath
from torch import nn

from fastervit_mm import FasterViT
from fastervit_mm.network.convolution import ConvBlock
from fastervit_mm.network.hierarchical_attention import HATBlock, WindowBlock
from fastervit_mm.network.positions import token_grid
from tests.helpers import SMALL

DEEP = dict(SMALL, depths=(2, 1, 3, 2))


def rates(model: FasterViT) -> dict[str, float]:
    """Of each block by its name, from the DropPath layers that are in it."""
    found = {}
    for name, block in model.named_modules():
        if isinstance(block, (ConvBlock, WindowBlock)):
            layers = [m for m in block.modules() if isinstance(m, DropPath)]
            (found[name],) = {m.drop_prob for m in layers} or {0.0}
    return found


def test_the_rate_rises_linearly_over_all_blocks():
    names = ['0.blocks.0', '0.blocks.1', '1.blocks.0', '2.blocks.0', '2.blocks.1', '2.blocks.2']
    names = [f'levels.{name}' for name in [*names, '3.blocks.0', '3.blocks.1']]
    expected = dict(zip(names, [0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35], strict=True))
    assert rates(FasterViT(DEEP, drop_path_rate=0.35)) == pytest.approx(expected)
    without_carriers = dict(DEEP, hat=False, drop_path_rate=0.35)
    assert rates(FasterViT(without_carriers)) == pytest.approx(expected)


def test_fewer_stages_keep_the_rates_of_the_whole_network():
    found = rates(FasterViT(DEEP, out_indices=(1,), drop_path_rate=0.7))
    assert found == pytest.approx(
        {'levels.0.blocks.0': 0, 'levels.0.blocks.1': 0.1, 'levels.1.blocks.0': 0.2}
    )


def test_a_variant_has_its_own_rate_unless_told_otherwise():
    with torch.device('meta'):
        assert max(rates(FasterViT('fastervit_0')).values()) == pytest.approx(0.2)
        assert max(rates(FasterViT('fastervit_0', drop_path_rate=0.5)).values()) == 0.5
        assert set(rates(FasterViT('fastervit_0', drop_path_rate=0)).values()) == {0}
        assert set(rates(FasterViT(DEEP)).values()) == {0}


def randomised(block: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    for parameter in block.parameters():
        nn.init.normal_(parameter, std=0.5)
    return block


def test_a_convolution_block_without_its_branch_is_the_identity():
    x = torch.randn(3, 8, 5, 6)
    assert torch.equal(randomised(ConvBlock(8, drop_path=1.0)).train()(x), x)
    assert not torch.allclose(randomised(ConvBlock(8)).train()(x), x)


def test_an_image_loses_its_branch_or_has_it_scaled():
    block = randomised(ConvBlock(8, drop_path=0.5)).train()
    block.norm1.eval()
    block.norm2.eval()
    x = torch.randn(40, 8, 5, 6)
    dropped = block(x) - x
    branch = block.eval()(x) - x  # nothing is left out in evaluation
    left_out = dropped.flatten(1).abs().amax(1) == 0
    assert 8 <= left_out.sum() <= 32
    assert torch.allclose(dropped[~left_out], 2 * branch[~left_out], atol=1e-4)


@pytest.mark.parametrize('layer_scale', [None, 0.5])
def test_a_window_block_without_its_branches_adds_positions_alone(layer_scale):
    grid, x = token_grid(3, 3), torch.randn(4, 9, 8)
    block = randomised(WindowBlock(8, 2, drop_path=1.0, layer_scale=layer_scale)).train()
    placed = x + block.pos_embed(grid)
    assert torch.equal(block(x, grid), placed)
    kept = randomised(WindowBlock(8, 2, layer_scale=layer_scale)).train()
    assert (kept(x, grid) - placed).abs().mean() > 0.1


@pytest.mark.parametrize('layer_scale', [None, 0.5])
def test_carriers_and_windows_without_their_branches_get_positions_alone(layer_scale):
    grid, carrier_grid = token_grid(3, 3), token_grid(2, 4, window=2)
    x, carriers = torch.randn(4, 9, 8), torch.randn(2, 8, 8)  # two images of 1 by 2 windows
    block = randomised(HATBlock(8, 2, drop_path=1.0, layer_scale=layer_scale)).train()
    windows, exchanged = block(x, carriers, grid, carrier_grid)
    assert torch.equal(windows, x + block.pos_embed(grid))
    assert torch.equal(exchanged, carriers + block.hat_pos_embed(carrier_grid))


@pytest.mark.parametrize('branch', ['attn', 'mlp', 'hat_attn', 'hat_mlp'])
def test_each_branch_of_a_hat_block_counts(branch):
    """Its four branches apart: the one whose last layer is not zero changes the result."""
    grid, carrier_grid = token_grid(3, 3), token_grid(2, 4, window=2)
    x, carriers = torch.randn(4, 9, 8), torch.randn(2, 8, 8)
    block = randomised(HATBlock(8, 2)).eval()
    for other in {'attn', 'mlp', 'hat_attn', 'hat_mlp'} - {branch}:
        last = getattr(block, other).proj if 'attn' in other else getattr(block, other).fc2
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
    windows, exchanged = block(x, carriers, grid, carrier_grid)
    same_windows = torch.allclose(windows, x + block.pos_embed(grid))
    same_carriers = torch.allclose(exchanged, carriers + block.hat_pos_embed(carrier_grid))
    assert same_windows == branch.startswith('hat_')
    assert not same_carriers
