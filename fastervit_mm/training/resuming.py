"""Going on with a run: from which checkpoint, with which schedule, and what must be the same."""

from __future__ import annotations

import copy
import warnings
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.optim import BaseOptimWrapper
from mmengine.runner import EpochBasedTrainLoop, Runner
from torch import nn

from ..config.reading import check_checkpoint
from ..config.run_folder import (
    FOLDER,
    checkpoint_folder,
    has_checkpoints,
    read_record,
    unused_folder,
)
from ..errors import ArgumentError, FileError, reading
from ..weights.entrances import check_fits
from .checkpoint_content import plain_states
from .optimizer_content import check_optimizer_fits
from .processes import in_main_process, say
from .same_classes import other_classes
from .warm_start import note_start, start_file
from .whole_files import is_whole, newest_whole

# what a parameter scheduler counts; everything else of its state is what it was built with
LONGEST_PATH = 4096  # characters
COUNTED = (
    *('last_step', '_global_step', '_last_value', 'verbose'),
    *('best', 'num_bad_epochs', 'cooldown_counter'),  # of a scheduler that follows metrics
)


def resume_point(
    work_dir: Path, resume: str, elsewhere: Path | None = None, template: str | None = None
) -> str | None:
    """The checkpoint to go on from; None: there is none, and 'auto' starts a run then.

    A work dir that was copied or moved goes on from its own files, whatever path the copied
    ``last_checkpoint`` names.

    Args:
        work_dir: of the run.
        resume: a checkpoint's path or URL; 'auto': the last whole one in ``work_dir``.
        elsewhere: where the run keeps its checkpoints. Default None: in ``work_dir``.
        template: of their names, such as 'model_{}.pth'. Default None: mmengine's.

    Raises:
        FileError: there is none like that; or all are torn.
    """
    if resume != 'auto':
        return check_checkpoint(resume)
    last = work_dir / 'last_checkpoint'
    with reading(last, 'remove it: the newest whole checkpoint is taken then'):
        named = last.read_text().strip() if last.is_file() else ''
        if '\0' in named or len(named) > LONGEST_PATH:
            raise ValueError('it names no file')
    if '://' in named:  # no disk of ours
        return named
    folders = [elsewhere or work_dir, work_dir]
    stated = [Path(named)] if named else []
    own = [folder / path.name for path in stated for folder in folders]
    found = own if _is_left_behind(work_dir, named) else own + stated
    for path in found:
        if path.is_dir() or is_whole(path):
            return str(path)
    last_name = Path(named).name
    newest = [p for f in folders if (p := newest_whole(f, template, last_name)) is not None]
    torn = next((path for path in found if path.is_file()), None)
    if not newest and torn is not None:
        raise FileError(f'{torn} is torn, and {work_dir} has no other checkpoint to resume')
    if not newest and named:
        raise FileError(f'{last} names {named}, which is gone, and there is no other to resume')
    if not newest:
        return None
    if torn is not None:
        say(
            f'warning: {torn} is torn (not what was written, or not all of it): resuming from '
            f'{newest[0]}'
        )
    elif named:
        say(f'warning: {named}, the last checkpoint, is gone: resuming from {newest[0]}')
    return str(newest[0])


def _is_left_behind(work_dir: Path, named: str) -> bool:
    """Whether a file lies where a folder was before it was moved or copied: another run's, perhaps."""
    before = read_record(work_dir).get(FOLDER)
    if not isinstance(before, str) or before == str(work_dir.resolve()):
        return False
    return Path(named).absolute().is_relative_to(before)


