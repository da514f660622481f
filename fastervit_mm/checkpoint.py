"""Loading weights: the published files as they are, by safe loading only, every entry accounted for.

The published files are pickles of a dict with ``state_dict`` and training leftovers such as an
``argparse.Namespace``; names may carry a ``module.`` prefix, and position tables derived from the
weights are stored beside them.
"""

from __future__ import annotations

import argparse
import os
import pickle
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import torch
from mmengine.dist import barrier, is_main_process
from mmengine.logging import print_log
from torch import Tensor, nn

from .errors import ArgumentError, FileError
from .variants import NUM_STAGES, VARIANTS, WEIGHTS_URL

LICENCE_NOTE = (
    "NVIDIA's FasterViT weights are under their own non-commercial licence (NVIDIA "
    'Source Code License-NC), not under the Apache-2.0 licence of this package'
)

_DERIVED = re.compile(r'\.relative_(bias|coords_table|position_index)$')
_STORED_TWICE = re.compile(r'\.global_tokenizer\.to_global_feature\.')
_CLASSIFIER = re.compile(r'^(norm|head)\.')
_OUT_NORM = re.compile(r'^norm\d\.')


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
    core = np._core if np.__version__ >= '2' else np.core
    functions = [
        _under_name(getattr(core.multiarray, name), f'numpy.{module}.multiarray', name)
        for module in ('core', '_core')
        for name in ('_reconstruct', 'scalar')
    ]
    functions.append(_under_name(_history_attribute, 'builtins', 'getattr'))
    array_types = [np.ndarray, np.dtype, *(type(np.dtype(t)) for t in ('f4', 'f8', 'i4', 'i8'))]
    return [argparse.Namespace, HistoryBuffer, *functions, *array_types]


def load_file(path: str | os.PathLike) -> Any:
    """What ``torch.load`` gives for ``path``, on the CPU, without running code of the file.

    Raises:
        OSError: no such file.
        ValueError: not a checkpoint, or one that safe loading refuses.
    """
    if not Path(path).is_file():
        raise FileError(f'checkpoint {path} does not exist')
    torch.serialization.add_safe_globals(harmless_classes())
    try:
        return torch.load(path, map_location='cpu', weights_only=True)
    except Exception as error:  # torch raises a dozen types for files that are no checkpoints
        reason = str(error).strip().splitlines()[0] if str(error).strip() else repr(error)
        blocked = re.search(r'GLOBAL (\S+)', str(error))
        if blocked:
            reason = f'it holds the class {blocked[1]}, which safe loading refuses'
        raise ArgumentError(
            f'checkpoint {path} cannot be loaded ({type(error).__name__}): {reason}; '
            'is it a complete PyTorch checkpoint?'
        ) from None


def fetch(checkpoint: str) -> Path:
    """Path of ``checkpoint``; a URL is downloaded once, to torch.hub's folder.

    Raises:
        OSError: the download failed; the message says where to put the file by hand.
    """
    url = urlparse(checkpoint)
    if url.scheme not in ('http', 'https'):
        return Path(checkpoint.removeprefix('file://')).expanduser()
    path = Path(torch.hub.get_dir()) / 'checkpoints' / Path(url.path).name
    if is_main_process() and not path.is_file():
        _download(checkpoint, path)
    barrier()
    if not path.is_file():  # another node, with a disk of its own
        _download(checkpoint, path)
    return path


def _download(url: str, path: Path) -> None:
    print_log(f'downloading {url} to {path}', logger='current')
    if url.startswith(WEIGHTS_URL):
        print_log(LICENCE_NOTE, logger='current')
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        torch.hub.download_url_to_file(url, str(path))
    except OSError as error:  # urllib's errors among them
        raise FileError(
            f'cannot download {url} ({error}); fetch it elsewhere and put it at {path}, '
            'or give its path as init_cfg.checkpoint '
            '(--cfg-options model.backbone.init_cfg.checkpoint=PATH), or '
            'model.backbone.init_cfg=None to start from random weights'
        ) from None


def network_entries(checkpoint: Any, prefix: str | None = None) -> dict[str, Tensor]:
    """The backbone's entries of a loaded checkpoint: nested dicts opened, prefixes taken off.

    Args:
        checkpoint: a state dict, or a dict that holds one as ``state_dict`` or ``model``.
        prefix: only entries under it, such as 'backbone.'; None: all, or those under 'backbone.'
            where the file is a whole detector's or segmentor's.

    Raises:
        ValueError: there is no state dict in it, or nothing under ``prefix``.
    """
    for key in ('state_dict', 'model'):
        if isinstance(checkpoint, Mapping) and isinstance(checkpoint.get(key), Mapping):
            checkpoint = checkpoint[key]
    if not isinstance(checkpoint, Mapping):
        raise ArgumentError(
            f'the checkpoint is a {type(checkpoint).__name__}; expected a dict of '
            'tensors, or one under state_dict or model'
        )
    entries = {
        name.removeprefix('module.'): value
        for name, value in checkpoint.items()
        if isinstance(value, Tensor)
    }
    if prefix is None:
        whole_model = not any(name.startswith('patch_embed.') for name in entries)
        under = any(name.startswith('backbone.patch_embed.') for name in entries)
        prefix = 'backbone.' if whole_model and under else ''
    elif prefix and not prefix.endswith('.'):
        prefix += '.'
    entries = {
        name.removeprefix(prefix): value
        for name, value in entries.items()
        if name.startswith(prefix)
    }
    if not entries:
        raise ArgumentError(
            'the checkpoint holds no tensors' + (f' under {prefix!r}' * bool(prefix))
        )
    return entries


