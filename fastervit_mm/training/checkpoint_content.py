"""What a checkpoint of a run holds: what is written, and what one that is resumed must have."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from mmengine.logging.history_buffer import HistoryBuffer
from torch import Tensor

from ..errors import FileError
from ..weights.published import check_finite
from .random_states import are_random_states

PLAIN = (type(None), bool, int, float, complex, str, bytes, Tensor, np.ndarray, np.generic)
_WAY_OUT = 'resume an earlier one, or start from its weights with --from'


def is_plain(value: Any) -> bool:
    """Whether safe loading gives it back: numbers, names, tensors, and containers of them."""
    if isinstance(value, dict):
        return all(is_plain(part) for part in (*value.keys(), *value.values()))
    if type(value) in (list, tuple):
        return all(is_plain(part) for part in value)
    return isinstance(value, PLAIN)


def plain_states(schedulers: Any) -> Any:
    """States of schedulers without what is no plain data, such as OneCycleLR's own method.

    A scheduler that takes up such a state keeps what it was built with.

    Args:
        schedulers: states of them, or lists of these by name.
    """
    if isinstance(schedulers, dict):
        return {name: plain_states(states) for name, states in schedulers.items()}
    return [{k: v for k, v in state.items() if is_plain(v)} for state in schedulers]


def check_state_of_training(checkpoint: Mapping[str, Any]) -> None:
    """A checkpoint that is resumed holds what mmengine takes up, each part of its kind.

    Args:
        checkpoint: that is resumed. One without any state of a training is not looked through:
            `check_same_run` says so.

    Raises:
        FileError: a part is missing or of another kind, or the optimizer's state is not finite.
    """
    meta = _part(checkpoint, 'meta', _is_dict)
    _part(meta, 'dataset_meta', _or_none(_is_dict), 'meta.dataset_meta', optional=True)
    if 'optimizer' not in checkpoint or 'iter' not in meta:
        return
    for name in ('epoch', 'iter'):
        _part(meta, name, is_count, f'meta.{name}')
    _part(meta, 'seed', _or_none(is_count), 'meta.seed', optional=True)
    for name, value in _part(checkpoint, 'state_dict', _is_dict).items():
        if not isinstance(value, Tensor):
            raise odd(f'state_dict[{name!r:.60}]', value)
    _check_messages(_part(checkpoint, 'message_hub', _is_dict))
    optimizer = _part(checkpoint, 'optimizer', _is_dict)
    # a run of several optimizers has their states by name
    several = 'param_groups' not in optimizer and all(map(_is_dict, optimizer.values()))
    for one in optimizer.values() if several and optimizer else [optimizer]:
        _check_optimizer(one)
    schedulers: Any = checkpoint.get('param_schedulers') or []
    for states in schedulers.values() if _is_dict(schedulers) else [schedulers]:
        _check_schedulers(states)
    gradients = _part(checkpoint, 'gradients', _is_dict, optional=True) or {}
    for name, value in gradients.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise odd(f'gradients[{name!r:.60}]', value)
    check_finite({f'the gradients of {name}': value for name, value in gradients.items()})
    states = checkpoint.get('random_states')
    if states is not None and not (_is_list(states) and all(map(are_random_states, states))):
        raise odd('random_states', states)


def _check_messages(hub: Mapping[str, Any]) -> None:
    """Of mmengine's message hub: the log, and what the run noted of itself."""
    for name in ('log_scalars', 'runtime_info', 'resumed_keys'):
        _part(hub, name, _is_dict, f'message_hub.{name}')
    for name, log in hub['log_scalars'].items():
        if isinstance(log, HistoryBuffer):
            held = [vars(log).get(key) for key in ('_log_history', '_count_history')]
            if not all(isinstance(part, np.ndarray) and part.ndim == 1 for part in held):
                raise odd(f'the log of {name!r:.60}', held[0])
    kinds: dict[str, Callable[[Any], bool]] = dict(
        best_score=is_number,
        best_ckpt=_or_none(lambda value: isinstance(value, str)),
        keep_ckpt_ids=lambda value: type(value) is list and all(map(is_count, value)),
    )
    for name, value in hub['runtime_info'].items():
        for start, right in kinds.items():
            if str(name).startswith(start) and not right(value):
                raise odd(f'message_hub.runtime_info.{name}', value)


