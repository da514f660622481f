"""How an expected config is put together: blocks side by side, then changes by dotted path."""

from copy import deepcopy
from typing import Any


def joined(*blocks: dict[str, Any]) -> dict[str, Any]:
    """Blocks of different top-level names as one config."""
    names = [name for block in blocks for name in block]
    assert len(set(names)) == len(names), 'two blocks state the same'
    return {name: value for block in blocks for name, value in deepcopy(block).items()}


def changed(config: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """``config`` with each of ``changes`` put at its dotted path: 'model.neck.num_outs' -> 5."""
    config = deepcopy(config)
    for path, value in changes.items():
        *parents, last = path.split('.')
        place = config
        for name in parents:
            place = place[name]
        place[last] = deepcopy(value)
    return config


def leaves(value: Any, path: str = '') -> dict[str, Any]:
    """Dotted path -> value of everything in ``value`` that holds no dicts itself."""
    entries: list[tuple[Any, Any]] = []
    if isinstance(value, dict):
        entries = list(value.items())
    elif isinstance(value, (list, tuple)) and _holds_dicts(value):
        entries = list(enumerate(value))
    if not entries:
        return {path: value}
    found: dict[str, Any] = {}
    for name, below in entries:
        found |= leaves(below, f'{path}.{name}' if path else str(name))
    return found


def _holds_dicts(values: list | tuple) -> bool:
    return any(
        isinstance(v, dict) or (isinstance(v, (list, tuple)) and _holds_dicts(v)) for v in values
    )


def differences(got: dict[str, Any], wanted: dict[str, Any]) -> list[str]:
    """One line for each leaf that differs; True is not 1, and a tuple is no list."""
    one, other, missing = leaves(got), leaves(wanted), '(nothing)'
    return [
        f'{path}: {one.get(path, missing)!r}, expected {other.get(path, missing)!r}'
        for path in [*one, *(p for p in other if p not in one)]
        if _exactly(one.get(path, missing)) != _exactly(other.get(path, missing))
    ]


def _exactly(value: Any) -> Any:
    return (isinstance(value, bool), value)
