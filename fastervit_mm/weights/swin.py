"""Swin's files of weights for a Swin whose first stages are hierarchical attention.

A file of Swin's authors or of mmdet goes through mmdet's own converter; then the names of replaced
stages become ours where the two compute the same: norms, query-key-value, projection and MLP of a window.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

from timm.layers import resize_rel_pos_bias_table_simple
from torch import Tensor, nn

from ..errors import ArgumentError, FileError
from .accounting import load_accounted
from .download import fetch
from .published import network_entries
from .safe_loading import load_file

_IN_STAGE = re.compile(r'stages\.(\d+)\.')
# of a block: Swin's name in mmdet -> ours
_RENAMED = {
    '.attn.w_msa.qkv.': '.attn.qkv.',
    '.attn.w_msa.proj.': '.attn.proj.',
    '.ffn.layers.0.0.': '.mlp.fc1.',
    '.ffn.layers.1.': '.mlp.fc2.',
}
_TABLE = '.relative_position_bias_table'
_DERIVED = re.compile(r'\.(relative_position_index|attn_mask)$')
_FROM_WINDOW = "not learned: they follow from the window's size"
_OUT_NORM = re.compile(r'^norm\d\.')
_OF_HAT = re.compile(r'\.blocks\.\d+\.(hat_|gamma|pos_embed\.|attn\.pos_emb_funct\.)|\.global_tok')


def swin_entries(entries: Mapping[str, Tensor], hat_stages: Collection[int]) -> dict[str, Tensor]:
    """Entries of a Swin file under the names of a SwinHAT.

    Args:
        entries: of the authors' names (``layers.0.``) or of mmdet's (``stages.0.``).
        hat_stages: that are hierarchical attention.
    """
    if any(name.startswith('layers.') for name in entries):
        from mmdet.models.backbones.swin import swin_converter

        converted = swin_converter(entries).items()
        heads = {name: value for name, value in entries.items() if name.startswith('head.')}
        entries = {name.removeprefix('backbone.'): value for name, value in converted} | heads
    return {
        _name_in_hat(name) if stage_of(name) in hat_stages else name: value
        for name, value in entries.items()
    }


def stage_of(name: str) -> int | None:
    """The stage that an entry belongs to; None: to none."""
    match = _IN_STAGE.match(name)
    return None if match is None else int(match[1])


def _name_in_hat(name: str) -> str:
    for theirs, ours in _RENAMED.items():
        name = name.replace(theirs, ours)
    return name


def with_resized_tables(entries: dict[str, Tensor], own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """``entries`` with position tables of another window interpolated to that of ``own``.

    What else follows from the other window's size is left out.
    """
    found = dict(entries)
    for name, value in entries.items():
        wanted = own.get(name)
        if wanted is None or value.shape == wanted.shape:
            continue
        if _DERIVED.search(name):
            del found[name]
        elif name.endswith(_TABLE) and value.shape[1:] == wanted.shape[1:]:
            side = (int(wanted.shape[0] ** 0.5) + 1) // 2
            found[name] = resize_rel_pos_bias_table_simple(value, (side, side), wanted.shape)
    return found


def why_skipped(name: str) -> str | None:
    """Why an entry of Swin's is not for a SwinHAT that does not have it; None: it should be."""
    if _DERIVED.search(name):
        return _FROM_WINDOW
    if name.endswith(_TABLE):
        return 'position tables of replaced stages: hierarchical attention has MLPs for any window'
    if name.startswith(('norm.', 'head.')):
        return 'classifier'
    return 'norms of maps that are not emitted' if _OUT_NORM.match(name) else None


def why_fresh(name: str) -> str | None:
    """Why an entry of a SwinHAT need not be in Swin's file; None: it must be."""
    if _DERIVED.search(name):
        return _FROM_WINDOW
    if _OF_HAT.search(name):
        return 'what only hierarchical attention has: carrier tokens, position MLPs, layer scales'
    return 'norms of the emitted maps' if _OUT_NORM.match(name) else None


def load_swin(model: nn.Module, hat_stages: Collection[int], init_cfg: Mapping[str, Any]) -> None:
    """Load a Swin's weights into what a SwinHAT shares with it, and say what became of the rest.

    Args:
        model: a `SwinHAT`.
        hat_stages: of it.
        init_cfg: ``dict(type='Pretrained', checkpoint=PATH_OR_URL, prefix=None)``; ``prefix`` as
            `published.load_pretrained` takes it.

    Raises:
        ArgumentError: another ``init_cfg``, or entries that do not fit.
        FileError: the file does not exist, cannot be downloaded, or is no checkpoint.
    """
    if init_cfg.get('type') != 'Pretrained' or not init_cfg.get('checkpoint'):
        raise ArgumentError(
            f"init_cfg is {dict(init_cfg)}; allowed: None or dict(type='Pretrained', "
            'checkpoint=PATH_OR_URL)'
        )
    path = fetch(str(init_cfg['checkpoint']))
    try:
        entries = network_entries(load_file(path), init_cfg.get('prefix'))
    except FileError as error:
        raise FileError(f'{path}: {error}') from None
    entries = with_resized_tables(swin_entries(entries, hat_stages), model.state_dict())
    load_accounted(
        model,
        entries,
        path.name,
        why_skipped=why_skipped,
        why_fresh=why_fresh,
        misfit=lambda: 'this Swin: embed_dims, depths, num_heads and mlp_ratio must be its own',
    )
