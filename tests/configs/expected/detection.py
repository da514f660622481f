"""``configs/detection``: every config as its family with changes."""

from tests.configs.expected import shapes
from tests.configs.expected.backbones import (
    CHANNELS_OF_96,
    CHANNELS_OF_128,
    CHANNELS_OF_RESNEXT,
    SWIN_B,
    SWIN_S,
    SWIN_T,
    channels,
    convnext,
    pretrained,
    resnext101,
    swin,
)
from tests.configs.expected.changes import changed, joined
from tests.configs.expected.data import COCO_DETECTION, COCO_INSTANCE, COCO_PANOPTIC
from tests.configs.expected.models import CASCADE, DINO, PANOPTIC
from tests.configs.expected.runs import (
    DECAY_OF_SWIN,
    DETECTION_RUNTIME,
    MASK2FORMER_50_EPOCHS,
    THREE_TIMES,
    TWELVE_EPOCHS,
    step,
)

CASCADE_3X = joined(CASCADE, COCO_INSTANCE, THREE_TIMES, DETECTION_RUNTIME)
DINO_12E = joined(DINO, COCO_DETECTION, TWELVE_EPOCHS, DETECTION_RUNTIME)
PANOPTIC_50E = joined(PANOPTIC, COCO_PANOPTIC, MASK2FORMER_50_EPOCHS, DETECTION_RUNTIME)


def cascade(arch: str) -> dict:
    return changed(
        CASCADE_3X,
        {
            'model.backbone.arch': arch,
            'model.backbone.drop_path_rate': 0.2,
            'model.backbone.init_cfg': pretrained(),
            'model.neck.in_channels': channels(arch),
        },
    )


def peer(backbone: dict, widths: list[int]) -> dict:
    """Another backbone on the same neck, heads, data and schedule."""
    return changed(CASCADE_3X, {'model.backbone': backbone, 'model.neck.in_channels': widths})


def peer_swin(size: tuple, *, drop_path: float, weights: str) -> dict:
    url = 'https://github.com/SwinTransformer/storage/releases/download/v1.0.0/' + weights
    return swin(*size, drop_path=drop_path, weights=url) | {'convert_weights': True}


def dino_4scale(arch: str) -> dict:
    """Strides 8, 16 and 32, and one level that the neck adds; as the base has it."""
    return changed(
        DINO_12E,
        {
            'model.backbone.arch': arch,
            'model.backbone.init_cfg': pretrained(),
            'model.neck.in_channels': channels(arch)[1:],
        },
    )


def dino_5scale(arch: str) -> dict:
    """Stride 4 joins in."""
    return changed(
        dino_4scale(arch),
        {
            'model.num_feature_levels': 5,
            'model.backbone.out_indices': (0, 1, 2, 3),
            'model.backbone.with_cp': False,
            'model.neck.in_channels': channels(arch),
            'model.neck.num_outs': 5,
            'model.encoder.layer_cfg.self_attn_cfg.num_levels': 5,
            'model.decoder.layer_cfg.cross_attn_cfg.num_levels': 5,
        },
    )


def longer(config: dict, *, epochs: int, milestone: int) -> dict:
    return changed(
        config,
        {'train_cfg.max_epochs': epochs, 'param_scheduler': step(epochs, milestone)},
    )


def panoptic(arch: str) -> dict:
    """Counted in iterations, the best one by its panoptic quality."""
    return changed(
        PANOPTIC_50E,
        {
            'model.backbone.arch': arch,
            'model.backbone.drop_path_rate': 0.3,
            'model.backbone.init_cfg': pretrained(),
            'model.panoptic_head.in_channels': channels(arch),
            'default_hooks.logger.log_metric_by_epoch': False,
            'default_hooks.checkpoint.by_epoch': False,
            'default_hooks.checkpoint.interval': 5000,
            'default_hooks.checkpoint.save_best': 'coco_panoptic/PQ',
            'default_hooks.checkpoint.rule': 'greater',
            'log_processor.by_epoch': False,
        },
    )


