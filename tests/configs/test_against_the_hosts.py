"""Our recipes beside the host libraries' own configs of Swin, ConvNeXt, DINO, Mask2Former: what differs.

So that no setting differs unnoticed, and each difference is one that docs/recipes.md or a comment explains.
"""

import importlib.util
from pathlib import Path
from typing import Any

import pytest
from mmengine.config import Config

from tests.configs.expected.changes import leaves
from tests.configs.resolved import as_dict

# what decides nothing about the weights that come out, and the backbone, which is another one
ELSEWHERE = (
    'model.backbone',
    'model.pretrained',
    'model.neck.in_channels',
    'sync_bn',
    'auto_scale_lr',
    # rates and decays of the backbone's parts: test_published_settings.py
    'optim_wrapper.paramwise_cfg.custom_keys.backbone',
)
PARTS = ('model', 'optim_wrapper', 'param_scheduler', 'train_cfg', 'train_dataloader', 'sync_bn')
PATHS = ('backend_args', 'data_root', 'num_workers', 'scope')
DECAY = 'optim_wrapper.paramwise_cfg.'
KEYS = DECAY + 'custom_keys.'
CONVNEXT = {
    'optim_wrapper.constructor': (
        'fastervit_mm.LayerDecayOptimWrapperConstructor',
        'LearningRateDecayOptimizerConstructor',
    ),
    # theirs leaves whatever has one dimension without decay
    DECAY + 'norm_decay_mult': (0.0, None),
    DECAY + 'bias_decay_mult': (0.0, None),
    DECAY + 'flat_decay_mult': (0.0, None),
    DECAY + 'num_layers': (None, 6),  # ours knows
}
FEED_FORWARD = {
    'num_fcs': (None, 2),
    'act_cfg.type': (None, 'ReLU'),
    'act_cfg.inplace': (None, True),
}
QUERIES = {'query_embed', 'query_feat', 'level_embed'}


def mask2former(head: str) -> dict[str, tuple[Any, Any]]:
    """Defaults that the hosts' Mask2Former states too, and parameters that only Swin has."""
    layers = (f'{head}.pixel_decoder.encoder.layer_cfg', f'{head}.transformer_decoder.layer_cfg')
    of_swin = ('absolute_pos_embed', 'relative_position_bias_table')
    return {
        **{f'{p}.ffn_cfg.{name}': v for p in layers for name, v in FEED_FORWARD.items()},
        'optim_wrapper.optimizer.eps': (None, 1e-8),
        **{f'{KEYS}{name}.lr_mult': (None, 1.0) for name in QUERIES},
        **{f'{KEYS}{name}.lr_mult': (None, 0.1) for name in of_swin},
        **{f'{KEYS}{name}.decay_mult': (None, 0.0) for name in of_swin},
    }


# of mmseg's: `dropout` in another way, and the other defaults
HEAD = 'model.decode_head.'
SPELT_OUT = {
    f'{HEAD}transformer_decoder.layer_cfg.{attention}.{name}': values
    for attention in ('self_attn_cfg', 'cross_attn_cfg')
    for name, values in {
        'attn_drop': (None, 0.0),
        'proj_drop': (None, 0.0),
        'dropout': (0.0, None),
    }.items()
} | {
    f'{HEAD}transformer_decoder.layer_cfg.ffn_cfg.add_identity': (None, True),
    f'{HEAD}pixel_decoder.encoder.layer_cfg.self_attn_cfg.im2col_step': (None, 64),
}
CASES = {
    'detection/mask2former_fastervit_2_50e_panoptic': (
        'mmdet',
        'mask2former/mask2former_swin-t-p4-w7-224_8xb2-lsj-50e_coco-panoptic.py',
        {
            **mask2former('model.panoptic_head'),
            # the last iteration is validated by itself
            'train_cfg.dynamic_intervals': (None, [(365001, 368750)]),
        },
    ),
    'segmentation/mask2former_fastervit_2_160k': (
        'mmseg',
        'mask2former/mask2former_swin-t_8xb2-160k_ade20k-512x512.py',
        mask2former('model.decode_head') | SPELT_OUT,
    ),
    'detection/peers/cascade_convnext_t_3x_own': (
        'mmdet',
        'convnext/cascade-mask-rcnn_convnext-t-p4-w7_fpn_4conv1fc-giou_amp-ms-crop-3x_coco.py',
        CONVNEXT
        | {
            DECAY + 'layer_decay_rate': (0.7, None),
            DECAY + 'decay_rate': (None, 0.7),
            DECAY + 'decay_type': (None, 'layer_wise'),  # our default
        },
    ),
    'segmentation/peers/upernet_convnext_t_160k_own': (
        'mmseg',
        'convnext/convnext-tiny_upernet_8xb2-amp-160k_ade20k-512x512.py',
        CONVNEXT
        | {
            DECAY + 'layer_decay_rate': (0.9, None),
            DECAY + 'decay_rate': (None, 0.9),
            DECAY + 'layer_decay_type': ('stage_wise', None),
            DECAY + 'decay_type': (None, 'stage_wise'),
            'optim_wrapper.loss_scale': (None, 'dynamic'),  # mmengine's default
        },
    ),
    'segmentation/peers/upernet_swin_t_160k_own': (
        'mmseg',
        'swin/swin-tiny-patch4-window7-in1k-pre_upernet_8xb2-160k_ade20k-512x512.py',
        {'optim_wrapper.type': ('AmpOptimWrapper', 'OptimWrapper')},  # as our segmentors
    ),
    'detection/dino_4scale_fastervit_0_12e': (
        'mmdet',
        'dino/dino-4scale_r50_8xb2-12e_coco.py',
        {
            'model.type': ('fastervit_mm.DINO', 'DINO'),
            'model.num_feature_levels': (4, None),
            'model.neck.bias': (True, None),  # docs/dino.md
            'model.dn_cfg.box_noise_scale': (0.4, 1.0),
        },
    ),
}


def hosts_config(host: str, name: str) -> dict[str, Any]:
    spec = importlib.util.find_spec(host)
    path = Path(spec.origin).parent / '.mim' / 'configs' / name
    if not path.is_file():
        pytest.skip(f'{host} was installed without its configs')
    return Config.fromfile(path, import_custom_modules=False).to_dict()


def settings(config: dict[str, Any]) -> dict[str, Any]:
    parts = {part: config[part] for part in PARTS if part in config}
    if isinstance(parts['param_scheduler'], dict):
        parts['param_scheduler'] = [parts['param_scheduler']]
    found = leaves(parts)
    return {
        path: list(value) if isinstance(value, tuple) else value
        for path, value in found.items()
        if not path.startswith(ELSEWHERE) and path.rpartition('.')[2] not in PATHS
    }


@pytest.mark.parametrize('name', CASES)
def test_what_differs_from_the_hosts_config(name):
    host, theirs, expected = CASES[name]
    one, other = settings(as_dict(name)), settings(hosts_config(host, theirs))
    found = {
        path: (one.get(path), other.get(path))
        for path in one.keys() | other.keys()
        if one.get(path) != other.get(path)
    }
    assert found == expected
