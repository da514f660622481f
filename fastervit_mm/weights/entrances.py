"""Every way by which a file of weights comes in, closed to code that the file may hold.

mmengine's checkpoint loader serves the runner, the inferencers and most backbones' ``init_cfg``, and
loads a file without safety where the safe way fails. Inside `guarded_loading` it loads safely;
`import fastervit_mm` alone changes nothing.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from mmengine.logging import print_log
from mmengine.model import BaseTTAModel, is_model_wrapper
from mmengine.runner import checkpoint as mmengine_checkpoint
from mmengine.runner.checkpoint import CheckpointLoader
from torch import nn

from ..compatibility import unsound_loading
from ..errors import FileError
from .download import fetch
from .published import check_finite
from .safe_loading import TRUST, load_file

# PyTorch's own switch: every torch.load of the process is a safe one, whatever it asks for
FORCE_SAFE = 'TORCH_FORCE_WEIGHTS_ONLY_LOAD'
# whose names mmengine turns into URLs
ZOOS = ('modelzoo://', 'torchvision://', 'open-mmlab://', 'openmmlab://', 'mmcls://')


def load_weights(filename: str, map_location: Any = None, *, classes: Sequence[str] = ()) -> Any:
    """A checkpoint's content, by path or URL, without running code of the file.

    The config that a checkpoint of mmengine may carry in ``meta.config`` is left out: resuming
    would execute it.

    Args:
        filename: path or URL.
        map_location: as `torch.load` takes it. Default: as stored.
        classes: names of the model's classes, for a checkpoint that has none: the host libraries
            would take those of COCO or Cityscapes.

    Raises:
        FileError: no such file, one that is damaged or that safe loading refuses, or weights that
            are not finite.
    """
    content = load_file(fetch(filename), map_location=map_location)
    meta = content.get('meta', {}) if isinstance(content, dict) else None
    if not isinstance(meta, dict):
        raise FileError(f'checkpoint {filename} is no dict, or its meta is none: not a checkpoint')
    _check_names(filename, content.get('state_dict', content), meta)
    if not TRUST.get():
        meta = {k: v for k, v in meta.items() if k != 'config'}
    if classes and not (meta.get('dataset_meta') or meta.get('CLASSES')):
        meta = dict(meta, dataset_meta=dict(classes=tuple(classes)))
    if meta:
        content['meta'] = meta
    for entries in (content, content.get('state_dict'), content.get('model')):
        check_finite(entries if isinstance(entries, Mapping) else {})
    return content


def _check_names(filename: str, weights: Any, meta: Mapping[Any, Any]) -> None:
    """Entries must have names, and classes too where there are some.

    Args:
        filename: of the checkpoint.
        weights: the part that should be a state dict.
        meta: the part that says what it is.

    Raises:
        FileError: they have none.
    """
    if not isinstance(weights, Mapping) or not all(isinstance(name, str) for name in weights):
        raise FileError(f'checkpoint {filename} holds no dict of named weights')
    data = meta.get('dataset_meta')
    named = dict(data) if isinstance(data, Mapping) else {'classes': data}
    named |= {'CLASSES': meta.get('CLASSES')}
    for names in [v for k, v in named.items() if str(k).lower() == 'classes' and v is not None]:
        if not isinstance(names, (list, tuple)) or not all(isinstance(n, str) for n in names):
            raise FileError(f'the class names in checkpoint {filename} are no list of names')


def check_fits(module: nn.Module, state_dict: Mapping[str, Any]) -> str:
    """How much of weights is for a network, all of which must be there; in words.

    Args:
        module: the network, or a wrapper of it.
        state_dict: the weights.

    Raises:
        FileError: entries of the network are missing, or have other shapes.
    """
    inner: Any = module
    while is_model_wrapper(inner) or isinstance(inner, BaseTTAModel):
        inner = inner.module
    wanted = inner.state_dict()
    fitting = {n for n, v in wanted.items() if getattr(state_dict.get(n), 'shape', None) == v.shape}
    lacking = [n for n in wanted if n not in fitting and 'num_batches_tracked' not in n]
    unknown = [n for n in state_dict if n not in wanted]
    counts = (
        f'{len(fitting)} of {len(wanted)} entries of the network are in the checkpoint, '
        f'{len(unknown)} of its entries are none of the network'
    )
    if lacking:
        raise FileError(
            f'the weights do not fit the config: {counts}; missing or of another shape: '
            f'{", ".join(lacking[:3])}{" …" * (len(lacking) > 3)}; '
            'use the config that the checkpoint was trained with'
        )
    return counts


def _load_what_fits(load: Any, module: nn.Module, state_dict: Any, *args: Any, **more: Any) -> None:
    """Mmengine's ``load_state_dict``, which must find all that the network has.

    Args:
        load: mmengine's.
        module: gets the weights.
        state_dict: the weights.
        *args: as ``load`` takes them.
        **more: the same.

    Raises:
        As `check_fits`.
    """
    print_log(f'weights: {check_fits(module, state_dict)}', logger='current')
    load(module, state_dict, *args, **more)


@contextmanager
def guarded_loading(
    trust: bool = False, *, whole: bool = False, classes: Sequence[str] = ()
) -> Iterator[None]:
    """Inside, every file that weights are loaded from is loaded safely, by whatever library.

    mmengine's loader gives one line for a file that it must not read; what loads by itself meets
    PyTorch's own refusal.

    Args:
        trust: load what safe loading refuses: a file may then run any code. Default False.
        whole: a checkpoint must hold all of the network. Default False: what fits is loaded.
        classes: as in `load_weights`.
    """
    known_holes = None if trust else unsound_loading(torch.__version__)
    if known_holes is not None:
        warnings.warn(known_holes, stacklevel=3)

    def load_from_safe(filename: str, map_location: Any = None, **_: Any) -> Any:
        return load_weights(filename, map_location, classes=classes)  # mmengine logs our name

    schemes, forced = CheckpointLoader._schemes.copy(), os.environ.get(FORCE_SAFE)
    # names of model zoos are resolved to URLs by functions of mmengine, which then call these two
    ours: dict[str, Any] = dict.fromkeys(('load_from_http', 'load_from_local'), load_from_safe)
    if whole:
        ours['load_state_dict'] = partial(_load_what_fits, mmengine_checkpoint.load_state_dict)
    replaced = {name: getattr(mmengine_checkpoint, name) for name in ours}
    trusting = TRUST.set(trust)
    try:
        os.environ[FORCE_SAFE] = '0' if trust else '1'
        others = [prefix for prefix in schemes if prefix not in ZOOS]
        CheckpointLoader.register_scheme(others, load_from_safe, force=True)
        for name, function in ours.items():
            setattr(mmengine_checkpoint, name, function)
        yield
    finally:
        TRUST.reset(trusting)
        CheckpointLoader._schemes = schemes
        for name, function in replaced.items():
            setattr(mmengine_checkpoint, name, function)
        if forced is None:
            os.environ.pop(FORCE_SAFE, None)
        else:
            os.environ[FORCE_SAFE] = forced
