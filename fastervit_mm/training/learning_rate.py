"""The learning rate for another batch than the config's, and what keeps a small training steady."""

from __future__ import annotations

import math
from collections.abc import Collection

from mmengine.config import Config
from mmengine.dist import get_world_size

from ..errors import ArgumentError

# how the rate follows the batch: a function of the real batch over the config's
RULES = {
    'sqrt': math.sqrt,  # arXiv 2205.10287, for Adam and its kin
    'linear': float,  # arXiv 1706.02677, for SGD
    'none': lambda share: 1.0,
}
# above the usual norm of our models' gradients: only outliers are cut
MAX_GRADIENT_NORM = 5.0


def images_per_step(cfg: Config) -> int:
    """Images behind one step of the optimiser: batch, times processes, times accumulation."""
    accumulated = cfg.optim_wrapper.get('accumulative_counts', 1)
    return cfg.train_dataloader.batch_size * get_world_size() * accumulated


def default_rule(cfg: Config) -> str:
    """'sqrt' for Adam and its kin (AdamW, NAdam ...), 'linear' for other optimisers."""
    return 'sqrt' if 'adam' in str(cfg.optim_wrapper.optimizer.type).lower() else 'linear'


def rule_for(
    cfg: Config, asked: str | None, data_given: bool, by_hand: Collection[str] = ()
) -> str | None:
    """How the learning rate of ``cfg`` shall follow its batch; None: it stays as it is.

    Args:
        cfg: stays as it is.
        asked: what ``--auto-scale-lr`` says; None: it is not there.
        data_given: ``--data`` is there.
        by_hand: names of the settings that ``--cfg-options`` gives. Default none.
    """
    stated = cfg.get('auto_scale_lr') or {}
    optimiser = cfg.optim_wrapper.get('optimizer') or {}
    if asked is not None:
        return asked
    if stated.get('enable'):
        return 'linear'  # as mmengine's own scaling
    if data_given and 'base_batch_size' in stated and 'lr' in optimiser:
        return 'none' if 'optim_wrapper.optimizer.lr' in by_hand else default_rule(cfg)
    return None


def scale_learning_rate(cfg: Config, rule: str) -> str:
    """Let the learning rate of ``cfg`` follow its batch; a line that says so.

    The config then states the rate beside the batch that it is used with, so that scaling it
    again changes nothing. See docs/recipes.md.

    Args:
        cfg: changed in place.
        rule: a name of `RULES`.

    Raises:
        ArgumentError: the config states no base batch, or no optimiser with a learning rate.
    """
    stated = cfg.get('auto_scale_lr') or {}
    if 'base_batch_size' not in stated:
        raise ArgumentError('--auto-scale-lr needs auto_scale_lr.base_batch_size in the config')
    optimiser = cfg.optim_wrapper.get('optimizer') or {}
    if 'lr' not in optimiser:
        raise ArgumentError('--auto-scale-lr needs optim_wrapper.optimizer.lr in the config')
    base, batch = stated['base_batch_size'], images_per_step(cfg)
    rate, factor = optimiser['lr'], RULES[rule](batch / base)
    optimiser['lr'] = rate * factor
    # mmengine shall not scale it once more
    cfg.auto_scale_lr = dict(enable=False, base_batch_size=batch)
    if factor == 1:
        return f'learning rate {rate:.3g} (batches of {batch}, the config is for {base})'
    how = {'sqrt': f'the square root of {batch}/{base}', 'linear': f'{batch}/{base}'}[rule]
    return (
        f'learning rate {optimiser["lr"]:.3g}: {rate:.3g} of the config, for batches of {base}, '
        f'times {how}, for batches of {batch}'
    )


def clip_gradients(cfg: Config) -> list[str]:
    """Clip gradients where ``cfg`` says nothing about it; lines that say so.

    Wrappers that clip by themselves, and those of several optimisers, stay as they are.
    """
    wrapper = cfg.optim_wrapper
    plain = str(wrapper.get('type', 'OptimWrapper')) in ('OptimWrapper', 'AmpOptimWrapper')
    if 'clip_grad' in wrapper or not plain or 'optimizer' not in wrapper:
        return []
    cfg.optim_wrapper.clip_grad = dict(max_norm=MAX_GRADIENT_NORM)
    return [f'gradients are clipped at a norm of {MAX_GRADIENT_NORM:g}']
