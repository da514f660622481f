"""What kinds of values the settings of a config have, wherever they come from."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mmengine.config import Config

from ..errors import ArgumentError

TEMPLATE = '{{'  # of mmengine's configs: {{$HOME:x}} becomes the variable's value

# setting -> what it may be; a config need not have it
KINDS: dict[str, tuple[tuple[type, ...], str]] = {
    **dict.fromkeys(
        ('model', 'default_hooks', 'env_cfg', 'randomness'),
        ((dict,), 'a dict'),
    ),
    **dict.fromkeys(
        (
            'train_dataloader',
            'val_dataloader',
            'test_dataloader',
            'train_cfg',
            'val_cfg',
            'test_cfg',
            'optim_wrapper',
            'visualizer',
        ),
        ((dict, type(None)), 'a dict or None'),
    ),
    **dict.fromkeys(
        ('val_evaluator', 'test_evaluator', 'param_scheduler'),
        ((dict, list, tuple, type(None)), 'a dict, a list of dicts or None'),
    ),
    'custom_hooks': ((list, tuple, type(None)), 'a list of dicts or None'),
    'work_dir': ((str,), 'a path'),
    'load_from': ((str, type(None)), 'a path, a URL or None'),
    'resume': ((bool,), 'True or False'),
}
LOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader')
LEVELS = ('DEBUG', 'INFO', 'WARNING', 'WARN', 'ERROR', 'CRITICAL', 'FATAL', 'NOTSET')  # Python's
# setting of a loader, of training, of its steps or of random numbers -> least number
LEAST = {
    **dict.fromkeys(('batch_size', 'val_interval', 'accumulative_counts'), 1),
    **dict.fromkeys(('num_workers', 'max_epochs', 'max_iters', 'seed'), 0),
}


def check_settings(cfg: Config) -> None:
    """The settings that our tools read must be of their kind.

    Raises:
        ArgumentError: one is not.
    """
    for name, (kinds, text) in KINDS.items():
        if name in cfg and not isinstance(cfg[name], kinds):
            raise ArgumentError(f'{name} of the config is {cfg[name]!r:.80}; it must be {text}')
    backbone = (cfg.get('model') or {}).get('backbone', {})
    if not isinstance(backbone, dict):
        raise ArgumentError(f'model.backbone is {backbone!r:.80}; it must be a dict')
    for name in LOADERS:
        loader = cfg.get(name)
        if loader is not None and not isinstance(loader.get('dataset'), dict):
            raise ArgumentError(
                f'{name}.dataset is {loader.get("dataset")!r:.80}; it must be a dict'
            )
    level = cfg.get('log_level', 'INFO')
    if level not in LEVELS and not isinstance(level, int):
        raise ArgumentError(f'log_level is {level!r:.80}; allowed: {", ".join(LEVELS)}')
    optimizer = (cfg.get('optim_wrapper') or {}).get('optimizer') or {}
    if not isinstance(optimizer, dict):
        raise ArgumentError(f'optim_wrapper.optimizer is {optimizer!r:.80}; it must be a dict')
    rate = optimizer.get('lr', 0.0)
    if not isinstance(rate, (int, float)) or rate < 0:
        raise ArgumentError(
            f'optim_wrapper.optimizer.lr is {rate!r:.80}; it must be a number from 0 on'
        )
    for name in (*LOADERS, 'train_cfg', 'optim_wrapper', 'randomness'):
        for key, least in LEAST.items():
            _check_number(f'{name}.{key}', (cfg.get(name) or {}).get(key), least)
    checkpoint = (cfg.get('default_hooks') or {}).get('checkpoint') or {}
    if isinstance(checkpoint, dict):
        _check_number('default_hooks.checkpoint.interval', checkpoint.get('interval'), -1)


def check_there(cfg: Config, names: tuple[str, ...]) -> None:
    """A tool cannot do without the settings ``names``.

    Raises:
        ArgumentError: one is missing or None, or a setting is of another kind.
    """
    check_settings(cfg)
    missing = [name for name in names if cfg.get(name) is None]
    if missing:
        raise ArgumentError(f'the config has no {", ".join(missing)}; use one that has')


def _check_number(name: str, value: Any, least: int) -> None:
    """A whole number of at least ``least``; None where the config has none."""
    if value is None or (isinstance(value, int) and value >= least):
        return
    raise ArgumentError(f'{name} is {value!r:.80}; it must be a whole number of at least {least}')


def check_no_templates(cfg: Config) -> None:
    """A config that is written must read as it was: no name or value may be replaced then.

    mmengine replaces what stands in double braces wherever it is in the text, so that the name of a
    folder could be an expression.

    Raises:
        ArgumentError: a setting holds double braces.
    """
    for place, text in _texts(cfg.to_dict()):
        if TEMPLATE in text:
            raise ArgumentError(
                f'{place or "the config"} holds {text!r:.160}; {TEMPLATE} is replaced in '
                'config files: rename the file, folder or setting'
            )


def _texts(node: Any, place: str = '') -> Iterator[tuple[str, str]]:
    """Every text in a setting, keys too, and where it is."""
    if isinstance(node, str):
        yield place, node
    elif isinstance(node, dict):
        for key, value in node.items():
            yield place, str(key)
            yield from _texts(value, f'{place}.{key}'.lstrip('.'))
    elif isinstance(node, (list, tuple, set)):
        for value in node:
            yield from _texts(value, place)