def settle_start(cfg: Config, resume: str | None, fresh: bool, warm: bool = False) -> str | None:
    """Where the run is written to, and the checkpoint that it goes on from, or None.

    A folder holds one run: another one would mix their curves and replace its checkpoints.

    Args:
        cfg: its ``work_dir`` is changed in place where ``fresh`` asks for another; its own ``resume``
            counts where ``resume`` is None.
        resume: as in `resume_point`; None: start.
        fresh: as in `unused_folder`.
        warm: a run that starts takes weights from another one (`start_from`). Default False.

    Raises:
        ArgumentError: the work dir is used by another run.
        FileError: as `resume_point`.
    """
    work_dir = Path(cfg.work_dir)
    if resume is None and cfg.get('resume') and not fresh:
        resume = cfg.get('load_from') or 'auto'
    cfg.resume = False  # a config that says so would also resume where it is tested
    checkpoint, elsewhere = None, checkpoint_folder(cfg)
    if resume is not None:
        checkpoint = resume_point(work_dir, resume, elsewhere, names_of(cfg))
    if resume == 'auto' and checkpoint is None and has_checkpoints(cfg):
        raise FileError(
            f'{work_dir} holds checkpoints, but none that can be resumed (last_checkpoint names none); '
            'name one by --resume CHECKPOINT, or start anew by --fresh or --from'
        )
    own = [folder.resolve() for folder in (work_dir, elsewhere)]
    goes_on = resume == 'auto' or (
        checkpoint is not None and Path(checkpoint).resolve().parent in own
    )
    if checkpoint is not None and warm:
        note_start(cfg, start_file(work_dir))  # as when it started
    if not goes_on:
        asked, taken = in_main_process(lambda: (cfg.work_dir, str(unused_folder(cfg, fresh))))
        if taken != asked:
            say(f'{asked} holds a run already: this one goes to {taken}')
            # another machine may have its folder elsewhere
            cfg.work_dir = (
                taken if cfg.work_dir == asked else str(work_dir.with_name(Path(taken).name))
            )
    return checkpoint


def forget_pretrained(model: Any) -> None:
    """Let a model load no pretrained files: a checkpoint replaces all that they hold.

    Args:
        model: of a runner; one that is not built yet (a config) stays as it is.
    """
    for module in model.modules() if isinstance(model, nn.Module) else ():
        stated: Any = getattr(module, 'init_cfg', None)
        entries = stated if isinstance(stated, (list, tuple)) else [stated]
        if any(isinstance(entry, dict) and entry.get('type') == 'Pretrained' for entry in entries):
            setattr(module, 'init_cfg', None)  # noqa: B010 (any module may have one)


def names_of(cfg: Config) -> str | None:
    """The template of the names of checkpoints, such as 'model_{}.pth'; None: mmengine's."""
    hook: Any = (cfg.get('default_hooks') or {}).get('checkpoint') or {}
    return hook.get('filename_tmpl')


def check_same_run(runner: Runner, checkpoint: dict[str, Any]) -> None:
    """A run goes on with the classes and the network that it had.

    Args:
        runner: of the run.
        checkpoint: that it resumes.

    Raises:
        ArgumentError: the classes are others.
        FileError: weights or groups of the optimizer do not fit.
    """
    meta = checkpoint.get('meta') or {}
    others = other_classes(checkpoint, runner.train_dataloader.dataset)
    if others is not None:
        raise ArgumentError(
            f'the run to resume has {others[0]}, this one {others[1]}; a run goes on with its own: '
            'start another from its weights with --from'
        )
    if 'optimizer' not in checkpoint or 'iter' not in meta:
        raise FileError(
            'the checkpoint to resume has no state of a training (it is one of weights alone); '
            'start from its weights with --from'
        )
    loop = runner.train_loop
    if isinstance(loop, EpochBasedTrainLoop) and meta['iter'] != meta['epoch'] * len(
        loop.dataloader
    ):
        say(
            f'warning: the checkpoint is of iteration {meta["iter"]}, with {meta["epoch"]} epochs done '
            f'of {len(loop.dataloader)} iterations now: the run goes on with a whole epoch'
        )
    check_fits(runner.model, checkpoint.get('state_dict', checkpoint))
    if not isinstance(runner.optim_wrapper, BaseOptimWrapper):  # resumed without being trained
        return
    wanted, found = (
        [len(group['params']) for group in state.get('param_groups', ())]
        for state in (runner.optim_wrapper.state_dict(), checkpoint['optimizer'])
    )
    if found != wanted:
        raise FileError(
            f"the checkpoint's optimizer has {len(found)} groups of {sum(found)} parameters, the "
            f"config's {len(wanted)} of {sum(wanted)}; resume with the config of that run, or start "
            'another from its weights with --from'
        )


