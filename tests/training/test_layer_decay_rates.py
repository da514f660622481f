"""Layer-wise decay: the rate of every parameter of a small network, by hand."""

import pytest
import torch
from mmengine.optim import build_optim_wrapper
from torch import nn

from fastervit_mm import FasterViT
from fastervit_mm.errors import ArgumentError
from fastervit_mm.network.depth import parameter_depth

ARCH = dict(dim=16, in_dim=8, depths=(2, 1, 2, 1), num_heads=(1, 1, 2, 4), layer_scale=0.1)
# blocks above each part: a whole network has six, and the norms of maps lie above them all
ABOVE = {
    'patch_embed.': 7,
    'levels.0.blocks.0.': 6,
    'levels.0.blocks.1.': 5,
    'levels.0.downsample.': 4,
    'levels.1.blocks.0.': 4,
    'levels.1.downsample.': 3,
    'levels.2.global_tokenizer.': 3,
    'levels.2.blocks.0.': 3,
    'levels.2.blocks.1.': 2,
    'levels.2.downsample.': 1,
    'levels.3.blocks.0.': 1,
    'norm': 0,
}


def settings(model: nn.Module, lr: float = 2.0, **paramwise) -> dict[str, dict]:
    """Settings of each parameter's group."""
    wrapper = build_optim_wrapper(
        model,
        dict(
            type='OptimWrapper',
            optimizer=dict(type='SGD', lr=lr, weight_decay=0.1),
            constructor='fastervit_mm.LayerDecayOptimWrapperConstructor',
            paramwise_cfg=paramwise,
        ),
    )
    groups = wrapper.optimizer.param_groups
    names = {id(p): n for n, p in model.named_parameters()}
    found = {names[id(p)]: group for group in groups for p in group['params']}
    assert len(found) == len(names) == sum(len(group['params']) for group in groups)
    return found


@pytest.mark.parametrize('prefix', ['', 'backbone.'])
def test_every_parameter_of_a_backbone_has_its_rate(prefix):
    """Alone, and as the backbone of a model whose head has the base rate."""
    backbone = FasterViT(ARCH)
    model = nn.ModuleDict({'backbone': backbone, 'head': nn.Linear(2, 2)}) if prefix else backbone
    found = settings(model, layer_decay_rate=0.5)
    for name, group in found.items():
        name = name.removeprefix(prefix)
        (above,) = [n for part, n in ABOVE.items() if name.startswith(part)] or [0]
        assert group['lr'] == pytest.approx(2 * 0.5**above), name
        assert group['weight_decay'] == 0.1
    # one group for each rate
    assert len({id(group) for group in found.values()}) == 8


def test_a_network_of_fewer_stages_counts_its_own_blocks():
    found = settings(FasterViT(ARCH, out_indices=(1,)), layer_decay_rate=0.5)
    assert found['levels.1.blocks.0.conv1.weight']['lr'] == 2 * 0.5
    assert found['levels.0.downsample.norm.weight']['lr'] == 2 * 0.5
    assert found['patch_embed.conv_down.0.weight']['lr'] == 2 * 0.5**4
    assert found['norm1.weight']['lr'] == 2


def test_a_rate_of_1_changes_nothing():
    found = settings(FasterViT(ARCH), layer_decay_rate=1)
    assert {group['lr'] for group in found.values()} == {2}


def test_multipliers_of_names_and_norms_count_with_it():
    model = nn.ModuleDict({'backbone': FasterViT(ARCH), 'head': nn.Linear(2, 2)})
    found = settings(
        model,
        layer_decay_rate=0.5,
        norm_decay_mult=0.0,
        bias_lr_mult=3.0,
        custom_keys={'head': dict(lr_mult=10), 'levels.3': dict(decay_mult=0.5)},
    )
    assert found['head.weight']['lr'] == 20
    assert found['backbone.levels.1.blocks.0.conv1.weight']['lr'] == 2 * 0.5**4
    assert found['backbone.levels.1.blocks.0.conv1.bias']['lr'] == 3 * 2 * 0.5**4
    assert found['backbone.levels.1.blocks.0.norm1.weight']['weight_decay'] == 0
    assert found['backbone.levels.3.blocks.0.attn.qkv.weight']['weight_decay'] == 0.05
    assert found['backbone.levels.3.blocks.0.attn.qkv.weight']['lr'] == 2 * 0.5


