"""Reading checkpoint files without running code that they hold."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import pickle
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch.serialization import add_safe_globals, clear_safe_globals, get_safe_globals

from ..errors import FileError

SAFETENSORS = '.safetensors'
CLASSES_KEY = 'classes'  # of its metadata: a JSON list of names


def _under_name(function: Callable, module: str, name: str) -> Callable:
    """``function`` under the name that a pickle calls it by."""

    def renamed(*args: Any) -> Any:
        return function(*args)

    renamed.__module__, renamed.__name__, renamed.__qualname__ = module, name, name
    return renamed


def _history_attribute(owner: Any, name: str) -> Any:
    """All that a checkpoint's ``getattr`` may ask for: the statistics of a HistoryBuffer."""
    from mmengine.logging.history_buffer import HistoryBuffer

    if owner is not HistoryBuffer or name.startswith('_'):
        raise pickle.UnpicklingError('GLOBAL builtins.getattr was not an allowed global')
    return getattr(owner, name)


def harmless_classes() -> list[Any]:
    """What safe loading may build besides tensors and plain containers; none of it runs code.

    The published files hold an ``argparse.Namespace``, mmengine's the histories of logged values:
    numpy arrays, pickled under the module names of numpy 1 or 2, in one class.
    """
    import numpy as np
    from mmengine.logging.history_buffer import HistoryBuffer

    # numpy 1.26 has a _core too, which is all but empty
    core = '_core' if np.__version__ >= '2' else 'core'
    multiarray = importlib.import_module(f'numpy.{core}.multiarray')
    functions = [
        _under_name(getattr(multiarray, name), f'numpy.{module}.multiarray', name)
        for module in ('core', '_core')
        for name in ('_reconstruct', 'scalar')
    ]
    functions.append(_under_name(_history_attribute, 'builtins', 'getattr'))
    array_types = [np.ndarray, np.dtype, *(type(np.dtype(t)) for t in ('f4', 'f8', 'i4', 'i8'))]
    return [argparse.Namespace, HistoryBuffer, *functions, *array_types]


@contextmanager
def allowed(classes: list[Any]) -> Iterator[None]:
    """Let safe loading build ``classes`` too, inside the context only.

    torch.serialization.safe_globals is newer than the oldest PyTorch that we take, and at its end
    also forgets those of ``classes`` that the program had allowed before.
    """
    before = list(get_safe_globals())
    add_safe_globals(classes)
    try:
        yield
    finally:
        clear_safe_globals()
        add_safe_globals(before)


def _read_safetensors(path: str | os.PathLike) -> dict[str, Any]:
    """Tensors as ``state_dict``, and class names as a checkpoint of mmengine has them."""
    from safetensors import safe_open

    with safe_open(path, framework='pt') as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}
        metadata = file.metadata() or {}
    meta = {}
    if CLASSES_KEY in metadata:
        meta['dataset_meta'] = dict(classes=tuple(json.loads(metadata[CLASSES_KEY])))
    return dict(state_dict=tensors, meta=meta)


def load_file(path: str | os.PathLike, map_location: Any = 'cpu') -> Any:
    """What ``torch.load`` gives for ``path``, without running code of the file.

    Args:
        path: of a checkpoint, or of a ``.safetensors`` file, whose tensors come as ``state_dict``.
        map_location: as `torch.load` takes it. Default 'cpu'.

    Raises:
        FileError: no such file, not a checkpoint, or one that safe loading refuses.
    """
    if not Path(path).is_file():
        raise FileError(f'checkpoint {path} does not exist')
    try:
        if Path(path).suffix == SAFETENSORS:
            return _read_safetensors(path)
        with allowed(harmless_classes()):
            return torch.load(path, map_location=map_location, weights_only=True)
    except Exception as error:  # these raise a dozen types for files that are no checkpoints
        reason = str(error).strip().splitlines()[0] if str(error).strip() else repr(error)
        blocked = re.search(r'GLOBAL (\S+)', str(error))
        if blocked:
            reason = f'it holds the class {blocked[1]}, which safe loading refuses'
        raise FileError(
            f'checkpoint {path} cannot be loaded ({type(error).__name__}): {reason}; '
            'is it a complete PyTorch checkpoint?'
        ) from None
