"""The settings that are known, against what the configs do: one list, and the rates over time.

Source: the FasterViT paper (arXiv 2306.06189), the authors' DINO configs, and for the peers' own
recipes Swin's and ConvNeXt's configs. What is unknown for FasterViT is said to be so in the configs.
"""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from mmengine.optim import build_optim_wrapper
from mmengine.optim.scheduler import LinearLR, MultiStepLR, PolyLR
from torch import nn

from fastervit_mm import FasterViT
from tests.configs.resolved import NAMES, read

CASCADES = [n for n in NAMES if n.startswith('detection') and n.endswith('_3x')]
UPERNETS = [n for n in NAMES if '/upernet' in n and n.endswith('_160k')]
OWN = [n for n in NAMES if n.endswith('_own')]
DINOS = [n for n in NAMES if '/dino' in n]
MASK2FORMERS = [n for n in NAMES if '/mask2former' in n]
SCHEDULERS = {'LinearLR': LinearLR, 'MultiStepLR': MultiStepLR, 'PolyLR': PolyLR}


def test_each_family_is_there():
    assert (len(CASCADES), len(UPERNETS), len(DINOS), len(OWN)) == (16, 14, 19, 12)
    assert len(MASK2FORMERS) == 2


def at(path: str) -> Callable[[Any], Any]:
    """What stands in a config at a dotted path; None: nothing."""

    def found(cfg: Any) -> Any:
        for key in path.split('.'):
            cfg = cfg[int(key)] if isinstance(cfg, list) else (cfg or {}).get(key)
        return cfg

    return found


def milestones(cfg: Any) -> list[int]:
    return next(s.milestones for s in cfg.param_scheduler if s.type == 'MultiStepLR')


def warm_up(cfg: Any) -> tuple[int, float] | None:
    found = [(s.end, s.start_factor) for s in cfg.param_scheduler if s.type == 'LinearLR']
    return found[0] if found else None


def images_per_step(cfg: Any) -> int:
    return 8 * cfg.train_dataloader.batch_size


def optimiser(cfg: Any) -> tuple:
    found = cfg.optim_wrapper.optimizer
    return found.type, found.lr, found.weight_decay


def decay_of_kinds(cfg: Any) -> dict:
    paramwise = cfg.optim_wrapper.get('paramwise_cfg') or {}
    return {k: v for k, v in paramwise.items() if k != 'layer_decay_rate'}


def scales(cfg: Any) -> list:
    """Short sides while training, the longer one's bound, short sides before the crop, the crop."""
    plain, cropped = next(t for t in cfg.train_pipeline if t.type == 'RandomChoice').transforms
    assert plain[0].scales == cropped[2].scales
    short, long = zip(*plain[0].scales, strict=True)
    before = cropped[0].scales
    return [
        short[0],
        short[-1],
        *set(long),
        [s[0] for s in before],
        before[0][1],
        cropped[1].crop_size,
    ]


def norms_of_heads(cfg: Any) -> set[str]:
    heads = [at('model.decode_head')(cfg), at('model.auxiliary_head')(cfg)]
    heads += at('model.roi_head.bbox_head')(cfg) or []
    return {head.norm_cfg.type for head in heads if head}


