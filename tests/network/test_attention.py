"""Attention and its parts in every precision, against formulas and PyTorch's own layers."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from fastervit_mm import FasterViT
from fastervit_mm.network.convolution import ReluInPlace, add_branch
from fastervit_mm.network.hierarchical_attention import (
    Attention,
    HATBlock,
    WindowBlock,
    attention,
    upsample_carriers,
)
from fastervit_mm.network.positions import token_grid
from tests.helpers import SMALL


def by_formula(query, key, value, bias):
    """In double precision, head by head."""
    query, key, value, bias = (t.double() for t in (query, key, value, bias))
    out = torch.empty_like(query)
    for b in range(query.shape[0]):
        for h in range(query.shape[1]):
            scores = query[b, h] @ key[b, h].T / math.sqrt(query.shape[3]) + bias[0, h]
            out[b, h] = torch.softmax(scores, dim=1) @ value[b, h]
    return out


@pytest.mark.parametrize(
    'dtype, compiling, kernel',
    [
        (torch.float32, False, True),
        (torch.float16, False, True),
        (torch.bfloat16, False, False),  # slower there than its parts
        (torch.bfloat16, True, True),
    ],
)
def test_which_kernel_computes_it_on_a_cpu(monkeypatch, dtype, compiling, kernel):
    called = []

    def record(query, key, value, attn_mask):
        called.append(attn_mask.dtype)
        return query

    monkeypatch.setattr(F, 'scaled_dot_product_attention', record)
    monkeypatch.setattr(torch.compiler, 'is_compiling', lambda: compiling)
    query = torch.randn(1, 2, 3, 4).to(dtype)
    attention(query, query, query, torch.zeros(1, 2, 3, 3))
    assert called == ([dtype] if kernel else [])


# heads, tokens and channels of a head all differ, and the scores are far from each other
@pytest.mark.parametrize(
    'dtype, tolerance', [(torch.float32, 1e-5), (torch.bfloat16, 0.03), (torch.float16, 2e-3)]
)
@pytest.mark.parametrize('heads, tokens, head_dim', [(3, 5, 16), (2, 20, 4)])
def test_attention_equals_its_formula(dtype, tolerance, heads, tokens, head_dim):
    torch.manual_seed(0)
    query, key, value = (torch.randn(2, heads, tokens, head_dim).to(dtype) for _ in range(3))
    query, bias = 4 * query, 3 * torch.randn(1, heads, tokens, tokens)
    got = attention(query, key, value, bias)
    expected = by_formula(query, key, value, bias)
    assert got.dtype == dtype and got.shape == expected.shape
    assert (got - expected).abs().max() <= tolerance * expected.abs().max()


@pytest.mark.parametrize('dtype, tolerance', [(torch.bfloat16, 0.03), (torch.float16, 5e-3)])
@pytest.mark.parametrize('in_front', [0, 4])
def test_the_layer_in_half_precision_is_close_to_fp32(dtype, tolerance, in_front):
    torch.manual_seed(0)
    layer, grid = Attention(48, 3), token_grid(2, 5)  # heads of 16, 10 or 14 tokens
    for parameter in layer.parameters():
        nn.init.normal_(parameter, std=0.3)
    x = torch.randn(2, 10 + in_front, 48)
    with torch.no_grad():
        exact = layer(x, grid)
        half = layer.to(dtype)(x.to(dtype), grid)
    assert half.dtype == dtype
    assert (half - exact).abs().mean() <= tolerance * exact.abs().mean()


def test_the_layer_is_multi_head_attention_with_a_bias():
    """PyTorch's own layer, which takes an additive mask; two tokens stand in front of the grid."""
    torch.manual_seed(0)
    layer, grid = Attention(24, 3), token_grid(2, 3)
    theirs = nn.MultiheadAttention(24, 3, batch_first=True)
    theirs.load_state_dict(
        {
            'in_proj_weight': layer.qkv.weight,
            'in_proj_bias': layer.qkv.bias,
            'out_proj.weight': layer.proj.weight,
            'out_proj.bias': layer.proj.bias,
        }
    )
    x = torch.randn(4, 8, 24)
    mask = torch.zeros(3, 8, 8)
    mask[:, 2:, 2:] = layer.pos_emb_funct(grid)
    assert 0 < mask[:, 2:, 2:].min() and mask.max() < 16
    expected, _ = theirs(x, x, x, attn_mask=mask.repeat(4, 1, 1))
    assert torch.allclose(layer(x, grid), expected, atol=1e-5)


