"""Pickles of detections, read without running their code."""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any

import torch

from ..errors import FileError
from ..weights.safe_loading import latin1, no_bytes, plain_numpy, with_arrays

PICKLES = ('.pkl', '.pickle')
# what a pickle of mmdet's detections is made of, beside numpy's arrays
_PLAIN = {('collections', 'OrderedDict'), ('torch._utils', '_rebuild_tensor_v2')}


def _load_storage(content: bytes) -> Any:
    return torch.load(io.BytesIO(content), map_location='cpu', weights_only=True)


_STAND_INS = {
    **plain_numpy(),
    ('torch.storage', '_load_from_bytes'): _load_storage,
    ('_codecs', 'encode'): latin1,
    ('builtins', 'bytes'): no_bytes,
    ('__builtin__', 'bytes'): no_bytes,
}


class _PlainUnpickler(pickle.Unpickler):
    """Reads numbers, tensors and plain containers, and nothing that could run code."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in _STAND_INS:
            return _STAND_INS[module, name]
        if (module, name) not in _PLAIN:
            raise pickle.UnpicklingError(f'it holds {module}.{name}')
        return super().find_class(module, name)


def read_pickle(path: Path, trust: bool) -> Any:
    """What a pickle of numbers holds.

    Args:
        path: file.
        trust: let it run code.

    Raises:
        FileError: it cannot be read, or is a pickle of more than numbers.
    """
    with open(path, 'rb') as file:
        try:
            return pickle.load(file) if trust else with_arrays(_PlainUnpickler(file).load())
        except Exception as error:  # a pickle of anything can raise anything
            raise FileError(
                f'{path} cannot be read as kept detections ({error}); --trust reads any pickle, which '
                'MAY RUN ANY CODE; better: tools/test.py --out predictions.json'
            ) from None