NORMS_FREE = {'norm_decay_mult': 0.0}
# family -> setting -> how it is read, and what it is to be
KNOWN: dict[str, dict[str, tuple[Callable[[Any], Any], Any]]] = {
    'cascade': {
        'optimiser, rate, decay': (optimiser, ('AdamW', 1e-4, 0.05)),
        'decay of norms': (decay_of_kinds, NORMS_FREE),
        'images per step': (images_per_step, 16),
        'base batch': (at('auto_scale_lr.base_batch_size'), 16),
        'epochs': (at('train_cfg.max_epochs'), 36),
        'rate / 10 at': (milestones, [27, 33]),
        'warm-up': (warm_up, (1000, 0.001)),
        'precision': (at('optim_wrapper.type'), 'AmpOptimWrapper'),
        'clipping': (at('optim_wrapper.clip_grad'), None),
        'sizes': (scales, [480, 800, 1333, [400, 500, 600], 1333, (384, 600)]),
        'test size': (at('test_pipeline.1.scale'), (1333, 800)),
        'BN of all': (at('sync_bn'), None),
        'BN of heads': (norms_of_heads, {'SyncBN'}),
        'drop path': (at('model.backbone.drop_path_rate'), 0.2),
    },
    'upernet': {
        'optimiser, rate, decay': (optimiser, ('AdamW', 6e-5, 0.01)),
        'decay of norms': (decay_of_kinds, NORMS_FREE),
        'images per step': (images_per_step, 16),
        'base batch': (at('auto_scale_lr.base_batch_size'), 16),
        'iterations': (at('train_cfg.max_iters'), 160000),
        'power': (at('param_scheduler.1.power'), 1.0),
        'warm-up': (warm_up, (1500, 1e-6)),
        'precision': (at('optim_wrapper.type'), 'AmpOptimWrapper'),
        'clipping': (at('optim_wrapper.clip_grad'), None),
        'crop': (at('model.data_preprocessor.size'), (512, 512)),
        'testing': (at('model.test_cfg.mode'), 'whole'),
        'auxiliary weight': (at('model.auxiliary_head.loss_decode.loss_weight'), 0.4),
        'BN of all': (at('sync_bn'), None),
        'BN of heads': (norms_of_heads, {'SyncBN'}),
        'drop path': (at('model.backbone.drop_path_rate'), 0.2),
    },
    'dino': {
        'optimiser, rate, decay': (optimiser, ('AdamW', 1e-4, 1e-4)),
        'rate of the backbone': (decay_of_kinds, {'custom_keys': {'backbone': {'lr_mult': 0.1}}}),
        'images per step': (images_per_step, 16),
        'base batch': (at('auto_scale_lr.base_batch_size'), 16),
        'epochs': (at('train_cfg.max_epochs'), 12),
        'rate / 10 at': (milestones, [11]),
        'warm-up': (warm_up, None),
        'precision': (at('optim_wrapper.type'), 'OptimWrapper'),
        'clipping': (at('optim_wrapper.clip_grad.max_norm'), 0.1),
        'sizes': (scales, [480, 800, 1333, [400, 500, 600], 4200, (384, 600)]),
        'test size': (at('test_pipeline.1.scale'), (1333, 800)),
        'BN of all': (at('sync_bn'), None),
        'drop path': (at('model.backbone.drop_path_rate'), 0.1),
        'label noise': (at('model.dn_cfg.label_noise_scale'), 0.5),
        'box noise': (at('model.dn_cfg.box_noise_scale'), 0.4),
        'denoising queries': (at('model.dn_cfg.group_cfg.num_dn_queries'), 100),
        'EMA': (at('default_hooks.ema'), None),
        'checkpointing': (at('model.backbone.with_cp'), True),
    },
}
# of mmdet's and mmseg's own Mask2Former with Swin-T (nothing is published with FasterViT)
KNOWN['mask2former'] = {
    'optimiser, rate, decay': (optimiser, ('AdamW', 1e-4, 0.05)),
    'images per step': (images_per_step, 16),
    'base batch': (at('auto_scale_lr.base_batch_size'), 16),
    'iterations': (at('train_cfg.max_iters'), 160000),
    'power': (at('param_scheduler.0.power'), 0.9),
    'rate / 10 at': (at('param_scheduler.0.milestones'), None),
    'precision': (at('optim_wrapper.type'), 'OptimWrapper'),
    'clipping': (at('optim_wrapper.clip_grad.max_norm'), 0.01),
    'BN of all': (at('sync_bn'), None),
    'drop path': (at('model.backbone.drop_path_rate'), 0.3),
}
STEPS = {'24e': (24, [18]), '36e': (36, [30])}
NO_DECAY_IN_SWIN = {
    name: {'decay_mult': 0.0}
    for name in ('absolute_pos_embed', 'relative_position_bias_table', 'norm')
}
FLAT_FREE = {**NORMS_FREE, 'bias_decay_mult': 0.0, 'flat_decay_mult': 0.0}
CONVNEXT_DETECTOR = {
    'optimiser, rate, decay': ('AdamW', 2e-4, 0.05),
    'decay of norms': FLAT_FREE,
}
CONVNEXT_SEGMENTOR = {
    'optimiser, rate, decay': ('AdamW', 1e-4, 0.05),
    'decay of norms': {**FLAT_FREE, 'layer_decay_type': 'stage_wise'},
    'testing': 'slide',
}
SWIN = {'decay of norms': {'custom_keys': NO_DECAY_IN_SWIN}}
# what is known otherwise for one of the family
OTHERWISE: dict[str, dict[str, Any]] = {
    'mask2former_fastervit_2_50e_panoptic': {
        'iterations': 368750,
        'power': None,
        'rate / 10 at': [327778, 355092],
    },
    'dino_5scale_fastervit_4_36e': {'epochs': 36, 'rate / 10 at': [11], 'checkpointing': False},
    **{
        f'upernet_fastervit_4_21k_{size}_160k': {'crop': (640, 640)}  # ours: unknown
        for size in (384, 512)
    },
    **{
        f'cascade_swin_{size}_3x_own': {**SWIN, 'drop path': drop}
        for size, drop in (('t', 0.2), ('s', 0.2), ('b', 0.3))
    },
    **{f'upernet_swin_{size}_160k_own': {**SWIN, 'drop path': 0.3} for size in 'tsb'},
    **{
        f'cascade_convnext_{size}_3x_own': {**CONVNEXT_DETECTOR, 'drop path': drop}
        for size, drop in (('t', 0.4), ('s', 0.6), ('b', 0.7))
    },
    **{
        f'upernet_convnext_{size}_160k_own': {**CONVNEXT_SEGMENTOR, 'drop path': drop}
        for size, drop in (('t', 0.4), ('s', 0.3), ('b', 0.4))
    },
    **{f'cascade_resnext101_{groups}x4d_3x': {'drop path': None} for groups in (32, 64)},
}


