"""The host library of a config, mmdet or mmseg: that it is there, and the model that it builds."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from torch import nn

from ..compatibility import packages_of
from ..errors import ArgumentError, UserError
from .settings import check_there

HOST_LIBRARIES = ('mmdet', 'mmseg')


def check_host_library(cfg: Config) -> None:
    """The library that the config's ``default_scope`` names must be installed.

    Raises:
        ArgumentError: it is another one, or missing.
    """
    scope = cfg.get('default_scope')
    if scope not in HOST_LIBRARIES:
        raise ArgumentError(
            f'default_scope of the config is {scope!r}; allowed: {", ".join(HOST_LIBRARIES)}'
        )
    try:
        importlib.import_module(scope)
    except ModuleNotFoundError as error:
        package, other = packages_of(scope)
        raise ArgumentError(
            f'the config needs {scope} ({error}); install {package} (or {other})'
        ) from None


# what mmengine and Python say where a config names what is not there, or what a type does not take
_NOT_BUILT = re.compile(
    r'is not in the .* registry|got an unexpected keyword argument|missing \d+ required|'
    r'should be either all None or not None'
)


@contextmanager
def building() -> Iterator[None]:
    """Inside, a library builds what a config describes.

    Raises:
        ArgumentError: the config names a type that does not exist, or settings that it does not
            take. Any other error stays as it is.
    """
    try:
        yield
    except UserError:
        raise
    except (KeyError, TypeError, ValueError) as error:
        text = ' '.join(str(error.args[0] if error.args else error).split())
        if _NOT_BUILT.search(text) is None:
            raise
        raise ArgumentError(f'the config cannot be built: {text:.300}') from None


def build_model(cfg: Config, device: str | torch.device = 'cpu', init: bool = True) -> nn.Module:
    """The model that ``cfg`` describes, built by its host library.

    Args:
        cfg: with ``default_scope`` and ``model``.
        device: where it is put; on 'meta' it has names and shapes, but no values.
        init: call its ``init_weights``, which also loads what its ``init_cfg`` names. Without it,
            some parameters (DINO's ``level_embed``) are uninitialised memory.

    Raises:
        ArgumentError: the host library is missing.
    """
    check_host_library(cfg)
    check_there(cfg, ('model',))
    init_default_scope(cfg.default_scope)
    registry = importlib.import_module(f'{cfg.default_scope}.registry')
    if torch.device(device).type == 'meta':
        with torch.device('meta'), building():
            return registry.MODELS.build(cfg.model)
    with building():
        model: Any = registry.MODELS.build(cfg.model)
    if init:
        model.init_weights()
    return model.to(device)


def build_skeleton(cfg: Config) -> nn.Module:
    """The model that ``cfg`` describes for its names and shapes: without memory where that goes."""
    # Swin computes on what it builds, so it cannot be built without memory
    device = 'cpu' if 'Swin' in str(cfg.model.backbone.type) else 'meta'
    return build_model(cfg, device, init=False)
