"""A schedule of another length: warm-up, milestones and validation follow (docs/recipes.md)."""

from __future__ import annotations

import copy
import math
from collections.abc import Collection
from typing import Any

from mmengine.config import Config
from mmengine.dist import get_world_size
from mmengine.registry import DATASETS, init_default_scope

from ..config.data_sets import nested_dicts
from ..errors import ArgumentError

WARM_UP_SHARE = 0.1  # of the whole training, at most
VALIDATIONS = 10  # of a training counted in iterations
LEAST_INTERVAL = 10  # iterations between two of its validations
NO_END = 10**9  # mmengine's own "never"
STRETCHED = ('begin', 'end', 'T_max', 'step_size', 'total_steps')

Scheduler = dict[str, Any]


def training_images(cfg: Config) -> int:
    """How many images an epoch of ``cfg`` goes through; all of them, where its filters leave none."""
    init_default_scope(cfg.default_scope)
    try:
        return len(DATASETS.build(cfg.train_dataloader.dataset))
    except ValueError:
        # mmengine cannot lay out an empty list; the runner, which needs images, says so
        dataset = copy.deepcopy(cfg.train_dataloader.dataset)
        for node in nested_dicts(dataset):
            node.pop('filter_cfg', None)
        return len(DATASETS.build(dataset))


def counts_epochs(scheduler: Scheduler) -> bool:
    """Whether a parameter scheduler's config is in epochs; else it is in iterations."""
    return bool(scheduler.get('by_epoch', True))


def end_of(scheduler: Scheduler) -> int | None:
    """Where a parameter scheduler's config ends, in its unit; None: it does not say."""
    end = scheduler.get('end')
    return None if end is None or end >= NO_END else end


def is_warm_up(scheduler: Scheduler) -> bool:
    """Whether a parameter scheduler's config is a warm-up: from the start, upwards, for a while."""
    if scheduler.get('begin', 0) or end_of(scheduler) is None:
        return False
    kind = scheduler['type'].rpartition('.')[2]
    rises = scheduler.get('start_factor', 1 / 3) < scheduler.get('end_factor', 1.0)
    return 'warmup' in kind.lower() or kind[:8] == 'Constant' or (kind[:6] == 'Linear' and rises)


def scaled_scheduler(
    scheduler: Scheduler,
    factor: float,
    warm_up_limit: int,
    per_epoch: int | None = None,
    begin: float | None = None,
) -> Scheduler:
    """A parameter scheduler's config for a training of another length.

    A warm-up in iterations keeps its length where it can. Everything else keeps its share of the
    training; where whole epochs are too coarse for that (two milestones in one, one at the end, a
    warm-up that would be too long), it is given in iterations.

    Args:
        scheduler: its config, which stays as it is.
        factor: new length over old.
        warm_up_limit: iterations of a warm-up, at most.
        per_epoch: iterations of an epoch; None: what is in epochs stays so. Default None.
        begin: where it shall begin, in its unit: the end of a warm-up. Default: at the same share.
    """
    if is_warm_up(scheduler):
        return _scaled_warm_up(scheduler, factor, warm_up_limit, per_epoch)
    wanted = {k: scheduler[k] * factor for k in STRETCHED if scheduler.get(k) and k != 'end'}
    if end_of(scheduler) is not None:
        wanted['end'] = scheduler['end'] * factor
    if begin is not None:
        wanted['begin'] = begin
        if scheduler.get('T_max') and end_of(scheduler) == scheduler['begin'] + scheduler['T_max']:
            wanted['T_max'] = wanted['end'] - begin
    new, kept = _rounded(scheduler, wanted, factor)
    per_step = 'gamma' in scheduler and 'milestones' not in scheduler  # a decay at every step
    if kept or per_step or per_epoch is None or not counts_epochs(scheduler):
        return new
    in_iterations = _in_iterations(scheduler)
    return _rounded(
        in_iterations, {k: v * per_epoch for k, v in wanted.items()}, factor * per_epoch
    )[0]


def _in_iterations(scheduler: Scheduler) -> Scheduler:
    kept = {k: v for k, v in scheduler.items() if k != 'convert_to_iter_based'}
    return dict(kept, by_epoch=False)


def _scaled_warm_up(
    scheduler: Scheduler, factor: float, limit: int, per_epoch: int | None
) -> Scheduler:
    """A warm-up: in iterations as it is where it can be, in epochs at its share of the training."""
    if not counts_epochs(scheduler):
        return dict(scheduler, end=min(scheduler['end'], limit))
    end = scheduler['end'] * factor
    whole = round(end)
    if per_epoch is None or (1 <= whole and whole * per_epoch <= limit):
        return dict(scheduler, end=max(1, whole))
    return dict(_in_iterations(scheduler), end=max(2, min(round(end * per_epoch), limit)))


def _rounded(
    scheduler: Scheduler, wanted: dict[str, float], factor: float
) -> tuple[Scheduler, bool]:
    """A scheduler's config with whole numbers, and whether rounding kept its shape.

    Args:
        scheduler: its config, in the unit of ``wanted``.
        wanted: setting -> value.
        factor: of its milestones.
    """
    new: Scheduler = {**scheduler, **{k: max(1, round(v)) for k, v in wanted.items()}}
    kept = True
    if wanted.get('begin', 1) < 0.5:
        new['begin'] = 0
    last = new['end'] - 1 if end_of(new) is not None else None
    if last is not None and new.get('begin', 0) > last:
        new['begin'], kept = last, False
    if 'begin' in wanted and abs(new['begin'] - wanted['begin']) > 0.5:
        kept = False
    if 'milestones' in scheduler:
        rounded = [max(1, round(m * factor)) for m in scheduler['milestones']]
        inside = {m if last is None else min(m, last) for m in rounded}
        new['milestones'] = sorted(inside - {0})
        kept = kept and new['milestones'] == rounded
    return new, kept


