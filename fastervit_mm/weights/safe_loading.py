"""Reading checkpoint files without running code that they hold."""

from __future__ import annotations

import argparse
import json
import os
import pickle
import re
import zipfile
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import torch
from torch.serialization import add_safe_globals, clear_safe_globals, get_safe_globals

from ..errors import FileError

# --trust-checkpoint: files may run code
TRUST: ContextVar[bool] = ContextVar('TRUST', default=False)
SAFETENSORS = '.safetensors'
ARCHIVE = b'PK\x03\x04'  # what one begins with, as PyTorch 1.6 and newer writes it
CLASSES_KEY = 'classes'  # of its metadata: a JSON list of names
# of objects in a file, which what prints, copies or compares them goes through one by one
MOST_DEPTH = 100
MOST_REPEATED, MOST_UNFOLDED = 100, 10**6


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


class PlainDtype:
    """Stands for ``numpy.dtype`` in a file: numbers of a plain kind, and nothing else.

    numpy's own takes state from the file by which an array can be made of pointers.
    """

    def __init__(self, name: str, align: bool = False, copy: bool = False) -> None:
        if not isinstance(name, str) or re.fullmatch(r'[?bBiufc]\d{0,2}', name) is None:
            raise pickle.UnpicklingError(
                f'GLOBAL numpy.dtype({name!r:.40}) was not an allowed global'
            )
        self.name = name
        self.order: Any = '='

    def __setstate__(self, state: tuple) -> None:
        order, rest = state[1], state[2:]
        if order not in ('<', '>', '|', '=') or any(v not in (None, -1, 0) for v in rest):
            raise pickle.UnpicklingError('GLOBAL numpy.dtype of fields was not an allowed global')
        self.order = order

    def real(self) -> Any:
        """The dtype of numpy's."""
        import numpy as np

        return np.dtype(self.name).newbyteorder(self.order)


class PlainArray:
    """Stands for ``numpy.ndarray`` in a file: made of bytes that are numbers."""

    value: Any = None

    def __setstate__(self, state: tuple) -> None:
        import numpy as np

        _, shape, dtype, fortran, content = state
        if not isinstance(dtype, PlainDtype) or not isinstance(content, bytes):
            raise pickle.UnpicklingError(
                'GLOBAL numpy.ndarray of objects was not an allowed global'
            )
        flat = np.frombuffer(content, dtype.real()).copy()
        self.value = flat.reshape(tuple(shape), order='F' if fortran else 'C')


def _reconstruct(kind: Any, shape: Any, typecode: Any) -> PlainArray:
    """An array without content, as numpy's pickles begin one."""
    if kind is not PlainArray:
        raise pickle.UnpicklingError('GLOBAL a kind of array was not an allowed global')
    return PlainArray()


def no_bytes() -> bytes:
    """The content of an array of no numbers."""
    return b''


def _scalar(dtype: Any, content: Any) -> Any:
    """A number of numpy's."""
    import numpy as np

    if not isinstance(dtype, PlainDtype) or not isinstance(content, bytes):
        raise pickle.UnpicklingError('GLOBAL numpy.scalar of an object was not an allowed global')
    (number,) = np.frombuffer(content, dtype.real())
    return number


def plain_numpy() -> dict[tuple[str, str], Any]:
    """Module and name of numpy's parts in a pickle -> what stands for them, for numpy 1 and 2."""
    found: dict[tuple[str, str], Any] = {
        ('numpy', 'dtype'): PlainDtype,
        ('numpy', 'ndarray'): PlainArray,
    }
    for module in ('numpy.core.multiarray', 'numpy._core.multiarray'):
        found[module, '_reconstruct'] = _reconstruct
        found[module, 'scalar'] = _scalar
    return found


def latin1(text: Any, encoding: Any) -> bytes:
    """Bytes, as older protocols of pickle write them."""
    if not isinstance(text, str) or encoding != 'latin1':
        raise pickle.UnpicklingError('GLOBAL codecs.encode was not an allowed global')
    return text.encode('latin1')


def with_arrays(content: Any) -> Any:
    """What was loaded, with arrays of numpy's where `PlainArray` stands for them.

    Args:
        content: changed in place where it can be.

    Raises:
        ValueError: what uses it would take for ever: a few objects that hold each other very often,
            or one inside the other.
    """
    walk = _Walk()
    found, unfolded = walk.through(content)
    if unfolded > max(MOST_UNFOLDED, MOST_REPEATED * walk.steps):
        raise ValueError('a few objects in it hold each other very often: no training wrote it')
    return found


class _Walk:
    """A way through objects, to each once, whoever holds it.

    Attributes:
        seen: by their id, objects, what became of them, and how many they would be with all that
            they hold written out.
        steps: how many it had.
    """

    def __init__(self) -> None:
        self.seen: dict[int, tuple[Any, int]] = {}
        self.steps = 0

    def through(self, value: Any, depth: int = 0) -> tuple[Any, int]:
        """Of an object: what becomes of it, and how many it is written out."""
        self.steps += 1
        if depth > MOST_DEPTH:
            raise ValueError(f'its objects are nested more than {MOST_DEPTH} deep')
        if id(value) in self.seen:
            return self.seen[id(value)]
        if isinstance(value, PlainArray):
            return self._note(value, value.value)
        self._note(value, value)  # it may hold itself
        if isinstance(value, dict):
            found = {key: self.through(item, depth + 1) for key, item in value.items()}
            for key, (new, _) in found.items():
                value[key] = new  # a Counter's update would count them
            return self._note(value, value, found.values())
        if isinstance(value, list):
            items = [self.through(item, depth + 1) for item in value]
            value[:] = [new for new, _ in items]
            return self._note(value, value, items)
        if type(value) is tuple:
            items = [self.through(item, depth + 1) for item in value]
            return self._note(value, tuple(new for new, _ in items), items)
        if type(value).__name__ in ('Namespace', 'HistoryBuffer'):
            return self._note(value, value, [self.through(vars(value), depth + 1)])
        return value, 1

    def _note(
        self, value: Any, new: Any, held: Collection[tuple[Any, int]] = ()
    ) -> tuple[Any, int]:
        """What became of an object, for those that hold it too."""
        self.seen[id(value)] = new, 1 + sum(size for _, size in held)
        return self.seen[id(value)]


