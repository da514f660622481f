"""The published networks, and what a network's description means: one table, no factories.

Sources: FasterViT paper (arXiv 2306.06189), tables S.1 and 1; the published checkpoints.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from numbers import Integral, Real
from typing import Any

from .errors import ArgumentError

WEIGHTS_URL = 'https://huggingface.co/ahatamiz/FasterViT/resolve/main/'
NUM_STAGES = 4
STAGE_TYPES = ('conv', 'window', 'hat')


@dataclass(frozen=True)
class Variant:
    """One network, as the keyword arguments of the published constructor describe it.

    Args:
        dim: channels of stage 0; stage i has ``dim * 2**i``.
        in_dim: channels between the two convolutions of the stem.
        depths: blocks per stage.
        num_heads: attention heads per stage (only window stages have attention).
        window_size: side of a window per stage, in tokens.
        ct_size: side of a window's square of carrier tokens, in tokens; one value, or one per stage.
        mlp_ratio: hidden width of an MLP over its channels.
        hat: per stage, whether its windows exchange carrier tokens.
        layer_scale: initial value of the per-channel scales gamma; None builds none.
        do_propagation: add the carrier tokens to the map after the last block of a HAT stage.
        drop_path_rate: drop path of the last block; it rises linearly from 0.
        weights: file name of the published ImageNet weights; empty where there are none.
        conv: per stage, whether it is convolutional; the others are window transformers.
    """

    dim: int
    in_dim: int
    depths: tuple[int, ...]
    num_heads: tuple[int, ...]
    window_size: tuple[int, ...] = (7, 7, 7, 7)
    ct_size: int | tuple[int, ...] = 2
    mlp_ratio: float = 4
    hat: tuple[bool, ...] = (False, False, True, False)
    layer_scale: float | None = None
    do_propagation: bool = False
    drop_path_rate: float = 0.0
    weights: str = ''
    conv: tuple[bool, ...] = (True, True, False, False)

    @property
    def channels(self) -> tuple[int, ...]:
        """Channels of the four stages."""
        return tuple(self.dim * 2**i for i in range(NUM_STAGES))

    @property
    def stage_types(self) -> tuple[str, ...]:
        """Of the four stages, each one of `STAGE_TYPES`."""
        kinds = zip(self.conv, self.hat, strict=True)
        return tuple('conv' if conv else 'hat' if hat else 'window' for conv, hat in kinds)

    @property
    def carriers(self) -> tuple[int | None, ...]:
        """Per stage, the side of a window's square of carrier tokens; None: it has none."""
        sides = per_stage('ct_size', self.ct_size)
        return tuple(side if hat else None for side, hat in zip(sides, self.hat, strict=True))


_SCALED: dict[str, Any] = dict(layer_scale=1e-5, do_propagation=True)
_21K = Variant(
    196,
    64,
    (3, 3, 12, 5),
    (4, 8, 16, 32),
    window_size=(7, 7, 14, 7),
    hat=(False,) * 4,
    drop_path_rate=0.42,
    **_SCALED,
)

VARIANTS: dict[str, Variant] = {
    'fastervit_0': Variant(
        64,
        64,
        (2, 3, 6, 5),
        (2, 4, 8, 16),
        drop_path_rate=0.2,
        weights='fastervit_0_224_1k.pth.tar',
    ),
    'fastervit_1': Variant(
        80,
        32,
        (1, 3, 8, 5),
        (2, 4, 8, 16),
        drop_path_rate=0.2,
        weights='fastervit_1_224_1k.pth.tar',
    ),
    'fastervit_2': Variant(
        96,
        64,
        (3, 3, 8, 5),
        (2, 4, 8, 16),
        drop_path_rate=0.2,
        weights='fastervit_2_224_1k.pth.tar',
    ),
    'fastervit_3': Variant(
        128,
        64,
        (3, 3, 12, 5),
        (2, 4, 8, 16),
        drop_path_rate=0.3,
        **_SCALED,
        weights='fastervit_3_224_1k.pth.tar',
    ),
    'fastervit_4': Variant(
        196,
        64,
        (3, 3, 12, 5),
        (4, 8, 16, 32),
        drop_path_rate=0.3,
        **_SCALED,
        weights='fastervit_4_224_1k.pth.tar',
    ),
    'fastervit_5': Variant(
        320,
        64,
        (3, 3, 12, 5),
        (4, 8, 16, 32),
        drop_path_rate=0.3,
        **_SCALED,
        weights='fastervit_5_224_1k.pth.tar',
    ),
    'fastervit_6': Variant(
        320,
        64,
        (3, 3, 16, 8),
        (4, 8, 16, 32),
        drop_path_rate=0.5,
        **_SCALED,
        weights='fastervit_6_224_1k.pth.tar',
    ),
    'fastervit_4_21k_224': replace(_21K, weights='fastervit_4_21k_224_w14.pth.tar'),
    'fastervit_4_21k_384': replace(
        _21K, weights='fastervit_4_21k_384_w24.pth.tar', window_size=(7, 7, 24, 12)
    ),
    'fastervit_4_21k_512': replace(
        _21K, weights='fastervit_4_21k_512_w32.pth.tar', window_size=(7, 7, 32, 16)
    ),
    'fastervit_4_21k_768': replace(
        _21K, weights='fastervit_4_21k_768_w48.pth.tar', window_size=(7, 7, 48, 24)
    ),
}
"""Every published network by name."""