def fit_schedule(
    cfg: Config,
    images: int,
    epochs: int | None,
    iters: int | None,
    by_hand: Collection[str] = (),
) -> int:
    """Let ``cfg`` train for so many epochs or iterations; the number of iterations it will do.

    The warm-up takes a tenth of it at most, and what happens later happens at the same share of
    the training, unless its length was given by hand. A training counted in iterations validates
    and saves about ten times.

    Args:
        cfg: changed in place.
        images: training images, from which an epoch's iterations follow: a batch for each process.
        epochs: wanted; None: see ``iters``.
        iters: wanted, where ``epochs`` is None; both None keep the config's length.
        by_hand: names of settings that stay as they are, such as 'param_scheduler.0.end', whose
            whole scheduler stays, 'train_cfg.val_interval', or 'train_cfg.max_epochs', with which
            all but the warm-up stays. Default none.

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
    cfg.train_cfg[key] = new
    schedulers = cfg.get('param_scheduler') or []
    if isinstance(schedulers, dict) and 'type' in schedulers:
        schedulers = [schedulers]
    if isinstance(schedulers, list):  # else those of several optimisers, by name: left alone
        given = f'train_cfg.{key}' in by_hand and new == old
        made_for = None if given else old
        cfg.param_scheduler = _fitted(schedulers, made_for, by_epoch, total, per_epoch, by_hand)
    _fit_intervals(cfg, new, by_epoch, by_hand)
    return total


def _fitted(
    schedulers: list[Scheduler],
    old: int | None,
    by_epoch: bool,
    total: int,
    per_epoch: int,
    by_hand: Collection[str],
) -> list[Scheduler]:
    """All schedulers of a config for a training of ``total`` iterations.

    Args:
        schedulers: of the config; they stay as they are.
        old: length that its loop states, in the loop's unit; None: only warm-ups are fitted.
        by_epoch: that unit is an epoch.
        total: iterations of the new training.
        per_epoch: iterations of an epoch.
        by_hand: as in `fit_schedule`.
    """
    # a LinearLR that ends at 1 never leaves its first factor
    limit = max(2, round(WARM_UP_SHARE * total))
    lengths = {True: total / per_epoch, False: total}
    full, factors = schedulers, {True: 1.0, False: 1.0}
    if old is not None:
        full = [_with_end(s, by_epoch, old) for s in schedulers]
        # what does not say for how long it was made is not scaled
        stated = {**lengths, by_epoch: old}
        factors = {unit: lengths[unit] / _made_for(full, unit, stated[unit]) for unit in lengths}
    # where a warm-up ended, by its unit -> where it ends now
    ends: dict[tuple[bool, int], float] = {}
    fitted = []
    for i, scheduler in enumerate(full):
        unit = counts_epochs(scheduler)
        if any(
            name.split('.')[:2] in (['param_scheduler'], ['param_scheduler', str(i)])
            for name in by_hand
        ):
            fitted.append(schedulers[i])
            continue
        begin = ends.get((unit, scheduler.get('begin', 0)))
        new = scaled_scheduler(scheduler, factors[unit], limit, per_epoch, begin)
        if is_warm_up(scheduler):
            in_unit = 1 if counts_epochs(new) == unit else 1 / per_epoch
            ends[unit, scheduler['end']] = new['end'] * in_unit
        fitted.append(new)
    return fitted


def _with_end(scheduler: Scheduler, by_epoch: bool, length: int) -> Scheduler:
    """A scheduler that says where it ends: mmengine's default is the end of the training.

    Args:
        scheduler: its config, which stays as it is.
        by_epoch: the loop counts epochs.
        length: of the loop that the scheduler was made for.
    """
    if end_of(scheduler) is not None or counts_epochs(scheduler) != by_epoch:
        return scheduler
    # milestones after the end tell of a longer training
    return dict(scheduler, end=max([length, *(m + 1 for m in scheduler.get('milestones', ()))]))


def _made_for(schedulers: list[Scheduler], by_epoch: bool, default: float) -> float:
    """Length of the training that the schedulers in one unit were made for, by where they end.

    Args:
        schedulers: of the config.
        by_epoch: the unit: epochs or iterations.
        default: where none of them says.
    """
    same_unit = [s for s in schedulers if counts_epochs(s) == by_epoch and not is_warm_up(s)]
    ends = [end for end in map(end_of, same_unit) if end is not None]
    return max(ends, default=default)


def _fit_intervals(cfg: Config, length: int, by_epoch: bool, by_hand: Collection[str]) -> None:
    """Validate once at least; a training in iterations about ten times, and save as often.

    Args:
        cfg: changed in place.
        length: of its loop, in the loop's unit.
        by_epoch: that unit is an epoch.
        by_hand: as in `fit_schedule`.
    """
    often = (
        length if by_epoch else max(math.ceil(length / VALIDATIONS), min(LEAST_INTERVAL, length))
    )
    if 'train_cfg.val_interval' not in by_hand:
        interval = cfg.train_cfg.get('val_interval', 1)
        cfg.train_cfg.val_interval = max(1, min(interval, often))
    checkpoint: Any = (cfg.get('default_hooks') or {}).get('checkpoint') or {}
    saves = not by_epoch and checkpoint.get('interval', -1) > 0
    if saves and 'default_hooks.checkpoint.interval' not in by_hand:
        checkpoint.interval = min(checkpoint.interval, often)
