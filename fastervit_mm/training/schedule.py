"""A schedule of another length: warm-up, milestones and validation follow (docs/recipes.md)."""

from __future__ import annotations

from typing import Any

from mmengine.config import Config
from mmengine.dist import get_world_size
from mmengine.registry import DATASETS, init_default_scope

from ..errors import ArgumentError

WARM_UP_SHARE = 0.1  # of the whole training, at most
VALIDATIONS = 10  # of a training counted in iterations
LEAST_INTERVAL = 10  # iterations between two of its validations
# what `fit_schedule` sets beside the length, and --cfg-options may set otherwise
FITTED = ('param_scheduler', 'train_cfg.val_', 'default_hooks.checkpoint')


def training_images(cfg: Config) -> int:
    """How many images an epoch of ``cfg`` goes through, before its data set filters any."""
    init_default_scope(cfg.default_scope)
    return len(DATASETS.build(cfg.train_dataloader.dataset))


def is_warm_up(scheduler: dict[str, Any]) -> bool:
    """Whether a parameter scheduler's config is a warm-up given in iterations."""
    return scheduler['type'] == 'LinearLR' and not scheduler.get('by_epoch', True)


def scaled_scheduler(
    scheduler: dict[str, Any],
    factor: float,
    warm_up_limit: int,
    per_epoch: int | None = None,
) -> dict:
    """A parameter scheduler's config for a training of another length.

    A warm-up (a LinearLR in iterations) keeps its length where it can. Everything else keeps its
    share of the training; where whole epochs are too coarse for that (two milestones in one, one
    at the end), it is given in iterations.

    Args:
        scheduler: its config, which stays as it is.
        factor: new length over old.
        warm_up_limit: iterations of a warm-up, at most.
        per_epoch: iterations of an epoch; None: what is in epochs stays so. Default None.
    """
    if is_warm_up(scheduler):
        return dict(scheduler, end=min(scheduler['end'], warm_up_limit))
    new, kept = _stretched(scheduler, factor)
    if kept or per_epoch is None or not scheduler.get('by_epoch', True):
        return new
    in_iterations = {k: v for k, v in scheduler.items() if k != 'convert_to_iter_based'}
    return _stretched(dict(in_iterations, by_epoch=False), factor * per_epoch)[0]


def _stretched(scheduler: dict[str, Any], factor: float) -> tuple[dict, bool]:
    """A scheduler's config stretched in its own unit, and whether rounding kept its shape."""
    new, kept = dict(scheduler), True
    for key in ('begin', 'end', 'T_max', 'step_size'):
        if scheduler.get(key):
            new[key] = max(1, round(scheduler[key] * factor))
    last = new['end'] - 1 if 'end' in new else None
    if last is not None and new.get('begin', 0) > last:
        new['begin'], kept = last, False
    if 'milestones' in scheduler:
        rounded = [max(1, round(m * factor)) for m in scheduler['milestones']]
        inside = {m if last is None else min(m, last) for m in rounded}
        new['milestones'] = sorted(inside - {0})
        kept = kept and new['milestones'] == rounded
    return new, kept


def fit_schedule(cfg: Config, images: int, epochs: int | None, iters: int | None) -> int:
    """Let ``cfg`` train for so many epochs or iterations; the number of iterations it will do.

    The warm-up takes a tenth of it at most, and what happens later happens at the same share of
    the training. A training counted in iterations validates and saves about ten times.

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
    schedulers = [_with_end(s, by_epoch, old) for s in cfg.get('param_scheduler') or []]
    # in epochs, and in iterations; what does not say for how long it was made keeps its length
    lengths = {True: total / per_epoch, False: total}
    made_for = {**lengths, by_epoch: old}
    factors = {
        unit: lengths[unit] / _made_for(schedulers, unit, made_for[unit]) for unit in lengths
    }
    cfg.param_scheduler = [
        scaled_scheduler(s, factors[bool(s.get('by_epoch', True))], limit, per_epoch)
        for s in schedulers
    ]
    _begin_decay_after_warm_up(cfg)
    _fit_intervals(cfg, new, by_epoch)
    return total


def _with_end(scheduler: dict[str, Any], by_epoch: bool, length: int) -> dict[str, Any]:
    """A scheduler that says where it ends: mmengine's default is the end of the training.

    Args:
        scheduler: its config, which stays as it is.
        by_epoch: the loop counts epochs.
        length: of the loop that the scheduler was made for.
    """
    if 'end' in scheduler or bool(scheduler.get('by_epoch', True)) != by_epoch:
        return scheduler
    # milestones after the end tell of a longer training
    return dict(scheduler, end=max([length, *(m + 1 for m in scheduler.get('milestones', ()))]))


def _made_for(schedulers: list[dict[str, Any]], by_epoch: bool, default: float) -> float:
    """Length of the training that the schedulers in one unit were made for, by where they end.

    Args:
        schedulers: of the config.
        by_epoch: the unit: epochs or iterations.
        default: where none of them says.
    """
    ends = [
        s['end']
        for s in schedulers
        if bool(s.get('by_epoch', True)) == by_epoch
        and s['type'] not in ('LinearLR', 'ConstantLR')  # warm-ups
        and s.get('end')
    ]
    return max(ends, default=default)


def _fit_intervals(cfg: Config, length: int, by_epoch: bool) -> None:
    """Validate once at least; a training in iterations about ten times, and save as often.

    Args:
        cfg: changed in place.
        length: of its loop, in the loop's unit.
        by_epoch: that unit is an epoch.
    """
    interval = cfg.train_cfg.get('val_interval', 1)
    if by_epoch:
        cfg.train_cfg.val_interval = max(1, min(interval, length))
        return
    often = max(-(-length // VALIDATIONS), min(LEAST_INTERVAL, length))
    cfg.train_cfg.val_interval = max(1, min(interval, often))
    checkpoint = cfg.default_hooks.get('checkpoint')
    if checkpoint is not None:
        checkpoint.interval = max(1, min(checkpoint.interval, often))


def _begin_decay_after_warm_up(cfg: Config) -> None:
    """A decay in iterations begins where the warm-up ends."""
    ends = [s['end'] for s in cfg.param_scheduler if is_warm_up(s)]
    for scheduler in cfg.param_scheduler:
        if ends and not scheduler.get('by_epoch', True) and scheduler.get('begin', 0) > 0:
            scheduler['begin'] = min(ends[0], scheduler['end'] - 1)