@pytest.mark.parametrize('name', [*CASCADES, *UPERNETS, *DINOS, *MASK2FORMERS, *OWN])
def test_every_known_setting(name):
    cfg, stem = read(name), name.rpartition('/')[2]
    known = {k: value for k, (_, value) in KNOWN[stem.split('_')[0]].items()}
    epochs = stem.rpartition('_')[2]
    if 'dino' in stem and epochs in STEPS:
        known['epochs'], known['rate / 10 at'] = STEPS[epochs]
    if '5scale' in stem:
        known['checkpointing'] = False
    known |= OTHERWISE.get(stem, {})
    found = {k: read_it(cfg) for k, (read_it, _) in KNOWN[stem.split('_')[0]].items()}
    assert found == known


@pytest.mark.parametrize(
    'name, rate',
    [('cascade_convnext_t', 0.7), ('cascade_convnext_s', 0.7), ('cascade_convnext_b', 0.8)]
    + [(f'upernet_convnext_{size}', 0.9) for size in 'tsb']
    + [('cascade_fastervit_2_3x_lld', 0.9), ('upernet_fastervit_2_160k_lld', 0.9)],
)
def test_decay_from_layer_to_layer(name, rate):
    (full,) = [
        n for n in NAMES if n.rpartition('/')[2].startswith(name) and n[-3:] in ('own', 'lld')
    ]
    assert read(full).optim_wrapper.paramwise_cfg.layer_decay_rate == rate


def test_the_two_forms_of_a_peer_are_the_same_network():
    """On our recipe and by its own: but for drop path, the same model."""
    for name in OWN:
        own, ours = read(name).model, read(name.removesuffix('_own')).model
        for model in (own, ours):
            model.backbone.pop('drop_path_rate')
            model.pop('test_cfg')
        assert own == ours, name


class Small(nn.Module):
    """A backbone with both kinds of norms, and a head."""

    def __init__(self):
        super().__init__()
        self.backbone = nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2), nn.BatchNorm1d(2))
        self.head = nn.Linear(2, 2)


def rates(name: str) -> dict[str, tuple[float, float]]:
    """Learning rate and weight decay of each parameter of `Small` under the config ``name``."""
    return settings_of(Small(), name)