JITTER = [
    {'type': 'LoadImageFromFile'},
    {'type': 'LoadAnnotations', 'with_bbox': True, 'with_mask': True},
    {'type': 'RandomResize', 'scale': (1024, 1024), 'ratio_range': (0.1, 2.0), 'keep_ratio': True},
    {
        'type': 'RandomCrop',
        'crop_type': 'absolute_range',
        'crop_size': (1024, 1024),
        'recompute_bbox': True,
        'allow_negative_crop': True,
    },
    {'type': 'FilterAnnotations', 'min_gt_bbox_wh': (0.01, 0.01)},
    {'type': 'RandomFlip', 'prob': 0.5},
    {'type': 'PackDetInputs'},
]
LARGE_SCALE_JITTER = {
    'image_size': (1024, 1024),
    'train_pipeline': JITTER,
    'train_dataloader.dataset.pipeline': JITTER,
    'model.data_preprocessor.batch_augments': [
        {'type': 'BatchFixedSizePad', 'size': (1024, 1024), 'pad_mask': True}
    ],
    'train_cfg.max_epochs': 100,
    'train_cfg.val_interval': 5,
    'param_scheduler': [
        {'type': 'LinearLR', 'start_factor': 0.001, 'by_epoch': False, 'begin': 0, 'end': 1000},
        {
            'type': 'MultiStepLR',
            'by_epoch': True,
            'begin': 0,
            'end': 100,
            'milestones': [89, 96],
            'gamma': 0.1,
        },
    ],
}
LAYER_DECAY = {
    'optim_wrapper.constructor': 'fastervit_mm.LayerDecayOptimWrapperConstructor',
    'optim_wrapper.paramwise_cfg.layer_decay_rate': 0.9,
}
# the backbone as the released detector was trained
RELEASED = {
    'model.backbone.position_unit': 'token_count',
    'model.backbone.pad_all_stages': True,
    'model.backbone.out_norm': 'bn',
}
FINETUNE = {'default_hooks.checkpoint.max_keep_ckpts': 1}
# what Swin's and ConvNeXt's own recipes change
OWN_SWIN = {
    'optim_wrapper.paramwise_cfg': DECAY_OF_SWIN,
}


def own_convnext(*, drop_path: float, decay: float) -> dict:
    return {
        'model.backbone.drop_path_rate': drop_path,
        'optim_wrapper.optimizer.lr': 0.0002,
        'optim_wrapper.constructor': 'fastervit_mm.LayerDecayOptimWrapperConstructor',
        'optim_wrapper.paramwise_cfg': {
            'norm_decay_mult': 0.0,
            'layer_decay_rate': decay,
            'bias_decay_mult': 0.0,
            'flat_decay_mult': 0.0,
        },
    }


