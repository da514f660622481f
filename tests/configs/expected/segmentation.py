"""``configs/segmentation``: every config as its family with changes."""

from tests.configs.expected import shapes
from tests.configs.expected.backbones import (
    CHANNELS_OF_96,
    CHANNELS_OF_128,
    SWIN_B,
    SWIN_S,
    SWIN_T,
    channels,
    convnext,
    pretrained,
    swin,
)
from tests.configs.expected.changes import changed, joined
from tests.configs.expected.data import ADE20K, ADE20K_640
from tests.configs.expected.models import SEMANTIC, UPERNET
from tests.configs.expected.runs import (
    DECAY_OF_SWIN,
    ITERATIONS_160K,
    MASK2FORMER_160K,
    SEGMENTATION_RUNTIME,
)

UPERNET_160K = joined(UPERNET, ADE20K, ITERATIONS_160K, SEGMENTATION_RUNTIME)
SEMANTIC_160K = joined(SEMANTIC, ADE20K, MASK2FORMER_160K, SEGMENTATION_RUNTIME)
# shorter side, px, at steps of a tenth of the crop
RESIZED_BY_SHORT_SIDE = [
    {'type': 'LoadImageFromFile'},
    {'type': 'LoadAnnotations', 'reduce_zero_label': True},
    {
        'type': 'RandomChoiceResize',
        'scales': [
            *(256, 307, 358, 409, 460, 512, 563, 614),
            *(665, 716, 768, 819, 870, 921, 972, 1024),
        ],
        'resize_type': 'ResizeShortestEdge',
        'max_size': 2048,
    },
    {'type': 'RandomCrop', 'crop_size': (512, 512), 'cat_max_ratio': 0.75},
    {'type': 'RandomFlip', 'prob': 0.5},
    {'type': 'PhotoMetricDistortion'},
    {'type': 'PackSegInputs'},
]


def heads(widths: list[int]) -> dict:
    """Changes for a backbone of these widths; the auxiliary head reads stage 2."""
    return {
        'model.decode_head.in_channels': widths,
        'model.auxiliary_head.in_channels': widths[2],
    }


def upernet(arch: str) -> dict:
    return changed(
        UPERNET_160K,
        {
            'model.backbone.arch': arch,
            'model.backbone.drop_path_rate': 0.2,
            'model.backbone.init_cfg': pretrained(),
            **heads(channels(arch)),
        },
    )


def mask2former(arch: str) -> dict:
    return changed(
        SEMANTIC_160K,
        {
            'model.backbone.arch': arch,
            'model.backbone.drop_path_rate': 0.3,
            'model.backbone.init_cfg': pretrained(),
            'model.decode_head.in_channels': channels(arch),
            'train_pipeline': RESIZED_BY_SHORT_SIDE,
            'train_dataloader.dataset.pipeline': RESIZED_BY_SHORT_SIDE,
            'default_hooks.checkpoint.interval': 5000,
        },
    )


def peer(backbone: dict, widths: list[int]) -> dict:
    """Another backbone on the same heads, data and schedule."""
    return changed(UPERNET_160K, {'model.backbone': backbone, **heads(widths)})


def peer_swin(size: tuple, *, drop_path: float, weights: str) -> dict:
    url = 'https://mmassets.onedl.ai/mmsegmentation/v0.5/pretrain/swin/' + weights
    return swin(*size, drop_path=drop_path, weights=url)


CROPS_OF_640 = {**ADE20K_640, 'model.data_preprocessor.size': (640, 640)}
LAYER_DECAY = {
    'optim_wrapper.constructor': 'fastervit_mm.LayerDecayOptimWrapperConstructor',
    'optim_wrapper.paramwise_cfg.layer_decay_rate': 0.9,
}

CONFIGS = {
    'upernet_fastervit_0_160k': upernet('fastervit_0'),
    'upernet_fastervit_1_160k': upernet('fastervit_1'),
    'upernet_fastervit_2_160k': upernet('fastervit_2'),
    'upernet_fastervit_3_160k': upernet('fastervit_3'),
    'upernet_fastervit_4_160k': upernet('fastervit_4'),
    'upernet_fastervit_4_21k_224_160k': upernet('fastervit_4_21k_224'),
    'upernet_fastervit_4_21k_384_160k': changed(upernet('fastervit_4_21k_384'), CROPS_OF_640),
    'upernet_fastervit_4_21k_512_160k': changed(upernet('fastervit_4_21k_512'), CROPS_OF_640),
    'upernet_fastervit_2_160k_lld': changed(upernet('fastervit_2'), LAYER_DECAY),
    'upernet_fastervit_shapes': shapes.UPERNET_SHAPES,
    'mask2former_fastervit_2_160k': mask2former('fastervit_2'),
    'peers/upernet_convnext_t_160k': peer(convnext('tiny', drop_path=0.2), CHANNELS_OF_96),
    'peers/upernet_convnext_s_160k': peer(convnext('small', drop_path=0.2), CHANNELS_OF_96),
    'peers/upernet_convnext_b_160k': peer(convnext('base', drop_path=0.2), CHANNELS_OF_128),
    'peers/upernet_swin_t_160k': peer(
        peer_swin(
            SWIN_T,
            drop_path=0.2,
            weights='swin_tiny_patch4_window7_224_20220317-1cdeb081.pth',
        ),
        CHANNELS_OF_96,
    ),
    'peers/upernet_swin_s_160k': peer(
        peer_swin(
            SWIN_S,
            drop_path=0.2,
            weights='swin_small_patch4_window7_224_20220317-7ba6d6dd.pth',
        ),
        CHANNELS_OF_96,
    ),
    'peers/upernet_swin_b_160k': peer(
        peer_swin(
            SWIN_B,
            drop_path=0.2,
            weights='swin_base_patch4_window7_224_20220317-e9b98025.pth',
        ),
        CHANNELS_OF_128,
    ),
}
OWN_SWIN = {
    'model.backbone.drop_path_rate': 0.3,
    'optim_wrapper.paramwise_cfg': DECAY_OF_SWIN,
}
OWN_CONVNEXT = {
    'model.test_cfg': {'mode': 'slide', 'crop_size': (512, 512), 'stride': (341, 341)},
    'optim_wrapper.optimizer.lr': 0.0001,
    'optim_wrapper.optimizer.weight_decay': 0.05,
    'optim_wrapper.constructor': 'fastervit_mm.LayerDecayOptimWrapperConstructor',
    'optim_wrapper.paramwise_cfg': {
        'norm_decay_mult': 0.0,
        'layer_decay_rate': 0.9,
        'layer_decay_type': 'stage_wise',
        'bias_decay_mult': 0.0,
        'flat_decay_mult': 0.0,
    },
}
for size in 'tsb':
    CONFIGS[f'peers/upernet_swin_{size}_160k_own'] = changed(
        CONFIGS[f'peers/upernet_swin_{size}_160k'], OWN_SWIN
    )
for size, drop_path in (('t', 0.4), ('s', 0.3), ('b', 0.4)):
    CONFIGS[f'peers/upernet_convnext_{size}_160k_own'] = changed(
        CONFIGS[f'peers/upernet_convnext_{size}_160k'],
        OWN_CONVNEXT | {'model.backbone.drop_path_rate': drop_path},
    )
CONFIGS = {f'segmentation/{name}': config for name, config in CONFIGS.items()}
