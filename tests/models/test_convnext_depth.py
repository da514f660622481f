"""ConvNeXt's depths: as mmdet's own constructor counts them, whose names are others."""

import re

import pytest
import torch
from mmdet.engine.optimizers.layer_decay_optimizer_constructor import (
    get_layer_id_for_convnext,
    get_stage_id_for_convnext,
)
from mmengine.optim import build_optim_wrapper
from torch import nn

from fastervit_mm.errors import ArgumentError
from fastervit_mm.models.convnext_depth import layer_depth, stage_depth
from fastervit_mm.models.timm_features import TimmFeatures

LAYERS = {'convnext_tiny': 6, 'convnext_small': 12, 'convnext_base': 12}


def in_mmdet(name: str) -> str:
    """The name of timm's parameter as mmdet's ConvNeXt has it."""
    name = re.sub(r'^stem_\d', 'downsample_layers.0', name)
    name = re.sub(r'^stages_(\d)\.downsample', r'downsample_layers.\1', name)
    return 'backbone.' + re.sub(r'^stages_(\d)\.blocks', r'stages.\1', name)


@pytest.mark.parametrize('size', LAYERS)
def test_depths_are_mmdets(size):
    with torch.device('meta'):
        network = TimmFeatures(size, pretrained=False).network
    depths = [len(network[f'stages_{i}'].blocks) for i in range(4)]
    names = [*(n for n, _ in network.named_parameters()), 'norms.0.weight', 'neck.conv.weight']
    assert len({layer_depth(n, depths)[0] for n in names}) == LAYERS[size] + 2
    for name in names:
        layers = LAYERS[size]
        assert layer_depth(name, depths) == (
            get_layer_id_for_convnext(in_mmdet(name), layers),
            layers + 2,
        ), name
        assert stage_depth(name, depths) == (
            get_stage_id_for_convnext(in_mmdet(name), layers + 2),
            layers + 2,
        ), name


@pytest.mark.parametrize(
    'kind, rates',
    [
        # 8 depths, the heads at the deepest
        ('layer_wise', {'stem': 7, 'down 2': 4, 'block 2.8': 2, 'block 3.0': 1, 'norm': 0}),
        ('stage_wise', {'stem': 7, 'down 2': 7, 'block 2.8': 4, 'block 3.0': 3, 'norm': 0}),
    ],
)
def test_rates_of_a_detectors_convnext(kind, rates):
    model = nn.Module()
    with torch.device('meta'):
        model.backbone = TimmFeatures('convnext_tiny.fb_in1k', pretrained=False)
        model.head = nn.Linear(2, 2)
    wrapper = build_optim_wrapper(
        model,
        dict(
            optimizer=dict(type='AdamW', lr=1.0, weight_decay=0.05),
            constructor='fastervit_mm.LayerDecayOptimWrapperConstructor',
            paramwise_cfg=dict(
                layer_decay_rate=0.5,
                layer_decay_type=kind,
                norm_decay_mult=0.0,
                bias_decay_mult=0.0,
                flat_decay_mult=0.0,
            ),
        ),
    )
    names = {id(p): n for n, p in model.named_parameters()}
    groups = {names[id(p)]: g for g in wrapper.optimizer.param_groups for p in g['params']}
    found = {
        'stem': 'backbone.network.stem_0.weight',
        'down 2': 'backbone.network.stages_2.downsample.1.weight',
        'block 2.8': 'backbone.network.stages_2.blocks.8.mlp.fc1.weight',
        'block 3.0': 'backbone.network.stages_3.blocks.0.conv_dw.weight',
        'norm': 'backbone.norms.3.weight',
    }
    assert {k: groups[n]['lr'] for k, n in found.items()} == {k: 0.5**r for k, r in rates.items()}
    assert groups['head.weight']['lr'] == 1
    # as its recipe: no decay for whatever has one dimension
    for name, parameter in model.named_parameters():
        assert groups[name]['weight_decay'] == (0 if parameter.ndim == 1 else 0.05), name


def test_other_networks_are_refused():
    network = TimmFeatures('resnet18', pretrained=False, out_norm=False)
    with pytest.raises(ArgumentError, match="ConvNeXt, model_name is 'resnet18'"):
        network.get_layer_depth('network.conv1.weight')
