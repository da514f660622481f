"""A loss that is no number: the step is left out, and three in a row end the run."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import all_reduce, get_rank
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.runner import Runner
from torch.nn.modules.batchnorm import _BatchNorm

from ..errors import UserError
from ..registry import HOOKS

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


@HOOKS.register_module()
class FiniteLossHook(Hook):
    """Leaves out steps whose loss is NaN or infinite, and ends a run that makes nothing else.

    Such a step would make every weight NaN, and every checkpoint after it worthless. The statistics of
    BatchNorm, which the forward pass has moved already, go back to what they were. Gradients that
    overflow in fp16 are none of this: the loss scale handles them.

    Args:
        patience: so many in a row end the run. Default 3.
    """

    def __init__(self, patience: int = 3) -> None:
        self.patience = patience
        self.skipped, self._row = 0, 0
        self._batch: Any = None
        self._images: list[list[str]] = []
        self._statistics: list[torch.Tensor] = []
        self._kept: list[torch.Tensor] = []

    def before_train(self, runner: Runner) -> None:
        """From here on each step is looked at before it is done."""
        wrapper = runner.optim_wrapper
        norms = [m for m in runner.model.modules() if isinstance(m, _BatchNorm)]
        self._statistics = [b for norm in norms for b in norm.buffers()]
        self._kept = [b.clone() for b in self._statistics]
        step = wrapper.update_params

        def update_params(loss: torch.Tensor, *args: Any, **kwargs: Any) -> None:
            if self._is_finite(loss):
                step(loss, *args, **kwargs)
                self._row, self._images = 0, []
                copy_all(self._statistics, self._kept)
            else:
                copy_all(self._kept, self._statistics)
                self._leave_out(runner)

        wrapper.update_params = update_params

    def before_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Sequence[dict] | dict | None = None
    ) -> None:
        self._batch = data_batch

    @staticmethod
    def _is_finite(loss: torch.Tensor) -> bool:
        """Of every process: all leave a step out, or none."""
        wrong = (~loss.detach().isfinite().all()).to(torch.float32)
        all_reduce(wrong)
        return wrong.item() == 0

    def _leave_out(self, runner: Runner) -> None:
        """Count a step, and stop after too many.

        Raises:
            UserError: they were ``patience`` in a row.
        """
        self.skipped, self._row = self.skipped + 1, self._row + 1
        self._images.append(image_paths(self._batch))
        runner.message_hub.update_info('steps_left_out', self.skipped)
        print_log(
            f'iteration {runner.iter + 1}: the loss is not finite; the step is left out '
            f'({self._row} in a row, {self.skipped} in all)',
            logger='current',
            level=30,
        )
        if self._row < self.patience:
            return
        path = Path(runner.work_dir, FILE if get_rank() == 0 else f'{get_rank()}_{FILE}')
        path.write_text(json.dumps(self._images, indent=1))
        raise UserError(
            f'the loss was not finite {self._row} times in a row, at last in iteration {runner.iter + 1}; '
            f'the images are named in {path}. The checkpoints before it are whole: look at those images, '
            'or go on from a checkpoint with a lower learning rate or with gradient clipping'
        )
