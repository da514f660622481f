"""A schedule of another length: warm-up, milestones and validation follow."""

from __future__ import annotations

from typing import Any

from mmengine.config import Config
from mmengine.dist import get_world_size
from mmengine.registry import DATASETS, init_default_scope

from ..errors import ArgumentError

WARM_UP_SHARE = 0.1  # of the whole training, at most


def training_images(cfg: Config) -> int:
    """How many images an epoch of ``cfg`` goes through, before its data set filters any."""
    init_default_scope(cfg.default_scope)
    return len(DATASETS.build(cfg.train_dataloader.dataset))


def scaled_scheduler(scheduler: dict[str, Any], factor: float, warm_up_limit: int) -> dict:
    """A parameter scheduler's config for a training of another length.

    A warm-up (a LinearLR that ends) is given in iterations and keeps its length where it can.

    Args:
        scheduler: its config, which stays as it is.
        factor: new length over old.
        warm_up_limit: iterations of a warm-up, at most.
    """
    new = dict(scheduler)
    if scheduler['type'] == 'LinearLR' and not scheduler.get('by_epoch', True):
        new['end'] = min(scheduler['end'], warm_up_limit)
        return new
    for key in ('begin', 'end', 'T_max'):
        if scheduler.get(key):
            new[key] = max(1, round(scheduler[key] * factor))
    if 'milestones' in scheduler:
        new['milestones'] = sorted({max(1, round(m * factor)) for m in scheduler['milestones']})
    return new


def fit_schedule(cfg: Config, images: int, epochs: int | None, iters: int | None) -> int:
    """Let ``cfg`` train for so many epochs or iterations; the number of iterations it will do.

    Args:
        cfg: changed in place.
        images: training images, from which an epoch's iterations follow: a batch for each process.
        epochs: wanted; None: see ``iters``.
        iters: wanted, where ``epochs`` is None; both None keep the config's length.

    Raises:
        ArgumentError: both, or not positive.
    """
    if epochs is not None and iters is not None:
        raise ArgumentError('--epochs and --iters are two words for one thing; give one')
    for name, value in (('--epochs', epochs), ('--iters', iters)):
        if value is not None and value < 1:
            raise ArgumentError(f'{name} is {value}; it must be at least 1')
    batch = cfg.train_dataloader.batch_size * get_world_size()
    per_epoch = max(1, -(-images // batch))
    by_epoch = 'max_epochs' in cfg.train_cfg
    key = 'max_epochs' if by_epoch else 'max_iters'
    old = cfg.train_cfg[key]
    new = old
    if epochs is not None:
        new = epochs if by_epoch else epochs * per_epoch
    elif iters is not None:
        new = -(-iters // per_epoch) if by_epoch else iters
    total = new * per_epoch if by_epoch else new
    # a LinearLR that ends at 1 never leaves its first factor
    limit = max(2, round(WARM_UP_SHARE * total))
    cfg.train_cfg[key] = new
    cfg.param_scheduler = [
        scaled_scheduler(s, new / old, limit) for s in cfg.get('param_scheduler') or []
    ]
    _begin_decay_after_warm_up(cfg)
    interval = cfg.train_cfg.get('val_interval', 1)
    cfg.train_cfg.val_interval = max(1, min(interval, new))
    checkpoint = cfg.default_hooks.get('checkpoint')
    if checkpoint is not None and not by_epoch:
        checkpoint.interval = max(1, min(checkpoint.interval, new))
    return total


def _begin_decay_after_warm_up(cfg: Config) -> None:
    """A decay in iterations begins where the warm-up ends."""
    ends = [
        s['end']
        for s in cfg.param_scheduler
        if s['type'] == 'LinearLR' and not s.get('by_epoch', True)
    ]
    for scheduler in cfg.param_scheduler:
        if ends and not scheduler.get('by_epoch', True) and scheduler.get('begin', 0) > 0:
            scheduler['begin'] = min(ends[0], scheduler['end'] - 1)
