"""The host library of a config, mmdet or mmseg: that it is there, and the model that it builds."""

from __future__ import annotations

import importlib
import re
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.registry import Registry, init_default_scope
from mmengine.runner import BaseLoop
from torch import nn

from ..compatibility import packages_of
from ..errors import ODD, ArgumentError, UserError
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
    r'should be either all None or not None|Only one of `type` or `by_epoch`'
)
_PACKAGE = Path(__file__).resolve().parents[1]


@contextmanager
def building() -> Iterator[None]:
    """Inside, a library builds what a config describes, and may run it then.

    Raises:
        ArgumentError: the config names a type that does not exist, or settings that it does not
            take. What fails in our own code, or in a loop that runs, stays as it is.
    """
    try:
        yield
    except UserError:
        raise
    except (*ODD, RuntimeError) as error:
        told = _what_is_not_built(error)
        if told is None:
            raise
        raise ArgumentError(f'the config cannot be built: {told}') from error


def _what_is_not_built(error: Exception) -> str | None:
    """One line of what a config describes wrongly; None: the error is none of the config."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    runs = (
        isinstance(f.f_locals.get('self'), BaseLoop) for f in frames if f.f_code.co_name == 'run'
    )
    if any(runs):
        return None
    text = ' '.join(str(error.args[0] if error.args else error).split())
    if _NOT_BUILT.search(text) is not None:
        return f'{text:.300}'
    built = [f.f_locals.get('cfg') for f in frames if f.f_code.co_name == 'build_from_cfg']
    *_, (file, line, _, _) = traceback.extract_tb(error.__traceback__)
    odd = isinstance(error, ODD) or (built and type(error) is RuntimeError)  # none of a device's
    if not odd or _PACKAGE in Path(file).resolve().parents:
        return None
    kind = f'{built[-1].get("type")}: ' if built and isinstance(built[-1], dict) else ''
    return f'{kind}{type(error).__name__}: {text or "no message":.300} ({Path(file).name}, line {line})'


def registered(registry: Registry, name: str, scope: str | None = None) -> Any:
    """What a config calls ``name``, in the registry of its host library or in mmengine's.

    Args:
        registry: of mmengine.
        name: a ``type`` of a config.
        scope: ``default_scope`` of the config. Default None: the current one.

    Raises:
        ArgumentError: there is nothing of this name.
    """
    with registry.switch_scope_and_registry(scope) as of_scope:
        found = of_scope.get(name)
    if found is None:
        raise ArgumentError(
            f'the config cannot be built: {name} is not in the {registry.name} registry; check the name, '
            'and that custom_imports of the config import the module that has it'
        )
    return found


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