_PER_STAGE = ('depths', 'num_heads', 'window_size', 'hat')
# what a dict may say: weights describes the published file, conv is the constructor's stage_types
_KEYS = [f.name for f in fields(Variant) if f.name not in ('weights', 'conv')]


def per_stage(name: str, value: Any) -> tuple[Any, ...]:
    """``value`` once for each of the four stages.

    Args:
        name: of the argument, for the message.
        value: one value, or four.

    Raises:
        ArgumentError: neither a number nor a sequence of four.
    """
    if isinstance(value, Real):
        return (value,) * NUM_STAGES
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise ArgumentError(f'{name} is {value!r}; give one value or {NUM_STAGES}, one per stage')
    if len(value) != NUM_STAGES:
        raise ArgumentError(
            f'{name} has {len(value)} values {tuple(value)}; give one value or '
            f'{NUM_STAGES}, one per stage'
        )
    return tuple(value)


def _one_or_four(name: str, value: Any) -> Any:
    """One value as it is, several as `per_stage` has them."""
    several = isinstance(value, Sequence) and not isinstance(value, str)
    return per_stage(name, value) if several else value


def _did_you_mean(word: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(str(word), known, n=3, cutoff=0.5)
    return f'did you mean {" or ".join(map(repr, close))}? ' if close else ''


def _from_dict(arch: Mapping[str, Any]) -> Variant:
    unknown = [key for key in arch if key not in _KEYS]
    if unknown:
        raise ArgumentError(
            f'arch has the unknown word {unknown[0]!r}; '
            f'{_did_you_mean(unknown[0], _KEYS)}allowed: {", ".join(_KEYS)}'
        )
    missing = [key for key in ('dim', 'in_dim', 'depths', 'num_heads') if key not in arch]
    if missing:
        raise ArgumentError(
            f'arch lacks {", ".join(missing)}; a dict needs dim, in_dim, depths and '
            'num_heads (the other words have defaults)'
        )
    values = dict(arch)
    for key in _PER_STAGE:
        if key in values:
            values[key] = per_stage(f'arch[{key!r}]', values[key])
    if 'ct_size' in values:
        values['ct_size'] = _one_or_four("arch['ct_size']", values['ct_size'])
    return Variant(**values)


def is_whole(value: Any) -> bool:
    """Whether ``value`` counts something: True and 7.0 do not."""
    return not isinstance(value, bool) and isinstance(value, Integral)


def _check_kinds(variant: Variant) -> None:
    """Raise an ArgumentError for a value that is no number, or not a whole one where one counts."""
    for name in ('dim', 'in_dim', 'depths', 'num_heads', 'window_size', 'ct_size'):
        value = getattr(variant, name)
        if not all(map(is_whole, value if isinstance(value, tuple) else (value,))):
            raise ArgumentError(f'{name} is {value!r}; it takes whole numbers')
    for name in ('mlp_ratio', 'drop_path_rate', 'layer_scale'):
        value = getattr(variant, name)
        if value is None and name == 'layer_scale':
            continue
        if isinstance(value, bool) or not isinstance(value, Real) or not math.isfinite(value):
            raise ArgumentError(f'{name} is {value!r}; it takes a finite number')


def _check(variant: Variant) -> None:
    """Raise an ArgumentError for a description that no network can have."""
    _check_kinds(variant)
    if min(variant.dim, variant.in_dim) < 1 or variant.mlp_ratio <= 0:
        raise ArgumentError(
            f'dim, in_dim and mlp_ratio are {variant.dim}, {variant.in_dim} and '
            f'{variant.mlp_ratio}; all must be positive'
        )
    for i in (i for i in range(NUM_STAGES) if not variant.conv[i]):
        channels, heads = variant.channels[i], variant.num_heads[i]
        if channels * variant.mlp_ratio < 1:
            raise ArgumentError(
                f'mlp_ratio is {variant.mlp_ratio}; stage {i} has {channels} channels, so it '
                f'must be at least 1 / {channels}'
            )
        if heads < 1 or channels % heads:
            raise ArgumentError(
                f'num_heads[{i}] is {heads}; it must divide the {channels} channels of stage {i}'
            )
    if any(hat and conv for hat, conv in zip(variant.hat, variant.conv, strict=True)):
        raise ArgumentError(
            f'hat is {variant.hat}; stages 0 and 1 are convolutional and have no '
            'carrier tokens, so its first two values must be False'
        )
    if min(variant.window_size) < 1:
        raise ArgumentError(f'window_size is {variant.window_size}; each must be at least 1 token')
    for i, side in enumerate(variant.carriers):
        if side is not None and not 1 <= side <= variant.window_size[i]:
            raise ArgumentError(
                f'ct_size is {variant.ct_size}; it must lie between 1 and the '
                f'window_size of stage {i}, which is {variant.window_size[i]}'
            )
    if min(variant.depths) < 1:
        raise ArgumentError(f'depths is {variant.depths}; every stage needs at least 1 block')
    if not 0 <= variant.drop_path_rate < 1:
        raise ArgumentError(
            f'drop_path_rate is {variant.drop_path_rate}; it must be at least 0 and below 1'
        )


def _stage_kinds(stage_types: Sequence[str]) -> dict[str, tuple[bool, ...]]:
    """What `Variant` says of stages of these types.

    Raises:
        ArgumentError: not four of `STAGE_TYPES`.
    """
    several = isinstance(stage_types, Sequence) and not isinstance(stage_types, str)
    types = tuple(stage_types) if several else ()
    allowed = ', '.join(map(repr, STAGE_TYPES))
    for value in types:
        if value not in STAGE_TYPES:
            raise ArgumentError(f'stage_types has {value!r}; allowed: {allowed}')
    if len(types) != NUM_STAGES:
        raise ArgumentError(
            f'stage_types is {stage_types!r}; give {NUM_STAGES} values, one per stage, out of {allowed}'
        )
    return dict(conv=tuple(t == 'conv' for t in types), hat=tuple(t == 'hat' for t in types))


def resolve_variant(
    arch: str | Mapping[str, Any],
    *,
    window_size: int | Sequence[int] | None = None,
    ct_size: int | Sequence[int] | None = None,
    drop_path_rate: float | None = None,
    stage_types: Sequence[str] | None = None,
) -> Variant:
    """The network that ``arch`` names or describes, with what the caller overrides.

    Args:
        arch: a name of ``VARIANTS``, or a dict of the published constructor's keyword arguments.
        window_size: tokens, one value or one per stage; None: the variant's own.
        ct_size: tokens, one value or one per stage; None: the variant's own.
        drop_path_rate: None: the variant's own.
        stage_types: four of `STAGE_TYPES`; None: the variant's own.

    Raises:
        ArgumentError: an unknown name or keyword, or values that do not fit each other.
    """
    if isinstance(arch, Mapping):
        variant = _from_dict(arch)
    elif isinstance(arch, str) and arch in VARIANTS:
        variant = VARIANTS[arch]
    else:
        raise ArgumentError(
            f'arch is {arch!r}; {_did_you_mean(arch, list(VARIANTS))}'
            f'allowed: {", ".join(VARIANTS)}, or a dict'
        )
    changes: dict[str, Any] = {}
    if window_size is not None:
        changes['window_size'] = per_stage('window_size', window_size)
    if ct_size is not None:
        changes['ct_size'] = _one_or_four('ct_size', ct_size)
    if drop_path_rate is not None:
        changes['drop_path_rate'] = drop_path_rate
    if stage_types is not None:
        changes |= _stage_kinds(stage_types)
    variant = replace(variant, **changes)
    _check(variant)
    return variant