def settings_of(model: nn.Module, name: str) -> dict[str, tuple[float, float]]:
    """The same of each parameter of ``model``."""
    wrapper = read(name).optim_wrapper
    wrapper.type = 'OptimWrapper'  # mixed precision refuses to start without an accelerator
    built = build_optim_wrapper(model, wrapper)
    assert type(built.optimizer) is torch.optim.AdamW
    names = {id(p): n for n, p in model.named_parameters()}
    return {
        names[id(p)]: (group['lr'], group['weight_decay'])
        for group in built.optimizer.param_groups
        for p in group['params']
    }


@pytest.mark.parametrize('name', CASCADES)
def test_cascade_3x_rates(name):
    found = rates(name)
    assert found['backbone.0.weight'] == found['head.weight'] == (1e-4, 0.05)
    assert found['backbone.1.weight'] == found['backbone.2.bias'] == (1e-4, 0)  # norms


@pytest.mark.parametrize('name', UPERNETS)
def test_upernet_rates(name):
    found = rates(name)
    assert found['backbone.0.weight'] == found['head.weight'] == (6e-5, 0.01)
    assert found['backbone.1.weight'] == found['backbone.2.bias'] == (6e-5, 0)  # norms


@pytest.mark.parametrize('name', DINOS)
def test_dino_rates(name):
    found = rates(name)
    assert found['head.weight'] == (1e-4, 1e-4)
    assert found['backbone.0.weight'] == (pytest.approx(1e-5), 1e-4)


@pytest.mark.parametrize('name', MASK2FORMERS)
def test_mask2former_rates(name):
    """The backbone at a tenth; no decay for any norm, of the deepest variant too, nor for queries."""
    with torch.device('meta'):
        model = nn.ModuleDict(
            dict(
                backbone=FasterViT('fastervit_6'),
                norm=nn.GroupNorm(1, 2),
                query_feat=nn.Embedding(2, 2),
                query_embed=nn.Embedding(2, 2),
                level_embed=nn.Embedding(2, 2),
                cls_embed=nn.Linear(2, 2),
            )
        )
    found = settings_of(model, name)
    norms = {
        f'{prefix}.{name}'
        for prefix, module in model.named_modules()
        for name, _ in module.named_parameters(recurse=False)
        if isinstance(module, (nn.LayerNorm, nn.BatchNorm2d, nn.GroupNorm))
    }
    for parameter, (rate, decay) in found.items():
        assert rate == pytest.approx(1e-5 if parameter.startswith('backbone.') else 1e-4)
        free = parameter in norms or 'query' in parameter or 'level_embed' in parameter
        assert decay == (0 if free else 0.05), parameter
    assert sum(parameter.startswith('backbone.') for parameter in norms) > 100


def lr_over_time(name: str, steps: int, epoch: int | None = None) -> list[float]:
    """The rate of each iteration, as a share of the base rate; ``epoch``: its iterations."""
    parameter = nn.Parameter(torch.zeros(1))
    optimiser = torch.optim.SGD([parameter], lr=1.0)
    schedulers = []
    for entry in read(name).param_scheduler:
        kind = SCHEDULERS[entry.pop('type')]
        schedulers.append(kind(optimiser, **entry))
    found = []
    for i in range(steps):
        found.append(optimiser.param_groups[0]['lr'])
        optimiser.step()
        for scheduler in schedulers:
            if not scheduler.by_epoch or (i + 1) % epoch == 0:
                scheduler.step()
    return found


def test_cascade_3x_warms_up_and_falls_at_27_and_33():
    lr = lr_over_time('detection/cascade_fastervit_0_3x', 36 * 200, epoch=200)
    assert lr[0] == pytest.approx(0.001)  # of the base rate
    assert lr[500] == pytest.approx(0.001 + 0.999 * 500 / 999, rel=1e-3)
    assert lr[1000] == lr[27 * 200 - 1] == pytest.approx(1)
    assert lr[27 * 200] == lr[33 * 200 - 1] == pytest.approx(0.1)
    assert lr[33 * 200] == lr[-1] == pytest.approx(0.01)


