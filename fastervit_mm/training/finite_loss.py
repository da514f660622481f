"""A loss or gradient that is no number: the step is left out, and three in a row end the run."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import wraps
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import all_gather_object, all_reduce, is_main_process
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.optim import (
    AmpOptimWrapper,
    ApexOptimWrapper,
    BaseOptimWrapper,
    OptimWrapper,
    OptimWrapperDict,
)
from mmengine.runner import Runner
from torch.nn.modules.batchnorm import _BatchNorm

from ..errors import UserError
from ..registry import HOOKS
from .processes import end_all

FILE = 'images_of_no_finite_loss.json'


def image_paths(batch: Any) -> list[str]:
    """Files of the images of a batch, as the host libraries' loaders give it."""
    samples = batch.get('data_samples', []) if isinstance(batch, dict) else []
    return [str(sample.metainfo.get('img_path', '')) for sample in samples]


def copy_all(source: Sequence[torch.Tensor], target: Sequence[torch.Tensor]) -> None:
    """Copy tensors into others of the same shapes."""
    with torch.no_grad():
        for one, other in zip(source, target, strict=True):
            other.copy_(one)


def finite_everywhere(value: torch.Tensor) -> bool:
    """Whether ``value`` is finite in every process: all leave a step out, or none."""
    wrong = (~value.detach().isfinite().all()).to(torch.float32)
    all_reduce(wrong)
    return wrong.item() == 0


def gradient_norms(optimizer: torch.optim.Optimizer) -> torch.Tensor:
    """The norm of each gradient that ``optimizer`` holds, (gradients,); one read of them, no copy."""
    parameters = chain.from_iterable(group['params'] for group in optimizer.param_groups)
    gradients = [p.grad for p in parameters if p.grad is not None]
    return torch.stack(torch._foreach_norm(gradients)) if gradients else torch.zeros(0)


@HOOKS.register_module()
class FiniteLossHook(Hook):
    """Leaves out steps whose loss or gradient is NaN or infinite, and ends a run of nothing else.

    Such a step would make every weight NaN, and every checkpoint after it worthless. It is left out in
    every process of a distributed run, whichever had the loss. The statistics of BatchNorm, which the
    forward pass has moved already, go back to what they were. Gradients that overflow in mixed precision
    with a loss scale are none of this: the scale handles them.

    Where gradients are accumulated (``accumulative_counts``), a step is all of its batches: one whose
    loss is not finite takes the others of its step with it, and the next step begins where it would have.
    A process's gradients of the other batches alone were not shared with the others yet.

    With several optimisers (``OptimWrapperDict``) each one's steps are looked at and counted alone.

    Args:
        patience: so many in a row end the run. Default 3.
    """

    def __init__(self, patience: int = 3) -> None:
        self.patience = patience
        self.skipped = 0
        self._batch: Any = None
        self._statistics: list[torch.Tensor] = []
        self._kept: list[torch.Tensor] = []

    def before_train(self, runner: Runner) -> None:
        """From here on each step is looked at before it is done."""
        norms = [m for m in runner.model.modules() if isinstance(m, _BatchNorm)]
        self._statistics = [b for norm in norms for b in norm.buffers()]
        self._kept = [b.clone() for b in self._statistics]
        wrapper = runner.optim_wrapper
        several = isinstance(wrapper, OptimWrapperDict)
        for one in wrapper.values() if several else [wrapper]:
            _Guard(self, runner, one).stand_before_steps()

    def before_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Sequence[dict] | dict | None = None
    ) -> None:
        self._batch = data_batch

    def keep_statistics(self) -> None:
        """The forward pass was a good one."""
        copy_all(self._statistics, self._kept)

    def take_back_statistics(self) -> None:
        """The forward pass was none."""
        copy_all(self._kept, self._statistics)

    def images(self) -> list[str]:
        """Files of the batch at hand."""
        return image_paths(self._batch)


class _Guard:
    """Looks at the steps of one optimiser.

    Args:
        hook: counts what was left out.
        runner: of the training.
        wrapper: of the optimiser.
    """

    def __init__(self, hook: FiniteLossHook, runner: Runner, wrapper: BaseOptimWrapper) -> None:
        self.hook, self.runner, self.wrapper = hook, runner, wrapper
        self.row, self.images = 0, list[list[str]]()
        self.spoilt = False  # a batch of the step at hand had no finite loss

    def stand_before_steps(self) -> None:
        """Take the place of the optimiser's methods."""
        update, step = self.wrapper.update_params, self.wrapper.step

        def guarded_update(loss: torch.Tensor, *args: Any, **kwargs: Any) -> None:
            if not finite_everywhere(loss):
                self._note('loss', its_own=not loss.isfinite().all())
            elif not self.spoilt:
                update(loss, *args, **kwargs)
                return
            self._leave_batch_out()

        @wraps(step)  # schedulers look for a mark on it
        def guarded_step(**kwargs: Any) -> None:
            if self._has_finite_gradients():
                step(**kwargs)
                self.row, self.images = 0, []
                self.hook.keep_statistics()
            else:
                self._note('gradient', its_own=True)
                self._count()  # update_params drops the gradients

        # mmengine's own calls go through them
        self.wrapper.update_params = guarded_update
        self.wrapper.step = guarded_step

    def _has_finite_gradients(self) -> bool:
        """In every process; a loss scale looks at them itself."""
        if isinstance(self.wrapper, (AmpOptimWrapper, ApexOptimWrapper)):
            return True
        return finite_everywhere(gradient_norms(self.wrapper.optimizer))

    def _leave_batch_out(self) -> None:
        """Of a step that is left out, which ends with the last of its batches."""
        self.hook.take_back_statistics()
        if isinstance(self.wrapper, OptimWrapper):  # not DeepSpeed's, whose engine counts
            self.wrapper._inner_count += 1
            if not self.wrapper.should_update():
                return
            self.wrapper.zero_grad()
        self._count()

    def _note(self, what: str, *, its_own: bool) -> None:
        """The batch at hand spoils its step.

        Args:
            what: is not finite.
            its_own: in this process.
        """
        self.spoilt = True
        self.hook.take_back_statistics()
        if its_own:
            self.images.append(self.hook.images())
        print_log(
            f'iteration {self.runner.iter + 1}: the {what} is not finite; the step is left out '
            f'({self.row + 1} in a row, {self.hook.skipped + 1} in all)',
            logger='current',
            level=30,
        )

    def _count(self) -> None:
        """Count a step that was left out, and stop after too many.

        Raises:
            UserError: they were ``patience`` in a row.
        """
        self.spoilt, self.row, self.hook.skipped = False, self.row + 1, self.hook.skipped + 1
        self.runner.message_hub.update_info('steps_left_out', self.hook.skipped)
        if self.row < self.hook.patience:
            return
        path = Path(self.runner.work_dir, FILE)
        batches = list(chain.from_iterable(all_gather_object(self.images)))
        if is_main_process():
            path.write_text(json.dumps(batches, indent=1))
        end_all(
            UserError(
                f'the loss or its gradient was not finite {self.row} times in a row, at last in '
                f'iteration {self.runner.iter + 1}; the images are named in {path}. The checkpoints '
                'before it are whole: look at those images, or go on from a checkpoint with a lower '
                'learning rate or with gradient clipping'
            )
        )
