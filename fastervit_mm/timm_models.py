"""FasterViT in timm: ``import fastervit_mm.timm_models``, then ``timm.create_model('fastervit_2')``.

The networks are `fastervit_mm.models.classifier.FasterViTClassifier`. Their weights are NVIDIA's, under a
non-commercial licence; they are downloaded and loaded by our own safe loader, because the
published files are pickles that hold more than tensors.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.models import (
    PretrainedCfg,
    build_model_with_cfg,
    generate_default_cfgs,
    register_model,
    register_notrace_function,
    register_notrace_module,
)
from torch import Tensor, nn

from .errors import FileError
from .models.classifier import FasterViTClassifier
from .network.checks import check_images
from .network.stages import ConvStage, WindowStage
from .variants import VARIANTS, WEIGHTS_URL
from .weights.download import fetch
from .weights.published import is_stored_twice, network_entries
from .weights.safe_loading import load_file

# side of the training images, px, and the share of the image that evaluation crops; the published ones
TRAINED_AT = {'fastervit_4_21k_384': 384, 'fastervit_4_21k_512': 512, 'fastervit_4_21k_768': 768}
CROP_PCT = {'fastervit_0': 0.875, 'fastervit_4_21k_224': 0.95, 'fastervit_4_21k_768': 0.93}

FOLDER_WEIGHTS = ('model.safetensors', 'pytorch_model.bin')  # as timm names them, its choice first


def _default_cfg(name: str) -> dict[str, Any]:
    """What timm is told about a network's weights and images."""
    side = TRAINED_AT.get(name, 224)
    return dict(
        url=WEIGHTS_URL + VARIANTS[name].weights,
        num_classes=1000,
        input_size=(3, side, side),
        pool_size=(side // 32, side // 32),
        crop_pct=CROP_PCT.get(name, 1.0),
        interpolation='bicubic',
        mean=IMAGENET_DEFAULT_MEAN,
        std=IMAGENET_DEFAULT_STD,
        first_conv='patch_embed.conv_down.0',
        classifier='head',
        license='NVIDIA Source Code License-NC',
        paper_ids='arXiv:2306.06189',
        paper_name='FasterViT: Fast Vision Transformers with Hierarchical Attention',
        origin_url='https://github.com/NVlabs/FasterViT',
    )


default_cfgs = generate_default_cfgs({name: _default_cfg(name) for name in VARIANTS})


def checkpoint_filter_fn(state_dict: Mapping[str, Any], model: nn.Module) -> dict[str, Tensor]:
    """The network's entries of a published file, or of one that timm's trainer wrote.

    Args:
        state_dict: of the file.
        model: not asked; timm passes it.

    Raises:
        FileError: it holds no tensors.
    """
    entries = network_entries(state_dict, prefix='')
    return {name: value for name, value in entries.items() if not is_stored_twice(name)}


def _file_of(folder: Path) -> Path:
    """The weights in a folder of timm's ``save_for_hf``."""
    for name in FOLDER_WEIGHTS:
        if (folder / name).is_file():
            return folder / name
    raise FileError(f'{folder} holds no weights; looked for {", ".join(FOLDER_WEIGHTS)}')


def _with_weights(overlay: Any, name: str) -> dict[str, Any]:
    """Timm's ``pretrained_cfg_overlay`` with the weights themselves, which our loader has read.

    Args:
        overlay: of the caller; its ``file`` or ``url`` takes the place of the published file. A
            folder is one of timm's ``save_for_hf``.
        name: of the network.

    Raises:
        FileError: the weights cannot be read.
    """
    stated = dict(overlay or {})
    file = stated.get('file')
    if file and Path(file).is_dir():
        return stated | dict(state_dict=load_file(_file_of(Path(file))), source='')
    if stated.get('state_dict') or stated.get('hf_hub_id'):
        return stated
    source = file or stated.get('url') or WEIGHTS_URL + VARIANTS[name].weights
    return stated | dict(state_dict=load_file(fetch(str(source))))


def _create(
    name: str,
    pretrained: bool = False,
    pretrained_cfg: Any = None,
    pretrained_cfg_overlay: Any = None,
    **kwargs: Any,
) -> nn.Module:
    if pretrained:
        of_timm = isinstance(pretrained_cfg, PretrainedCfg)
        stated = vars(pretrained_cfg) if of_timm else pretrained_cfg
        stated = dict(stated) if isinstance(stated, dict) else {}  # a tag states nothing
        pretrained_cfg_overlay = _with_weights(stated | dict(pretrained_cfg_overlay or {}), name)
    try:
        model = build_model_with_cfg(
            FasterViTClassifier,
            name,
            pretrained,
            pretrained_cfg=pretrained_cfg,
            pretrained_cfg_overlay=pretrained_cfg_overlay,
            pretrained_filter_fn=checkpoint_filter_fn,
            feature_cfg=dict(out_indices=(0, 1, 2, 3), feature_cls='getter'),
            arch=name,
            **kwargs,
        )
    except RuntimeError as error:
        if 'loading state_dict' not in str(error):
            raise
        raise FileError(
            f'the weights are not of {name}: {" ".join(str(error).split()):.300}'
        ) from None
    if pretrained:
        for part in (model, getattr(model, 'model', None)):  # the weights are in the network now
            settings = getattr(part, 'pretrained_cfg', None)
            if isinstance(settings, dict):
                settings.pop('state_dict', None)
    return model


def _entry(name: str) -> Any:
    """The function that timm knows by the name of a network."""

    def entry(pretrained: bool = False, **kwargs: Any) -> nn.Module:
        return _create(name, pretrained, **kwargs)

    entry.__name__ = entry.__qualname__ = name
    entry.__module__ = __name__
    entry.__doc__ = f'{name} (arXiv 2306.06189).'
    return entry


for _stage in (
    ConvStage,
    WindowStage,
):  # what symbolic tracing must not look into: sizes decide there
    register_notrace_module(_stage)
register_notrace_function(check_images)
for _name in VARIANTS:
    globals()[_name] = register_model(_entry(_name))

__all__ = ['FasterViTClassifier', 'checkpoint_filter_fn', 'default_cfgs', *VARIANTS]
