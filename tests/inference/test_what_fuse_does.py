"""What `fuse` rewrites and what it leaves, counted by hand."""

import copy

import pytest
import torch
from timm.layers import Mlp
from torch import nn

from fastervit_mm import FasterViT, fuse
from fastervit_mm.errors import ArgumentError
from fastervit_mm.network.hierarchical_attention import Attention
from fastervit_mm.network.token_linear import TokenLinear
from tests.logged import logged

TINY = dict(dim=16, in_dim=8, depths=(1, 2, 3, 2), num_heads=(1, 1, 2, 2))


def build(arch=None, **changes) -> FasterViT:
    torch.manual_seed(0)
    return FasterViT({**TINY, **(arch or {})}, **changes)


# stem 2 and three blocks of 2; each of 3 HAT blocks has 4 scales, 2 tables and 8 linear layers,
# each of 2 window blocks 2, 2 and 4
BATCH_NORMS = '8 BatchNorm layers into convolutions'
TABLES = '10 position tables of windows into constants'
LINEAR = '32 linear layers for oneDNN'


@pytest.mark.parametrize(
    'arch, changes, expected',
    [
        ({}, {}, f'{BATCH_NORMS}, {TABLES}, {LINEAR}'),
        (
            dict(layer_scale=0.3),
            {},
            f'{BATCH_NORMS}, 16 layer scales into linear layers, {TABLES}, {LINEAR}',
        ),
        (
            # the last HAT block keeps gamma1 and gamma2: propagation needs the former
            dict(layer_scale=0.3, do_propagation=True),
            {},
            f'{BATCH_NORMS}, 14 layer scales into linear layers, {TABLES}, {LINEAR}',
        ),
        (
            dict(layer_scale=0.3, do_propagation=True, hat=False),
            {},
            f'{BATCH_NORMS}, 10 layer scales into linear layers, {TABLES}, '
            '20 linear layers for oneDNN',
        ),
        ({}, dict(out_indices=(0, 1), out_norm='bn'), BATCH_NORMS),
    ],
)
def test_it_says_what_it_did(arch, changes, expected):
    with logged() as lines:
        fuse(build(arch, **changes))
    (line,) = lines
    said, wanted = (
        {word for word in text.split(', ') if not word.startswith('0 ')}
        for text in (line.removeprefix('fused: '), expected)
    )
    assert said == wanted and line.startswith('fused: ')


def test_two_backbones_are_counted_together_and_once():
    model = nn.ModuleList([build(), build()])
    with logged() as lines:
        fuse(model)
        fuse(model)
        model.append(build())
        fuse(model)
    counts = [line.split(' BatchNorm')[0] for line in lines]
    assert counts == ['fused: 16', 'fused: nothing, it was before', 'fused: 8']


def test_scales_are_gone_but_the_one_that_propagation_needs():
    backbone = fuse(build(dict(layer_scale=0.3, do_propagation=True)))
    left = {n.split('.', 1)[1] for n, _ in backbone.named_parameters() if 'gamma' in n}
    assert left == {'2.blocks.2.gamma1', '2.blocks.2.gamma2'}


def test_what_became_of_the_modules():
    backbone = build(out_norm='bn')
    assert backbone.training and not backbone.fused
    assert fuse(backbone) is backbone
    assert backbone.fused and not backbone.training
    assert not any(m.training for m in backbone.modules() if list(m.parameters(recurse=False)))
    assert not any(p.requires_grad for p in backbone.parameters())
    kinds = [type(m) for m in backbone.modules()]
    # the norms of the emitted maps follow no convolution
    assert kinds.count(nn.BatchNorm2d) == 4 and kinds.count(TokenLinear) == 32
    for part in backbone.modules():
        if isinstance(part, Attention):
            assert [part.qkv.activation, part.proj.activation] == ['none', 'none']
        if isinstance(part, Mlp):
            assert [part.fc1.activation, part.fc2.activation] == ['gelu', 'none']
            assert isinstance(part.act, nn.Identity)
    convolutions = [m for m in backbone.modules() if isinstance(m, nn.Conv2d) and m.groups == 1]
    assert all(c.weight.is_contiguous(memory_format=torch.channels_last) for c in convolutions)
    assert backbone.patch_embed.conv_down[0].bias is not None


def test_tables_of_windows_do_not_depend_on_their_mlps_any_more():
    backbone = fuse(build())
    names = [n for n, _ in backbone.named_parameters() if 'cpb_mlp' in n]
    # those of the carrier tokens depend on the image's size
    assert names and all('hat_pos_embed' in n or 'hat_attn' in n for n in names)
    tables = {n: b for n, b in backbone.named_buffers() if n.endswith('.table')}
    assert len(tables) == 10
    assert tables['levels.2.blocks.0.pos_embed.table'].shape == (49, 64)
    assert tables['levels.2.blocks.0.attn.pos_emb_funct.table'].shape == (2, 53, 53)
    assert tables['levels.3.blocks.0.attn.pos_emb_funct.table'].shape == (2, 49, 49)


@pytest.mark.parametrize('changes', [dict(ct_size=3), dict(position_unit='token_count')])
@pytest.mark.parametrize('window_size', [(7, 7, 6, 4), (7, 7, 5, 3)])
def test_other_windows_carriers_and_units_give_the_same_maps(changes, window_size):
    plain = build(window_size=window_size, **changes).eval()
    for name, parameter in plain.named_parameters():
        if 'cpb_mlp' in name:
            nn.init.normal_(parameter, std=0.3)
    fused = fuse(copy.deepcopy(plain))
    x = torch.randn(1, 3, 200, 300)
    with torch.no_grad():
        for a, b in zip(plain(x), fused(x), strict=True):
            assert (a - b).abs().max() <= 1e-4 * a.std()


def test_tables_are_in_the_models_precision():
    backbone = fuse(build().bfloat16())
    assert {t.dtype for t in backbone.state_dict().values()} == {torch.bfloat16}
    maps = backbone(torch.randn(1, 3, 64, 64, dtype=torch.bfloat16))
    assert {m.dtype for m in maps} == {torch.bfloat16}


def test_a_fused_network_without_memory():
    with torch.device('meta'):
        backbone = build(dict(layer_scale=0.3))
        fuse(backbone)
        assert backbone(torch.zeros(1, 3, 64, 64))[3].shape == (1, 128, 2, 2)


def test_fusing_in_inference_mode_leaves_ordinary_tensors():
    backbone = build(dict(layer_scale=0.3))
    with torch.inference_mode():
        fuse(backbone)
    assert not any(t.is_inference() for t in backbone.state_dict().values())


def test_refusals():
    backbone, said = (
        build(),
        'the backbone is fused and takes no weights; load them, then call fuse',
    )
    state = backbone.state_dict()
    model = nn.ModuleDict({'backbone': fuse(backbone), 'head': nn.Linear(2, 2)})
    for action in (
        lambda: backbone.load_state_dict(state),
        lambda: model.load_state_dict({f'backbone.{k}': v for k, v in state.items()}, strict=False),
        backbone.init_weights,
    ):
        with pytest.raises(ArgumentError) as caught:
            action()
        assert str(caught.value) == said
    for part in (backbone, model):
        with pytest.raises(ArgumentError) as caught:
            part.train()
        assert str(caught.value) == 'the backbone is fused for inference; train it before fuse'
        assert part.eval() is part
    with pytest.raises(ArgumentError, match='ReLU holds no'):
        fuse(nn.ReLU())
