"""Files of weights to give to others: safetensors, named by their hash."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import FileError, writing
from .download import sha256_of
from .published import network_entries
from .safe_loading import CLASSES_KEY, SAFETENSORS, load_file
from .whole_writing import PART, check_other_file, put_in_place

HASH_LENGTH = 8


def class_names(checkpoint: Any) -> tuple[str, ...]:
    """Names of a model's classes, as a checkpoint of mmengine keeps them; () where it does not.

    Older ones have them as ``meta.CLASSES``, where the host libraries look too.
    """
    meta = checkpoint.get('meta') if isinstance(checkpoint, Mapping) else None
    if not isinstance(meta, Mapping):
        return ()
    dataset = meta.get('dataset_meta')
    stated = {str(k).lower(): v for k, v in dataset.items()} if isinstance(dataset, Mapping) else {}
    return tuple(str(name) for name in stated.get('classes') or meta.get('CLASSES') or ())


def publish(checkpoint: str, out: Path) -> tuple[Path, tuple[str, ...]]:
    """Write the weights and class names of a checkpoint; the file and the names.

    Args:
        checkpoint: file.
        out: the new file, without hash; an ending .pth or .safetensors is taken off.

    Raises:
        FileError: the checkpoint cannot be loaded safely, or holds no weights; or the new file cannot
            be written.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    content = load_file(checkpoint)
    # no tensor may share memory with another one in this format
    entries = {
        name: value.detach().clone().contiguous()
        for name, value in network_entries(content, prefix='').items()
    }
    names = class_names(content)
    stem = out.name.removesuffix('.pth').removesuffix(SAFETENSORS)
    part = out.with_name(f'{stem}{SAFETENSORS}{PART}')
    check_other_file(checkpoint, part)
    with writing(out):
        try:
            save_file(entries, part, metadata={'format': 'pt', CLASSES_KEY: json.dumps(names)})
            digest = sha256_of(part)[:HASH_LENGTH]
            path = out.with_name(f'{stem}-{digest}{SAFETENSORS}')
            put_in_place(part, path)
        except SafetensorError as error:  # its own, also where the disk is full
            raise FileError(f'{part} cannot be written ({error}); name another place') from None
        finally:
            part.unlink(missing_ok=True)
    return path, names