def test_upernet_warms_up_for_1500_iterations_and_falls_in_a_straight_line():
    lr = lr_over_time('segmentation/upernet_fastervit_0_160k', 1500 + 1586)
    assert lr[0] == pytest.approx(1e-6)
    assert lr[750] == pytest.approx(750 / 1499, rel=1e-3)
    assert lr[1500] == pytest.approx(1, rel=1e-4)
    assert lr[1500 + 1585] == pytest.approx(0.99, rel=1e-4)  # a hundredth of the way to 160000


@pytest.mark.parametrize(
    ('name', 'epochs', 'falls'),
    [
        ('detection/dino_4scale_fastervit_4_21k_224_12e', 12, 11),
        ('detection/dino_4scale_fastervit_4_21k_384_36e', 36, 30),
        ('detection/dino_4scale_fastervit_4_21k_384_24e', 24, 18),
        ('detection/dino_5scale_fastervit_4_21k_384_24e', 24, 18),
        ('detection/dino_5scale_fastervit_4_21k_384_36e', 36, 30),
        ('detection/dino_5scale_fastervit_4_36e', 36, 11),
    ],
)
def test_dino_falls_once(name, epochs, falls):
    assert read(name).train_cfg.max_epochs == epochs
    assert lr_over_time(name, epochs, epoch=1) == pytest.approx(
        [1.0] * falls + [0.1] * (epochs - falls)
    )


@pytest.mark.parametrize('name', [n for n in NAMES if not n.endswith('_released')])
def test_a_red_pixel_is_normalised_as_for_imagenet(name):
    """Images are read as BGR; the networks' weights expect RGB less the mean, over the spread."""
    settings = read(name).model.data_preprocessor
    kind = settings.pop('type')
    if kind == 'DetDataPreprocessor':
        from mmdet.models import DetDataPreprocessor as Preprocessor
    else:
        from mmseg.models import SegDataPreProcessor as Preprocessor

        settings.pop('size')
        settings.pop('test_cfg', None)  # padding
    settings.pop('batch_augments', None)
    red = torch.zeros(3, 1, 1, dtype=torch.uint8)
    red[2] = 255
    image = Preprocessor(**settings)(dict(inputs=[red]))['inputs'][0]
    expected = [(255 - 123.675) / 58.395, -116.28 / 57.12, -103.53 / 57.375]
    assert image[:, 0, 0].tolist() == pytest.approx(expected)


def test_the_heads_are_the_published_ones():
    head = read('detection/cascade_fastervit_2_3x').model.roi_head
    assert len(head.bbox_head) == 3
    for stage in head.bbox_head:
        assert (stage.num_shared_convs, stage.num_shared_fcs) == (4, 1)
        assert (stage.loss_bbox.type, stage.loss_bbox.loss_weight) == ('GIoULoss', 10)
    upernet = read('segmentation/upernet_fastervit_2_160k').model
    assert upernet.decode_head.pool_scales == (1, 2, 3, 6)
    assert (upernet.decode_head.channels, upernet.data_preprocessor.size) == (512, (512, 512))
    assert (upernet.auxiliary_head.in_index, upernet.auxiliary_head.loss_decode.loss_weight) == (
        2,
        0.4,
    )


@pytest.mark.parametrize('name', DINOS)
def test_dino_is_the_published_one(name):
    cfg = read(name)
    model = cfg.model
    assert (model.encoder.num_layers, model.decoder.num_layers, model.num_queries) == (6, 6, 900)
    assert (model.dn_cfg.label_noise_scale, model.dn_cfg.group_cfg.num_dn_queries) == (0.5, 100)
    assert model.positional_encoding.temperature == 20
    assert model.neck.bias is True and model.neck.norm_cfg == dict(type='GN', num_groups=32)
    assert cfg.optim_wrapper.clip_grad.max_norm == 0.1
    levels, indices = (5, (0, 1, 2, 3)) if '5scale' in name else (4, (1, 2, 3))
    assert model.num_feature_levels == model.neck.num_outs == levels
    assert model.backbone.out_indices == indices