@pytest.mark.parametrize('rate', [0, -0.1, 1.1, None])
def test_rates_that_are_not_allowed(rate):
    with pytest.raises(ArgumentError) as caught:
        settings(FasterViT(ARCH), layer_decay_rate=rate)
    assert str(caught.value) == (f'paramwise_cfg.layer_decay_rate is {rate}; it must lie in 0 .. 1')


def test_other_backbones_are_refused():
    for model, kind in (
        (nn.ModuleDict({'backbone': nn.Conv2d(1, 1, 1)}), 'Conv2d'),
        (nn.Linear(1, 1), 'Linear'),
    ):
        with pytest.raises(ArgumentError) as caught:
            settings(model, layer_decay_rate=0.5)
        assert str(caught.value) == (
            'layer_wise decay needs a backbone with a method get_layer_depth(param_name, prefix), '
            f'such as fastervit_mm.FasterViT; this is a {kind}'
        )


class Told(nn.Linear):
    """A backbone that tells depths itself: the weight lies two layers below the heads."""

    def get_layer_depth(self, param_name, prefix=''):
        assert param_name.startswith(prefix)
        return {'weight': 1, 'bias': 2}[param_name.removeprefix(prefix)], 4


def test_any_backbone_that_tells_depths_will_do():
    model = nn.ModuleDict({'backbone': Told(2, 2), 'head': nn.Linear(2, 2)})
    found = settings(model, layer_decay_rate=0.5)
    assert {n: g['lr'] for n, g in found.items()} == {
        'backbone.weight': 0.5,
        'backbone.bias': 1.0,
        'head.weight': 2.0,
        'head.bias': 2.0,
    }
    assert settings(Told(2, 2), layer_decay_rate=0.5)['weight']['lr'] == 0.5


def test_types_of_decay():
    with pytest.raises(ArgumentError) as caught:
        settings(FasterViT(ARCH), layer_decay_rate=0.5, layer_decay_type='stage_wise')
    assert 'needs a backbone with a method get_stage_depth(param_name, prefix)' in str(caught.value)
    with pytest.raises(ArgumentError) as caught:
        settings(FasterViT(ARCH), layer_decay_rate=0.5, layer_decay_type='by hand')
    assert str(caught.value) == (
        "paramwise_cfg.layer_decay_type is 'by hand'; allowed: layer_wise, stage_wise"
    )


@pytest.mark.parametrize(
    'name, depth',
    [
        ('patch_embed.conv_down.0.weight', 0),
        ('levels.0.blocks.0.conv1.weight', 1),
        ('levels.3.blocks.0.norm1.weight', 6),
        ('levels.3.blocks.10.norm1.weight', 16),
        ('levels.2.global_tokenizer.pos_embed.weight', 4),
        ('levels.2.downsample.norm.weight', 6),
        ('head.patch_embed.weight', 7),
        ('neck.levels.0.blocks.0.weight', 7),
    ],
)
def test_depths(name, depth):
    assert parameter_depth(name, (2, 1, 2, 1)) == depth


def test_a_step_moves_parameters_by_their_rates():
    torch.manual_seed(0)
    model = FasterViT(ARCH, out_indices=(1,))
    wrapper = build_optim_wrapper(
        model,
        dict(
            type='OptimWrapper',
            optimizer=dict(type='SGD', lr=1.0),
            constructor='fastervit_mm.LayerDecayOptimWrapperConstructor',
            paramwise_cfg=dict(layer_decay_rate=0.5),
        ),
    )
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    wrapper.step()
    moved = {n: (before[n] - p).mean().item() for n, p in model.named_parameters()}
    assert moved['norm1.weight'] == pytest.approx(1, abs=1e-4)
    assert moved['levels.0.blocks.0.conv1.weight'] == pytest.approx(0.5**3, abs=1e-4)