CONFIGS = {
    'cascade_fastervit_0_3x': cascade('fastervit_0'),
    'cascade_fastervit_1_3x': cascade('fastervit_1'),
    'cascade_fastervit_2_3x': cascade('fastervit_2'),
    'cascade_fastervit_3_3x': cascade('fastervit_3'),
    'cascade_fastervit_4_3x': cascade('fastervit_4'),
    'cascade_fastervit_4_21k_224_3x': cascade('fastervit_4_21k_224'),
    'cascade_fastervit_4_21k_384_3x': cascade('fastervit_4_21k_384'),
    'cascade_fastervit_2_3x_lld': changed(cascade('fastervit_2'), LAYER_DECAY),
    'cascade_fastervit_2_lsj': changed(cascade('fastervit_2'), LARGE_SCALE_JITTER),
    'cascade_fastervit_shapes': shapes.CASCADE_SHAPES,
    'dino_4scale_fastervit_0_12e': dino_4scale('fastervit_0'),
    'dino_4scale_fastervit_1_12e': dino_4scale('fastervit_1'),
    'dino_4scale_fastervit_2_12e': dino_4scale('fastervit_2'),
    'dino_4scale_fastervit_3_12e': dino_4scale('fastervit_3'),
    'dino_4scale_fastervit_4_12e': dino_4scale('fastervit_4'),
    'dino_4scale_fastervit_4_21k_224_12e': dino_4scale('fastervit_4_21k_224'),
    'dino_4scale_fastervit_4_21k_384_12e': dino_4scale('fastervit_4_21k_384'),
    'dino_4scale_fastervit_4_21k_512_12e': dino_4scale('fastervit_4_21k_512'),
    'dino_4scale_fastervit_4_21k_384_24e': longer(
        dino_4scale('fastervit_4_21k_384'), epochs=24, milestone=18
    ),
    'dino_4scale_fastervit_4_21k_384_36e': longer(
        dino_4scale('fastervit_4_21k_384'), epochs=36, milestone=30
    ),
    'dino_4scale_fastervit_4_21k_224_12e_released': changed(
        dino_4scale('fastervit_4_21k_224'), RELEASED
    ),
    'dino_4scale_fastervit_4_21k_224_finetune': changed(
        dino_4scale('fastervit_4_21k_224'), RELEASED | FINETUNE
    ),
    'dino_5scale_fastervit_4_12e': dino_5scale('fastervit_4'),
    'dino_5scale_fastervit_4_36e': longer(dino_5scale('fastervit_4'), epochs=36, milestone=11),
    'dino_5scale_fastervit_4_21k_224_12e': dino_5scale('fastervit_4_21k_224'),
    'dino_5scale_fastervit_4_21k_384_12e': dino_5scale('fastervit_4_21k_384'),
    'dino_5scale_fastervit_4_21k_512_12e': dino_5scale('fastervit_4_21k_512'),
    'dino_5scale_fastervit_4_21k_384_24e': longer(
        dino_5scale('fastervit_4_21k_384'), epochs=24, milestone=18
    ),
    'dino_5scale_fastervit_4_21k_384_36e': longer(
        dino_5scale('fastervit_4_21k_384'), epochs=36, milestone=30
    ),
    'mask2former_fastervit_2_50e_panoptic': panoptic('fastervit_2'),
    'peers/cascade_convnext_t_3x': peer(convnext('tiny', drop_path=0.2), CHANNELS_OF_96),
    'peers/cascade_convnext_s_3x': peer(convnext('small', drop_path=0.2), CHANNELS_OF_96),
    'peers/cascade_convnext_b_3x': peer(convnext('base', drop_path=0.2), CHANNELS_OF_128),
    'peers/cascade_resnext101_32x4d_3x': peer(resnext101(32), CHANNELS_OF_RESNEXT),
    'peers/cascade_resnext101_64x4d_3x': peer(resnext101(64), CHANNELS_OF_RESNEXT),
    'peers/cascade_swin_t_3x': peer(
        peer_swin(SWIN_T, drop_path=0.2, weights='swin_tiny_patch4_window7_224.pth'),
        CHANNELS_OF_96,
    ),
    'peers/cascade_swin_s_3x': peer(
        peer_swin(SWIN_S, drop_path=0.2, weights='swin_small_patch4_window7_224.pth'),
        CHANNELS_OF_96,
    ),
    'peers/cascade_swin_b_3x': peer(
        peer_swin(SWIN_B, drop_path=0.2, weights='swin_base_patch4_window7_224.pth'),
        CHANNELS_OF_128,
    ),
}
# Swin-T of our recipe with hierarchical attention in its default stages
CONFIGS['cascade_swin_hat_t_3x'] = changed(
    CONFIGS['peers/cascade_swin_t_3x'],
    {
        'model.backbone.type': 'fastervit_mm.SwinHAT',
        'custom_imports.imports': ['fastervit_mm.models.swin_hat'],
    },
)
for size, drop_path in (('t', 0.2), ('s', 0.2), ('b', 0.3)):
    CONFIGS[f'peers/cascade_swin_{size}_3x_own'] = changed(
        CONFIGS[f'peers/cascade_swin_{size}_3x'],
        OWN_SWIN | {'model.backbone.drop_path_rate': drop_path},
    )
for size, drop_path, decay in (('t', 0.4, 0.7), ('s', 0.6, 0.7), ('b', 0.7, 0.8)):
    CONFIGS[f'peers/cascade_convnext_{size}_3x_own'] = changed(
        CONFIGS[f'peers/cascade_convnext_{size}_3x'],
        own_convnext(drop_path=drop_path, decay=decay),
    )
CONFIGS = {f'detection/{name}': config for name, config in CONFIGS.items()}