def why_skipped(name: str, built_stages: int) -> str | None:
    """Why the entry ``name`` of a file is not for a backbone that does not have it; None: it is."""
    if _DERIVED.search(name):
        return 'derived from the weights at every size'
    if _STORED_TWICE.search(name):
        return 'stored twice in the file'
    if _CLASSIFIER.search(name):
        return 'classifier'
    if _OUT_NORM.search(name):
        return 'norms of maps that are not emitted'
    stage = re.match(r'levels\.(\d)\.(downsample\.)?', name)
    if stage and int(stage[1]) + bool(stage[2]) >= built_stages:
        return 'behind the last emitted stage'
    return None


def recognise_variant(shapes: Mapping[str, Iterable[int]]) -> list[str]:
    """Names of the published variants that entries of these names and shapes fit."""
    shapes = {name: tuple(shape) for name, shape in shapes.items()}
    blocks = re.compile(r'levels\.(\d)\.blocks\.(\d+)\.')
    found = {(int(m[1]), int(m[2])) for m in map(blocks.match, shapes) if m}
    depths = tuple(sum(stage == i for stage, _ in found) for i in range(NUM_STAGES))
    stem = shapes.get('patch_embed.conv_down.3.weight', (0, 0))
    hat = 'levels.2.blocks.0.hat_norm1.weight' in shapes
    table = shapes.get('levels.2.blocks.0.pos_embed.relative_bias')
    return [
        name
        for name, v in VARIANTS.items()
        if (v.dim, v.in_dim) == stem[:2]
        and v.depths == depths
        and v.hat[2] == hat
        and (table is None or table[1] == v.window_size[2] ** 2)
    ]


def without_other_norms(
    entries: Mapping[str, Tensor], own: Mapping[str, Tensor]
) -> tuple[dict[str, Tensor], list[str]]:
    """``entries`` without the output norms of another kind than the network's, and their names.

    A BatchNorm's weight and bias would fit a LayerNorm by name and shape alone.
    """
    kept, left_out = dict(entries), []
    for norm in sorted({match[0] for match in map(_OUT_NORM.match, own) if match}):
        theirs = {name for name in entries if name.startswith(norm)}
        if theirs and theirs != {name for name in own if name.startswith(norm)}:
            left_out += sorted(theirs)
    for name in left_out:
        del kept[name]
    return kept, left_out


def _listed(names: list[str], most: int = 4) -> str:
    more = f', … {len(names) - most} more' if len(names) > most else ''
    return ', '.join(names[:most]) + more


def load_entries(model: nn.Module, entries: Mapping[str, Tensor], source: str) -> None:
    """Load ``entries`` into the backbone ``model``; log every kind of entry that was left out.

    Raises:
        ValueError: an entry is missing, unexpected or of another shape, and nothing explains it.
    """
    own = model.state_dict()
    entries, other_norms = without_other_norms(entries, own)
    skipped: dict[str, list[str]] = {}
    if other_norms:
        skipped['norms of another kind than out_norm'] = other_norms
    unexpected, reshaped = [], []
    for name, value in entries.items():
        if name in own:
            if value.shape != own[name].shape:
                reshaped.append(f'{name} {tuple(value.shape)} for {tuple(own[name].shape)}')
            continue
        reason = why_skipped(name, len(model.levels))
        if reason is None:
            unexpected.append(name)
        else:
            skipped.setdefault(reason, []).append(name)
    absent = [name for name in own if name not in entries]
    fresh = [name for name in absent if _OUT_NORM.match(name)]
    missing = [name for name in absent if not _OUT_NORM.match(name)]
    problems = [
        f'{len(names)} {kind}: {_listed(names)}'
        for kind, names in (
            ('missing', missing),
            ('unexpected', unexpected),
            ('of another shape', reshaped),
        )
        if names
    ]
    if problems:
        like = recognise_variant({name: value.shape for name, value in entries.items()})
        looks = f'it looks like {" or ".join(like)}' if like else 'it fits no published variant'
        raise ArgumentError(
            f'{source} does not fit arch={model.arch!r}; {looks}. Entries ' + '; '.join(problems)
        )
    model.load_state_dict({name: entries[name] for name in own if name in entries}, strict=False)
    print_log(f'{source}: loaded {len(own) - len(absent)} entries', logger='current')
    for reason, names in skipped.items():
        print_log(
            f'{source}: skipped {len(names)} entries ({reason}): {_listed(names)}', logger='current'
        )
    if fresh:
        print_log(
            f'{source}: {len(fresh)} entries not in it start afresh (norms of the emitted '
            f'maps): {_listed(fresh)}',
            logger='current',
        )


def load_pretrained(model: nn.Module, init_cfg: Mapping[str, Any]) -> None:
    """Load what ``init_cfg`` names into the backbone ``model``.

    Args:
        model: a `FasterViT`.
        init_cfg: ``dict(type='Pretrained', checkpoint=PATH_OR_URL, prefix=None)``; with a prefix
            such as 'backbone.', only the entries under it, without it.

    Raises:
        ValueError: another type, a file that is no checkpoint, or entries that do not fit.
        OSError: the file does not exist or cannot be downloaded.
    """
    if init_cfg.get('type') != 'Pretrained' or not init_cfg.get('checkpoint'):
        raise ArgumentError(
            f"init_cfg is {dict(init_cfg)}; allowed: None or dict(type='Pretrained', "
            'checkpoint=PATH_OR_URL)'
        )
    path = fetch(str(init_cfg['checkpoint']))
    try:
        entries = network_entries(load_file(path), init_cfg.get('prefix'))
    except ValueError as error:
        raise ArgumentError(
            f'{path}: {error}' if str(path) not in str(error) else str(error)
        ) from None
    load_entries(model, entries, path.name)
