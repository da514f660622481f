"""Layer-wise learning-rate decay: depths by table, rates in the optimiser of both libraries."""

import pytest
import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope
from torch import nn

from fastervit_mm import FasterViT
from fastervit_mm.network.depth import parameter_depth
from tests.helpers import ROOT, SMALL

DEPTHS = (3, 3, 8, 5)


@pytest.mark.parametrize(
    'name, depth',
    [
        ('patch_embed.conv_down.0.weight', 0),
        ('levels.0.blocks.0.conv1.weight', 1),
        ('levels.0.blocks.2.norm2.bias', 3),
        ('levels.0.downsample.reduction.0.weight', 4),
        ('levels.1.blocks.0.conv1.weight', 4),
        ('levels.1.downsample.norm.weight', 7),
        ('levels.2.global_tokenizer.pos_embed.weight', 7),
        ('levels.2.blocks.0.hat_attn.qkv.weight', 7),
        ('levels.2.blocks.7.hat_pos_embed.cpb_mlp.0.weight', 14),
        ('levels.2.blocks.7.gamma1', 14),
        ('levels.2.downsample.reduction.0.weight', 15),
        ('levels.3.blocks.4.mlp.fc2.weight', 19),
        ('norm3.weight', 20),
        ('neck.lateral_convs.0.conv.weight', 20),
        ('roi_head.bbox_head.0.fc_cls.weight', 20),
    ],
)
def test_depth_of_a_parameter(name, depth):
    assert parameter_depth(name, DEPTHS) == depth


def rates(optimizer, model) -> dict[str, float]:
    names = {id(p): n for n, p in model.named_parameters()}
    return {names[id(p)]: g['lr'] for g in optimizer.param_groups for p in g['params']}


def test_rates_fall_from_block_to_block_and_every_parameter_is_trained_once():
    model = nn.Module()
    model.backbone, model.head = FasterViT(SMALL), nn.Linear(3, 3)
    wrapper = build_optim_wrapper(
        model,
        dict(
            type='OptimWrapper',
            optimizer=dict(type='AdamW', lr=1.0, weight_decay=0.05),
            constructor='fastervit_mm.LayerDecayOptimWrapperConstructor',
            paramwise_cfg=dict(layer_decay_rate=0.5, norm_decay_mult=0.0),
        ),
    )
    found = rates(wrapper.optimizer, model)
    assert set(found) == {n for n, _ in model.named_parameters()}
    assert found['head.weight'] == found['backbone.norm0.weight'] == 1
    assert found['backbone.levels.3.blocks.0.attn.qkv.weight'] == 0.5
    assert found['backbone.patch_embed.conv_down.0.weight'] == 0.5**6
    decays = {
        n: g['weight_decay']
        for g in wrapper.optimizer.param_groups
        for n, p in model.named_parameters()
        if any(p is q for q in g['params'])
    }
    assert decays['backbone.norm0.weight'] == 0 and decays['head.weight'] == 0.05
    assert len(wrapper.optimizer.param_groups) <= 2 * 7


@pytest.mark.parametrize(
    'cfg, expected',
    [
        (dict(custom_keys={}), 'layer_decay_rate is None'),
        (dict(layer_decay_rate=2), 'layer_decay_rate is 2'),
    ],
)
def test_wrong_rates(cfg, expected):
    with pytest.raises(ValueError, match=expected):
        build_optim_wrapper(
            FasterViT(SMALL),
            dict(
                type='OptimWrapper',
                optimizer=dict(type='SGD', lr=1.0),
                paramwise_cfg=cfg,
                constructor='fastervit_mm.LayerDecayOptimWrapperConstructor',
            ),
        )


@pytest.mark.parametrize(
    'path',
    ['detection/cascade_fastervit_2_3x_lld.py', 'segmentation/upernet_fastervit_2_160k_lld.py'],
)
def test_configs_of_both_libraries_decay(path):
    cfg = Config.fromfile(ROOT / 'configs' / path)
    init_default_scope(cfg.default_scope)
    module = __import__(cfg.default_scope + '.registry', fromlist=['MODELS'])
    with torch.device('meta'):
        model = module.MODELS.build(cfg.model)
    optimizer = dict(cfg.optim_wrapper, type='OptimWrapper')
    found = rates(build_optim_wrapper(model, optimizer).optimizer, model)
    stem, last = (
        found[f'backbone.{n}']
        for n in ('patch_embed.conv_down.0.weight', 'levels.3.blocks.4.mlp.fc1.weight')
    )
    assert stem == pytest.approx(last * 0.9**19)
