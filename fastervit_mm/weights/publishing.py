"""Files of weights to give to others: safetensors, named by their hash."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import FileError
from .download import sha256_of
from .published import network_entries
from .safe_loading import CLASSES_KEY, SAFETENSORS, load_file

HASH_LENGTH = 8


def class_names(checkpoint: Any) -> tuple[str, ...]:
    """Names of a model's classes, as a checkpoint of mmengine keeps them; () where it does not."""
    meta = checkpoint.get('meta') if isinstance(checkpoint, Mapping) else None
    dataset = meta.get('dataset_meta') if isinstance(meta, Mapping) else None
    names = dataset.get('classes') if isinstance(dataset, Mapping) else None
    return tuple(str(name) for name in names or ())


def publish(checkpoint: str, out: Path) -> tuple[Path, tuple[str, ...]]:
    """Write the weights and class names of a checkpoint; the file and the names.

    Args:
        checkpoint: file.
        out: the new file, without hash; an ending .pth or .safetensors is taken off.

    Raises:
        FileError: the checkpoint cannot be loaded safely, or holds no weights.
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
    part = out.with_name(f'{stem}{SAFETENSORS}.part')
    try:
        save_file(entries, part, metadata={'format': 'pt', CLASSES_KEY: json.dumps(names)})
    except SafetensorError as error:  # its own, also where the disk is full
        part.unlink(missing_ok=True)
        raise FileError(f'{part} cannot be written ({error}); name another place') from None
    digest = sha256_of(part)[:HASH_LENGTH]
    path = out.with_name(f'{stem}-{digest}{SAFETENSORS}')
    part.replace(path)
    return path, names