def test_carriers_are_spread_over_their_window_by_nearest_neighbours():
    carriers = torch.tensor([[[1.0], [2.0], [3.0], [4.0]], [[5.0], [6.0], [7.0], [8.0]]])
    assert upsample_carriers(carriers, 2, 4)[0].reshape(4, 4).tolist() == [
        [1, 1, 2, 2],
        [1, 1, 2, 2],
        [3, 3, 4, 4],
        [3, 3, 4, 4],
    ]
    odd = upsample_carriers(carriers, 2, 3)
    assert odd.shape == (2, 9, 1)
    assert odd[1].reshape(3, 3).tolist() == [[5, 5, 6], [5, 5, 6], [7, 7, 8]]


def propagating(do_propagation: bool, layer_scale: float | None) -> FasterViT:
    torch.manual_seed(0)
    arch = dict(SMALL, do_propagation=do_propagation, layer_scale=layer_scale)
    return FasterViT(arch, out_indices=(2,), out_norm=None).eval()


def test_propagation_adds_the_carriers_scaled_as_in_the_last_block():
    x = torch.randn(1, 3, 7 * 16, 7 * 32)
    for layer_scale in (None, 0.5):
        without, with_it = (propagating(p, layer_scale) for p in (False, True))
        carriers = []
        with_it.levels[2].blocks[-1].register_forward_hook(
            lambda module, inputs, outputs, kept=carriers: kept.append(outputs[1])
        )
        with torch.no_grad():
            (plain,), (added,) = without(x), with_it(x)
        own = carriers[0].reshape(2, 4, 64)  # two windows side by side, of 2 by 2 carriers
        expected = upsample_carriers(own, 2, 7).reshape(2, 7, 7, 64)
        expected = torch.cat((expected[0], expected[1]), dim=1).permute(2, 0, 1)
        assert torch.allclose(added[0] - plain[0], (layer_scale or 1) * expected, atol=1e-5)


@pytest.mark.parametrize('block', [WindowBlock, HATBlock])
@pytest.mark.parametrize('ratio, hidden', [(4, 96), (2.5, 60), (0.3, 7)])
def test_hidden_widths_follow_the_ratio(block, ratio, hidden):
    built = block(24, 3, mlp_ratio=ratio)
    mlps = [built.mlp] + ([built.hat_mlp] if block is HATBlock else [])
    assert [m.fc1.out_features for m in mlps] == [hidden] * len(mlps)
    assert block(24, 3).mlp.fc1.out_features == 96


def test_a_branch_is_added_in_its_own_memory_only_where_nobody_needs_it():
    x, branch, block = torch.ones(3), torch.tensor([1.0, 2.0, 3.0]), nn.Sequential(nn.ReLU())
    added = add_branch(x, branch, block)
    assert added.tolist() == [2, 3, 4] and branch.tolist() == [1, 2, 3]
    with torch.no_grad():
        mixed = add_branch(x, branch.bfloat16(), block)
        assert mixed.dtype == torch.float32 and mixed.tolist() == [2, 3, 4]
        hook = block[0].register_forward_hook(lambda *_: None)
        assert add_branch(x, branch, block).tolist() == [2, 3, 4]
        assert branch.tolist() == [1, 2, 3]
        hook.remove()
        added = add_branch(x, branch, block)
        assert added.tolist() == [2, 3, 4] and added.data_ptr() == branch.data_ptr()
    assert x.tolist() == [1, 1, 1]


def test_relus_of_the_stem_are_in_place_only_where_nobody_needs_what_was_before():
    layers = ReluInPlace(nn.Identity(), nn.ReLU())
    x = torch.tensor([-1.0, 2.0])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layers[1], 'forward', None)  # is not called
        assert layers(x).data_ptr() == x.data_ptr() and x.tolist() == [0, 2]
    x = torch.tensor([-1.0, 2.0])
    layers[0].register_forward_hook(lambda *_: None)
    assert layers(x).tolist() == [0, 2] and x.tolist() == [-1, 2]