def follow_schedule(runner: Runner, checkpoint: dict[str, Any]) -> None:
    """Where the config's schedule is another than that of the checkpoint, let it go on by the config's.

    mmengine would take the old one up, whatever the config says: a run of 2 epochs that goes on to 6
    would stay at the rate where the second ended.

    Args:
        runner: whose schedulers are built and have not begun.
        checkpoint: that it resumes; its schedulers, and what they set in the optimizer, are
            changed in place to what they would be after as many steps of the config's schedule.
    """
    if not isinstance(runner.optim_wrapper, BaseOptimWrapper):  # resumed without being trained
        return
    schedulers, states = _flat(runner.param_schedulers), _flat(checkpoint.get('param_schedulers'))
    saved, fresh = checkpoint['optimizer'], runner.optim_wrapper.state_dict()
    check_optimizer_fits(saved, runner.optim_wrapper)
    wanted = [_stated(state) for state in plain_states([s.state_dict() for s in schedulers])]
    same = wanted == [_stated(state) for state in states]
    # nothing to step, or what follows metrics, which are not there any more
    unsteppable = not schedulers or any(hasattr(s, 'need_val_args') for s in schedulers)
    if unsteppable and not (schedulers and same):
        _take_rate(saved, fresh)
    if same or unsteppable:
        return
    meta, loop = checkpoint['meta'], runner.train_loop
    # an epoch may have another length now: the schedule counts by that
    iterations = meta['iter']
    if isinstance(loop, EpochBasedTrainLoop) and meta['epoch']:
        iterations = meta['epoch'] * len(loop.dataloader)
    iterations = min(iterations, loop.max_iters)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # steps without one of the optimizer: that is the point
        _replay(schedulers, min(meta['epoch'], iterations), iterations)
    stepped = runner.param_schedulers
    checkpoint['param_schedulers'] = copy.deepcopy(
        {name: plain_states([s.state_dict() for s in some]) for name, some in stepped.items()}
        if isinstance(stepped, dict)
        else plain_states([s.state_dict() for s in schedulers])
    )
    marks = ('', 'initial_', 'max_', 'min_')  # the last two are OneCycleLR's
    keys = {f'{mark}{s.param_name}' for s in schedulers for mark in marks}
    before = _rate(saved)
    for group, new in zip(_groups(saved), _groups(runner.optim_wrapper.state_dict()), strict=True):
        group.update({key: new[key] for key in keys if key in new})
    _say_rate(before, _rate(saved))


def _take_rate(saved: dict[str, Any], fresh: dict[str, Any]) -> None:
    """Let a checkpoint go on at the learning rates of the config.

    Args:
        saved: state of the optimizer, changed in place.
        fresh: of one that has not begun.
    """
    before = _rate(saved)
    for group, new in zip(_groups(saved), _groups(fresh), strict=True):
        group.update({key: new[key] for key in ('lr', 'initial_lr') if key in new})
    if _rate(saved) != before:
        _say_rate(before, _rate(saved))


def _say_rate(before: float, now: float) -> None:
    say(
        'the schedule is another than that of the checkpoint: the learning rate goes on from '
        f'{now:.3g} (the old one was at {before:.3g})'
    )


def _flat(schedulers: Any) -> list[Any]:
    """The schedulers (or their states) of a run, which has them by optimizer where it has several."""
    if isinstance(schedulers, dict):
        return [one for some in schedulers.values() for one in some]
    return list(schedulers or ())


def _groups(optimizer: dict[str, Any]) -> list[dict[str, Any]]:
    """What schedulers set in the state of an optimizer: its groups, and mmengine's own beside them."""
    if 'param_groups' not in optimizer:  # one of several
        return [group for name in sorted(optimizer) for group in _groups(optimizer[name])]
    own = optimizer.get('base_param_settings')
    return optimizer['param_groups'] + ([own] if own else [])


def _rate(optimizer: dict[str, Any]) -> float:
    """The highest learning rate in the state of an optimizer."""
    return max(float(group['lr']) for group in _groups(optimizer) if 'lr' in group)


def _stated(state: dict[str, Any]) -> dict[str, Any]:
    """What a scheduler was built with."""
    return {key: value for key, value in state.items() if key not in COUNTED}


def _replay(schedulers: list[Any], epochs: int, iterations: int) -> None:
    """Step schedulers as a run of so many epochs and iterations has done."""
    per_iteration = [s for s in schedulers if not s.by_epoch]
    per_epoch = [s for s in schedulers if s.by_epoch]
    done = 0
    for iteration in range(1, iterations + 1):
        for scheduler in per_iteration:
            scheduler.step()
        while done < epochs * iteration // iterations:
            done += 1
            for scheduler in per_epoch:
                scheduler.step()