def harmless_classes() -> list[Any]:
    """What safe loading may build besides tensors and plain containers; none of it runs code.

    The published files hold an ``argparse.Namespace``, mmengine's the histories of logged values:
    numpy arrays, which our stand-ins make of numbers alone.
    """
    from mmengine.logging.history_buffer import HistoryBuffer

    for kind, name in ((PlainDtype, 'dtype'), (PlainArray, 'ndarray')):
        kind.__module__, kind.__name__, kind.__qualname__ = 'numpy', name, name
    functions = [
        _under_name(function, module, name)
        for (module, name), function in plain_numpy().items()
        if not isinstance(function, type)
    ]
    functions.append(_under_name(_history_attribute, 'builtins', 'getattr'))
    functions.append(_under_name(no_bytes, 'builtins', 'bytes'))
    functions.append(_under_name(latin1, '_codecs', 'encode'))  # torch 2.5 and newer know it
    return [argparse.Namespace, HistoryBuffer, PlainDtype, PlainArray, *functions]


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
        names = json.loads(metadata[CLASSES_KEY])
        if not isinstance(names, list):
            raise ValueError(f'its class names are a {type(names).__name__}, not a list')
        meta['dataset_meta'] = dict(classes=tuple(names))
    return dict(state_dict=tensors, meta=meta)


FOLDER_MARK = 0x10  # of an entry of a zip archive


def check_archive(path: str | os.PathLike) -> None:
    """The records of PyTorch's archive must be what was written: ``torch.load`` does not look.

    Files of PyTorch before 1.6 are none, and have no checksums.

    Args:
        path: of a checkpoint.

    Raises:
        ValueError: a record is damaged, or larger than the file.
    """
    with open(path, 'rb') as file:
        if file.read(4) != ARCHIVE:
            return
    try:
        _check_records(path)
    except (NotImplementedError, RuntimeError) as error:  # of a damaged table of contents
        raise ValueError(f'its table of contents is damaged ({error})') from None


def _check_records(path: str | os.PathLike) -> None:
    """`check_archive` of a zip archive."""
    with zipfile.ZipFile(path) as archive:
        records = archive.infolist()
        if any(record.compress_type != zipfile.ZIP_STORED for record in records):
            raise ValueError('it holds compressed records, which PyTorch does not write')
        if any(record.external_attr & FOLDER_MARK for record in records):
            raise ValueError('it marks records as folders, which PyTorch would read as empty')
        if sum(record.file_size for record in records) > os.path.getsize(path):
            raise ValueError('its records are larger than the file')
        # torch.serialization.set_crc32_options can leave checksums out
        damaged = archive.testzip() if any(record.CRC for record in records) else None
    if damaged is not None:
        raise ValueError(
            f'its record {damaged} is damaged (another checksum than it was written with)'
        )


def load_file(path: str | os.PathLike, map_location: Any = 'cpu') -> Any:
    """What ``torch.load`` gives for ``path``, without running code of the file.

    Args:
        path: of a checkpoint, or of a ``.safetensors`` file, whose tensors come as ``state_dict``.
        map_location: as `torch.load` takes it. Default 'cpu'.

    Raises:
        FileError: no such file, not a checkpoint, a damaged one, or one that safe loading refuses.
    """
    if not Path(path).is_file():
        raise FileError(f'checkpoint {path} does not exist')
    try:
        if Path(path).suffix == SAFETENSORS:
            return _read_safetensors(path)
        check_archive(path)
        if TRUST.get():
            return torch.load(path, map_location=map_location, weights_only=False)
        with allowed(harmless_classes()):
            return with_arrays(torch.load(path, map_location=map_location, weights_only=True))
    except Exception as error:  # these raise a dozen types for files that are no checkpoints
        reason = _reason(error)
        raise FileError(
            f'checkpoint {path} cannot be loaded ({type(error).__name__}): {reason}; '
            'is it a complete PyTorch checkpoint?'
        ) from None


def _reason(error: Exception) -> str:
    """Why a file cannot be loaded, in one line, and without PyTorch's advice to load it unsafely."""
    text = str(error)
    blocked = re.search(r'GLOBAL (\S+)', text)
    if blocked:
        return f'it holds the class {blocked[1]}, which safe loading refuses'
    if 'weights_only' in text or 'Weights only' in text:
        inner = re.search(r'WeightsUnpickler error: *(\S[^\n]*)', text)
        text = inner[1] if inner and 'weights_only' not in inner[1] else 'safe loading refuses it'
    lines = text.strip().splitlines()
    return lines[0] if lines else repr(error)
