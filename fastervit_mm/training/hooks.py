"""Hooks of a run: resuming exactly where it stopped, and a faster model for testing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from mmengine.dist import (
    all_gather_object,
    broadcast_object_list,
    get_rank,
    get_world_size,
    is_main_process,
)
from mmengine.hooks import CheckpointHook, EMAHook, Hook
from mmengine.logging import print_log
from mmengine.optim import OptimWrapper, OptimWrapperDict
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop, Runner

from ..compatibility import start_loader
from ..inference.compiling import compile_backbones
from ..inference.fusing import fuse
from ..registry import HOOKS
from .checkpoint_content import check_state_of_training, plain_states
from .random_states import random_states, set_random_states
from .resuming import check_same_run, follow_schedule
from .whole_files import (
    check_finite_weights,
    remove_parts,
    whole_checkpoints,
)

VALIDATED = 'last_validation'  # a file with the epoch or iteration whose validation came to its end


class _RestoringIterator:
    """An iterator over batches that calls ``restore`` when ``skipped`` of them have gone by."""

    def __init__(self, batches: Any, skipped: int, restore: Callable[[], None]) -> None:
        self.batches, self.left, self.restore = batches, skipped, restore

    def __iter__(self) -> _RestoringIterator:
        return self

    def skip_iter(self, count: int) -> None:
        """Skip without loading, where mmengine can (0.10.12); older ones call `next`."""
        self.batches.skip_iter(count)
        self.left -= count

    def __next__(self) -> Any:
        if self.left == 0:
            # a loader draws a number when it starts: let it, before the states come back
            start_loader(self.batches)
            self.restore()
        self.left -= 1
        return next(self.batches)


def is_accumulating(wrapper: Any) -> bool:
    """Whether gradients of some batches wait for those of others before the next step."""
    if isinstance(wrapper, OptimWrapperDict) or not isinstance(wrapper, OptimWrapper):
        return False
    return wrapper._accumulative_counts > 1 and not wrapper.should_update()


def _step_of(runner: Runner) -> int:
    """How many epochs, or else iterations, a run has done."""
    loop = runner.train_loop
    return loop.epoch if isinstance(loop, EpochBasedTrainLoop) else loop.iter


@HOOKS.register_module()
class ResumableCheckpointHook(CheckpointHook):
    """mmengine's CheckpointHook, with the random-number states of every process in the file.

    A checkpoint is there when it is whole, and the one before it goes after that.

    A resumed run then continues as the uninterrupted one would have (exactly so without loader
    workers; workers are seeded again). Validation leaves the generators as they were, so that it
    makes no difference whether it ran between two epochs.

    Args:
        *args: those of `mmengine.hooks.CheckpointHook`.
        **kwargs: the same.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._before_val: dict[str, Any] | None = None
        self._loaded: list[dict[str, Any]] | None = None
        self._gathered: list[dict[str, Any]] | None = None
        self._gradients: dict[str, Any] = {}  # accumulated when the run was stopped

    def before_val(self, runner: Runner) -> None:
        self._before_val = random_states()

    def after_val(self, runner: Runner) -> None:
        if self._before_val is not None:
            set_random_states(self._before_val)
        self._before_val = None

    def before_train(self, runner: Runner) -> None:
        """Take up what the stopped run left: its best checkpoint, and a validation that it did not end."""
        super().before_train(runner)
        for name, parameter in runner.model.named_parameters() if self._gradients else ():
            if name in self._gradients and self._gradients[name].shape == parameter.shape:
                parameter.grad = self._gradients[name].to(parameter)
        self._gradients = {}
        if '://' not in str(self.out_dir):
            self._own_best()
            self._forget_lost_best(runner)
            if is_main_process():
                remove_parts(Path(self.out_dir))
        if self._lacks_validation(runner):
            print_log('the validation after the last checkpoint did not end: once more', 'current')
            states = self._loaded
            self._restore()  # a validation that draws draws what it would have drawn
            self._loaded = states  # for the training that follows
            self.last_ckpt = runner._load_from  # it gets the new best score too
            runner.val_loop.run()

    def _own_best(self) -> None:
        """The best checkpoint of a copied run is the copy's: a better one must not replace another's."""

        def own(path: str) -> str:
            return str(Path(self.out_dir, Path(path).name))

        stated: Any = getattr(self, 'best_ckpt_path', None)
        if stated:
            self.best_ckpt_path = own(stated)
        best = getattr(self, 'best_ckpt_path_dict', {})
        best.update({name: path and own(path) for name, path in best.items()})

    def _forget_lost_best(self, runner: Runner) -> None:
        """A best score whose checkpoint is not there any more, as after going back, is none to beat."""
        named = {'best_score': getattr(self, 'best_ckpt_path', None)}
        for name, path in getattr(self, 'best_ckpt_path_dict', {}).items():
            named[f'best_score_{name}'] = path
        lost = [[key for key, path in named.items() if path and not Path(path).exists()]]
        broadcast_object_list(lost)  # the main process's disk counts
        for key in lost[0]:
            if key in runner.message_hub.runtime_info:
                print_log(
                    f'{named[key]} is not there: the next validation gives a new best', 'current'
                )
                runner.message_hub.runtime_info.pop(key)

    def _lacks_validation(self, runner: Runner) -> bool:
        """Whether a resumed run was stopped between a checkpoint and the end of its validation."""
        loop, path = runner.train_loop, Path(runner.work_dir, VALIDATED)
        if loop.iter == 0 or runner.val_loop is None:
            return False
        step = _step_of(runner)
        loop._decide_current_val_interval()  # as after the step that was the last one
        last = loop.max_epochs if isinstance(loop, EpochBasedTrainLoop) else loop.max_iters
        due = step >= loop.val_begin and (step % loop.val_interval == 0 or step == last)
        answer = [False]
        if is_main_process():  # whose disk counts
            done = path.is_file() and path.read_text() == str(step)
            answer[0] = due and not done
            if path.is_file() and not done:
                path.unlink()  # of a step that this run has not come to
        broadcast_object_list(answer)
        return answer[0]

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Save the best checkpoint, and note that this validation came to its end."""
        super().after_val_epoch(runner, metrics)
        if is_main_process() and runner.train_loop.iter:
            Path(runner.work_dir, VALIDATED).write_text(str(_step_of(runner)))

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Called in the main process alone: a run of one process needs no other's states."""
        if 'param_schedulers' in checkpoint:
            checkpoint['param_schedulers'] = plain_states(checkpoint['param_schedulers'])
        if get_world_size() == 1:
            checkpoint['random_states'] = [self._before_val or random_states()]
            if is_accumulating(runner.optim_wrapper):
                checkpoint['accumulative_counts'] = runner.optim_wrapper._accumulative_counts
                checkpoint['gradients'] = {
                    name: parameter.grad
                    for name, parameter in runner.model.named_parameters()
                    if parameter.grad is not None
                }
        elif self._gathered is not None:
            checkpoint['random_states'], self._gathered = self._gathered, None

    def _save_checkpoint_with_step(self, runner: Runner, step: int, meta: dict) -> None:
        """Called in every process: collect their states before the main one writes the file."""
        if get_world_size() > 1:
            self._gathered = all_gather_object(self._before_val or random_states())
        if isinstance(runner, Runner):
            check_finite_weights(runner.model)
        with whole_checkpoints(runner, self):
            super()._save_checkpoint_with_step(runner, step, meta)

    def _save_best_checkpoint(self, runner: Runner, metrics: dict) -> None:
        """Saves the epoch's checkpoint once more, too: it names the best one."""
        if isinstance(runner, Runner):
            check_finite_weights(runner.model)
        else:
            self.last_ckpt = None  # its second saving of the epoch would count one too many
        with whole_checkpoints(runner, self):
            super()._save_best_checkpoint(runner, metrics)

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """A run that is resumed must be the one that the checkpoint is of; its schedule is the config's.

        Raises:
            As `check_state_of_training` and `check_same_run`.
        """
        if runner._resume and isinstance(runner, Runner):
            check_state_of_training(checkpoint)
        self._loaded = checkpoint.get('random_states') if runner._resume else None
        gradients = checkpoint.pop('gradients', {})
        counts = getattr(runner.optim_wrapper, '_accumulative_counts', None) if gradients else None
        waits = runner._resume and checkpoint.get('accumulative_counts') == counts
        self._gradients = gradients if waits else {}
        if runner._resume and isinstance(runner, Runner):
            check_same_run(runner, checkpoint)
            follow_schedule(runner, checkpoint)

    def _restore(self) -> None:
        """Take up the loaded states, once."""
        states, self._loaded = self._loaded, None
        if states is None:
            return
        if len(states) != get_world_size():
            print_log(
                f'the checkpoint was written by {len(states)} processes, this run has '
                f'{get_world_size()}: random numbers start from scratch',
                logger='current',
            )
            return
        set_random_states(states[get_rank()])

    def before_train_epoch(self, runner: Runner) -> None:
        loop = runner.train_loop
        if isinstance(loop, IterBasedTrainLoop) and loop.iter > 0:
            # mmengine first walks through the batches that the stopped run has seen
            loop.dataloader_iterator = _RestoringIterator(
                loop.dataloader_iterator, loop.iter, self._restore
            )
        else:
            self._restore()


@HOOKS.register_module()
class FasterInferenceHook(Hook):
    """Fuse and compile the FasterViT backbone before testing, after the weights were loaded.

    Args:
        fuse: call `fastervit_mm.fuse`. Default False.
        compile: call `compile_backbones`. Default False.
    """

    def __init__(self, fuse: bool = False, compile: bool = False) -> None:
        self.fuse, self.compile = fuse, compile

    def before_test(self, runner: Runner) -> None:
        if self.fuse:
            # a checkpoint holds the averaged weights as the model's own; EMAHook would swap them with
            # their copy, tensor by tensor, and the fused model has other tensors
            runner._hooks = [hook for hook in runner.hooks if not isinstance(hook, EMAHook)]
            fuse(runner.model)
        if self.compile:
            compile_backbones(runner.model)