def _check_optimizer(state: Mapping[str, Any]) -> None:
    """Of one optimizer: its groups, what it remembers of each parameter, and the scale of losses."""
    groups = _part(state, 'param_groups', _is_list, 'optimizer.param_groups')
    own = state.get('base_param_settings')
    for group in [*groups, *([] if own is None else [own])]:
        if not _is_dict(group):
            raise odd('a group of optimizer.param_groups', group)
        _part(group, 'lr', is_number, 'optimizer.param_groups: lr')
        if group is not own:  # mmengine's own beside them, which stand for no parameters
            _part(group, 'params', _is_list, "a group's params")
    remembered = _part(state, 'state', _is_dict, 'optimizer.state')
    for number, parts in remembered.items():
        if not _is_dict(parts):
            raise odd(f'optimizer.state[{number!r:.60}]', parts)
        check_finite(
            {f"the optimizer's state of parameter {number}, {k}": v for k, v in parts.items()}
        )
        for name, value in parts.items():
            # LBFGS remembers lists; one that holds itself must not be followed
            if not all(isinstance(v, PLAIN) for v in (value if _is_list(value) else [value])):
                raise odd(f'optimizer.state[{number!r:.60}].{name}', value)
    scaler = state.get('loss_scaler')
    if scaler is not None and not (_is_dict(scaler) and all(map(is_number, scaler.values()))):
        raise odd('optimizer.loss_scaler', scaler)


def _check_schedulers(states: Any) -> None:
    """Of a list of schedulers: what they have counted."""
    if not _is_list(states) or not all(map(_is_dict, states)):
        raise odd('param_schedulers', states)
    for state in states:
        for name in ('last_step', '_global_step'):
            _part(state, name, is_count, f'param_schedulers: {name}', optional=True)
        _part(state, '_last_value', _is_list, 'param_schedulers: _last_value', optional=True)


def _part(
    of: Mapping[str, Any],
    name: str,
    right: Callable[[Any], bool],
    called: str = '',
    *,
    optional: bool = False,
) -> Any:
    """A part of a checkpoint.

    Args:
        of: what it is a part of.
        name: its key.
        right: whether a value is of its kind.
        called: its name in an error. Default: ``name``.
        optional: it may be missing: None. Default False.

    Raises:
        FileError: it is missing, or of another kind.
    """
    if name not in of:
        if optional:
            return None
        raise FileError(f'the checkpoint to resume has no {called or name}; {_WAY_OUT}')
    if not right(of[name]):
        raise odd(called or name, of[name])
    return of[name]


def odd(name: str, value: Any) -> FileError:
    """The error of a part that is of another kind.

    Args:
        name: of the part.
        value: that came.
    """
    shown = f' {value!r:.40}' if isinstance(value, (str, int, float, tuple)) else ''
    shown = f' of shape {tuple(value.shape)}' if isinstance(value, Tensor) else shown
    return FileError(
        f'the checkpoint to resume has a {type(value).__name__}{shown} as {name}, which no training '
        f'writes; {_WAY_OUT}'
    )


def _is_dict(value: Any) -> bool:
    return isinstance(value, dict)


def _is_list(value: Any) -> bool:
    return isinstance(value, (list, tuple))


def is_count(value: Any) -> bool:
    """A whole number from 0 on, that a run can have come to."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**32


def is_number(value: Any) -> bool:
    """One real number."""
    if isinstance(value, Tensor):
        return value.numel() == 1 and not value.is_complex()
    return isinstance(value, (int, float, np.integer, np.floating))


def _or_none(right: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: value is None or right(value)
