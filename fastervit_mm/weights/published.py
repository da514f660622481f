"""The published files: whose they are, what their entries are called, into which network they go.

They are pickles of a dict with ``state_dict`` and training leftovers such as an
``argparse.Namespace``; names may carry a ``module.`` prefix, and position tables derived from the
weights are stored beside them. Every entry is accounted for: loaded, left out for a stated reason,
or an error.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import ArgumentError, FileError
from ..variants import NUM_STAGES, VARIANTS, WEIGHTS_URL
from .accounting import load_accounted
from .download import fetch
from .safe_loading import load_file

MOST_EXPANDED = 2**28  # numbers of entries that repeat a few, as an expanded buffer does
_DERIVED = re.compile(r'\.relative_(bias|coords_table|position_index)$')
_STORED_TWICE = re.compile(r'\.global_tokenizer\.to_global_feature\.')
_CLASSIFIER = re.compile(r'^(norm|head)\.')
_OUT_NORM = re.compile(r'^norm\d\.')


def network_entries(checkpoint: Any, prefix: str | None = None) -> dict[str, Tensor]:
    """The backbone's entries of a loaded checkpoint: nested dicts opened, prefixes taken off.

    Args:
        checkpoint: a state dict, or a dict that holds one as ``state_dict`` or ``model``.
        prefix: only entries under it, such as 'backbone.'; None: all, or those under 'backbone.'
            where the file is a whole detector's or segmentor's.

    Raises:
        FileError: there is no state dict in it, or nothing under ``prefix``.
    """
    for key in ('state_dict', 'model'):
        if isinstance(checkpoint, Mapping) and isinstance(checkpoint.get(key), Mapping):
            checkpoint = checkpoint[key]
    if not isinstance(checkpoint, Mapping):
        raise FileError(
            f'the checkpoint is a {type(checkpoint).__name__}; expected a dict of '
            'tensors, or one under state_dict or model'
        )
    entries = {
        name.removeprefix('module.'): value
        for name, value in checkpoint.items()
        if isinstance(value, Tensor) and isinstance(name, str)
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
    check_finite(entries)
    if not entries:
        raise FileError('the checkpoint holds no tensors' + (f' under {prefix!r}' * bool(prefix)))
    return entries


def check_finite(entries: Mapping[str, Any]) -> None:
    """Weights that are no numbers give results that are none.

    Raises:
        FileError: an entry holds NaN or infinity, or they state far more numbers than they hold.
    """
    expanded = 0
    for name, value in entries.items():
        if not isinstance(value, Tensor) or value.is_meta:
            continue
        if value.layout != torch.strided or value.is_nested:
            raise FileError(f'the checkpoint holds {name} as a tensor that is not dense')
        if value.numel() * value.element_size() > value.untyped_storage().nbytes():
            expanded += value.numel()
            value = _held(name, value, expanded)
        if not value.is_floating_point():
            continue
        numbers = value.float() if value.element_size() == 1 else value  # 8 bits cannot be asked
        if not numbers.isfinite().all():
            raise FileError(
                f'the checkpoint holds values in {name} that are not finite: the training that wrote it '
                'had failed; use an earlier checkpoint'
            )


def _held(name: str, value: Tensor, expanded: int) -> Tensor:
    """The numbers that an expanded tensor holds, each once.

    Args:
        name: of the entry.
        value: the tensor.
        expanded: how many numbers it and those before it state.

    Raises:
        FileError: these are so many that the file is no checkpoint.
    """
    if expanded > MOST_EXPANDED:
        raise FileError(
            f'the checkpoint states {expanded} numbers for entries up to {name}, and holds fewer: '
            'it was not written by a training'
        )
    count = value.untyped_storage().nbytes() // value.element_size()
    return value.as_strided((count,), (1,), 0)


def is_stored_twice(name: str) -> bool:
    """Whether an entry of a published file holds nothing that its other entries do not."""
    return bool(_DERIVED.search(name) or _STORED_TWICE.search(name))


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
        return 'after the last emitted stage'
    return None


def recognise_variant(shapes: Mapping[str, Iterable[int]]) -> list[str]:
    """Names of the published variants that entries of these names and shapes fit."""
    sizes = {name: tuple(shape) for name, shape in shapes.items()}
    blocks = re.compile(r'levels\.(\d)\.blocks\.(\d+)\.')
    found = {(int(m[1]), int(m[2])) for m in map(blocks.match, sizes) if m}
    depths = tuple(sum(stage == i for stage, _ in found) for i in range(NUM_STAGES))
    stem = sizes.get('patch_embed.conv_down.3.weight', (0, 0))
    hat = 'levels.2.blocks.0.hat_norm1.weight' in sizes
    table = sizes.get('levels.2.blocks.0.pos_embed.relative_bias')
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


def load_entries(model: nn.Module, entries: Mapping[str, Tensor], source: str) -> None:
    """Load ``entries`` into the backbone ``model``; log every kind of entry that was left out.

    Raises:
        ArgumentError: an entry is missing, unexpected or of another shape, and nothing explains
            it.
    """
    levels = list(model.get_submodule('levels').children())
    entries, other_norms = without_other_norms(entries, model.state_dict())

    def misfit() -> str:
        like = recognise_variant({name: value.shape for name, value in entries.items()})
        looks = f'it looks like {" or ".join(like)}' if like else 'it fits no published variant'
        variant: Any = model.variant
        own = VARIANTS.get(model.arch) if isinstance(model.arch, str) else None
        differs = own is not None and variant.stage_types != own.stage_types
        types = f' with stage_types={variant.stage_types!r}' if differs else ''
        return f'arch={model.arch!r}{types}; {looks}'

    load_accounted(
        model,
        entries,
        source,
        why_skipped=lambda name: why_skipped(name, len(levels)),
        why_fresh=lambda name: 'norms of the emitted maps' if _OUT_NORM.match(name) else None,
        misfit=misfit,
        left_out={'norms of another kind than out_norm': other_norms} if other_norms else None,
    )


def checkpoint_of(arch: Any, init_cfg: Mapping[str, Any]) -> str:
    """Path or URL of what ``init_cfg`` names; without one, the URL of the variant's own file.

    Args:
        arch: the backbone's; only a name has a published file.
        init_cfg: ``dict(type='Pretrained')``, with ``checkpoint`` or without.

    Raises:
        ArgumentError: another type, an empty path, or an ``arch`` without a published file.
    """
    given: Any = dict(init_cfg) if isinstance(init_cfg, Mapping) else init_cfg
    checkpoint = given.get('checkpoint') if isinstance(given, dict) else ''
    allowed = (
        f"init_cfg is {given!r}; allowed: None or dict(type='Pretrained', checkpoint=PATH_OR_URL)"
    )
    if checkpoint == '' or given.get('type') != 'Pretrained':
        raise ArgumentError(f'{allowed}, without checkpoint for the published weights of arch')
    if checkpoint is not None:
        return str(checkpoint)
    variant = VARIANTS.get(arch) if isinstance(arch, str) else None
    if variant is None or not variant.weights:
        raise ArgumentError(f'{allowed}, because arch={arch!r} has no published weights')
    return WEIGHTS_URL + variant.weights


def load_pretrained(model: nn.Module, init_cfg: Mapping[str, Any]) -> None:
    """Load what ``init_cfg`` names into the backbone ``model``.

    Args:
        model: a `FasterViT`.
        init_cfg: ``dict(type='Pretrained', checkpoint=None, prefix=None)``. ``checkpoint``: path or
            URL; None: the published weights of the model's ``arch``. ``prefix``: such as
            'backbone.', only the entries under it, without it.

    Raises:
        ArgumentError: another type, no published weights, or entries that do not fit.
        FileError: the file does not exist, cannot be downloaded, or is no checkpoint.
    """
    path = fetch(checkpoint_of(model.arch, init_cfg))
    content = load_file(path)
    try:
        entries = network_entries(content, init_cfg.get('prefix'))
    except FileError as error:
        raise FileError(f'{path}: {error}') from None
    load_entries(model, entries, path.name)
