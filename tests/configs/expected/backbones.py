"""Channels of every backbone that a config uses, its published weights, and the peers' settings."""

WEIGHTS = 'https://huggingface.co/ahatamiz/FasterViT/resolve/main/'
# arch -> channels of the four stages, file of the published weights
FASTERVIT = {
    'fastervit_0': ([64, 128, 256, 512], 'fastervit_0_224_1k.pth.tar'),
    'fastervit_1': ([80, 160, 320, 640], 'fastervit_1_224_1k.pth.tar'),
    'fastervit_2': ([96, 192, 384, 768], 'fastervit_2_224_1k.pth.tar'),
    'fastervit_3': ([128, 256, 512, 1024], 'fastervit_3_224_1k.pth.tar'),
    'fastervit_4': ([196, 392, 784, 1568], 'fastervit_4_224_1k.pth.tar'),
    'fastervit_4_21k_224': ([196, 392, 784, 1568], 'fastervit_4_21k_224_w14.pth.tar'),
    'fastervit_4_21k_384': ([196, 392, 784, 1568], 'fastervit_4_21k_384_w24.pth.tar'),
    'fastervit_4_21k_512': ([196, 392, 784, 1568], 'fastervit_4_21k_512_w32.pth.tar'),
}


def channels(arch: str) -> list[int]:
    return FASTERVIT[arch][0]


def pretrained() -> dict:
    """The ``init_cfg`` of a FasterViT: the variant's own file, `FASTERVIT`."""
    return {'type': 'Pretrained'}


def convnext(size: str, *, drop_path: float) -> dict:
    return {
        'type': 'fastervit_mm.TimmFeatures',
        'model_name': f'convnext_{size}.fb_in1k',
        'drop_path_rate': drop_path,
    }


def resnext101(groups: int) -> dict:
    return {
        'type': 'ResNeXt',
        'depth': 101,
        'groups': groups,
        'base_width': 4,
        'out_indices': (0, 1, 2, 3),
        'frozen_stages': 1,
        'norm_cfg': {'type': 'BN', 'requires_grad': True},
        'init_cfg': {'type': 'Pretrained', 'checkpoint': f'open-mmlab://resnext101_{groups}x4d'},
    }


def swin(width: int, depth: int, heads: tuple[int, ...], *, drop_path: float, weights: str) -> dict:
    """Args: depth: blocks of stage 2. weights: URL of the ImageNet-1K weights."""
    return {
        'type': 'SwinTransformer',
        'embed_dims': width,
        'depths': (2, 2, depth, 2),
        'num_heads': heads,
        'window_size': 7,
        'drop_path_rate': drop_path,
        'out_indices': (0, 1, 2, 3),
        'init_cfg': {'type': 'Pretrained', 'checkpoint': weights},
    }


# of the three sizes of Swin: width, depth, heads
SWIN_T = (96, 6, (3, 6, 12, 24))
SWIN_S = (96, 18, (3, 6, 12, 24))
SWIN_B = (128, 18, (4, 8, 16, 32))
CHANNELS_OF_96 = [96, 192, 384, 768]
CHANNELS_OF_128 = [128, 256, 512, 1024]
CHANNELS_OF_RESNEXT = [256, 512, 1024, 2048]
