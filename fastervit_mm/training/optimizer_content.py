"""The state of an optimizer in a checkpoint: whether the config's optimizer can take it up."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from mmengine.optim import OptimWrapper, OptimWrapperDict
from torch import Tensor

from ..errors import FileError
from .checkpoint_content import is_count, is_number, odd

# settings of groups that newer torch has and fills in by itself
FILLED = {'foreach', 'fused', 'capturable', 'differentiable', 'maximize', 'decoupled_weight_decay'}
RATES = {'lr', 'initial_lr', 'max_lr', 'min_lr'}
# what schedulers add to groups
SCHEDULED = RATES | {'initial_momentum', 'params', 'param_names'}
# what PyTorch's optimizers remember as one number; everything else has the shape of its parameter
SINGLE = {'step', 'mu_product', 'eta', 'mu'}
OTHER_SHAPES = (torch.optim.LBFGS, getattr(torch.optim, 'Adafactor', torch.optim.LBFGS))


def check_optimizer_fits(saved: dict[str, Any], wrapper: OptimWrapper | OptimWrapperDict) -> None:
    """The state of an optimizer must be one that the config's can go on from.

    Args:
        saved: of the checkpoint; settings that newer torch has are filled in.
        wrapper: of the config's optimizer, with as many groups of as many parameters.

    Raises:
        FileError: it lacks settings that this kind has, or holds what no training writes.
    """
    for state, one in _pairs(saved, wrapper):
        fresh = one.state_dict()
        beside = [part.get('base_param_settings') for part in (state, fresh)]
        groups, wanted = state['param_groups'], fresh['param_groups']
        if all(beside):  # mmengine's own settings, which stand for no parameters
            groups, wanted = [*groups, beside[0]], [*wanted, beside[1]]
        for number, (group, new) in enumerate(zip(groups, wanted, strict=True)):
            _check_group(group, new, f'optimizer.param_groups[{number}]')
        _check_remembered(state, one.optimizer)


def _pairs(saved: dict[str, Any], wrapper: Any) -> Iterator[tuple[dict[str, Any], OptimWrapper]]:
    """States beside the optimizers that they are of; a run may have several, by name."""
    if not isinstance(wrapper, OptimWrapperDict):
        yield saved, wrapper
        return
    for name, one in wrapper.items():
        if 'param_groups' not in (saved.get(name) or {}):
            raise FileError(f'the checkpoint to resume has no state of the optimizer {name}')
        yield saved[name], one


def _check_group(group: dict[str, Any], new: dict[str, Any], name: str) -> None:
    """Settings of a group must be of the kind of the config's.

    Args:
        group: of the checkpoint; gets what newer torch has.
        new: of the config's optimizer.
        name: of the group, for errors.
    """
    for key in FILLED & set(new):
        group.setdefault(key, new[key])
    lacking = sorted(set(new) - set(group) - SCHEDULED)
    if lacking:
        raise FileError(
            f"the checkpoint's optimizer is of another kind than the config's (it has no {lacking[0]}); "
            'resume with the config of that run, or start another from its weights with --from'
        )
    for key, value in group.items():
        if key in RATES:
            right = _is_size(value)
        elif key in FILLED:
            right = value is None or isinstance(value, bool)
        elif key == 'betas':
            right = _is_like(value, new.get(key)) and all(beta < 1 for beta in value)
        else:
            right = key in ('params', 'param_names') or _is_like(value, new.get(key))
        if not right:
            raise odd(f'{name}.{key}', value)


def _is_like(value: Any, new: Any) -> bool:
    """Whether a setting is of the kind of another one; None says nothing of its kind."""
    if isinstance(new, bool):
        return isinstance(value, bool)
    if is_number(new):
        return _is_size(value) or (is_number(value) and float(new) < 0)
    if isinstance(new, (list, tuple)):
        same = isinstance(value, (list, tuple)) and len(value) == len(new)
        return same and all(map(_is_like, value, new))
    return new is None or isinstance(value, type(new))


def _is_size(value: Any) -> bool:
    """A finite number from 0 on."""
    return is_number(value) and math.isfinite(value) and float(value) >= 0


def _check_remembered(state: dict[str, Any], optimizer: torch.optim.Optimizer) -> None:
    """What an optimizer remembers of each parameter, where it is one of PyTorch's own.

    Args:
        state: of the checkpoint.
        optimizer: of the config.
    """
    numbers = [number for group in state['param_groups'] for number in group['params']]
    if not all(map(is_count, numbers)) or len(set(numbers)) < len(numbers):
        raise odd("a group's params", numbers)
    parameters = [parameter for group in optimizer.param_groups for parameter in group['params']]
    shapes = {n: parameter.shape for n, parameter in zip(numbers, parameters, strict=True)}
    unknown = [n for n in state['state'] if isinstance(n, int) and n not in shapes]
    if unknown:
        raise odd(f'optimizer.state[{unknown[0]}]', state['state'][unknown[0]])
    own = type(optimizer).__module__.startswith('torch.optim')
    if not own or isinstance(optimizer, OTHER_SHAPES):
        return
    for group in state['param_groups']:
        parts = {n: state['state'][n] for n in group['params'] if state['state'].get(n)}
        names = {name for part in parts.values() for name in part}
        names |= {'max_exp_avg_sq'} if group.get('amsgrad') else set()
        for number, part in parts.items():
            for name in sorted(names):
                value = part.get(name)
                if not _is_remembered(name, value, shapes[number]):
                    raise odd(f'optimizer.state[{number}].{name}', value)


def _is_remembered(name: str, value: Any, shape: torch.Size) -> bool:
    """Whether PyTorch's optimizers remember such a value of a parameter."""
    if name in SINGLE:
        return _is_size(value)
    if name == 'momentum_buffer' and value is None:  # SGD's without momentum
        return True
    return isinstance(value, Tensor) and value.shape == shape
