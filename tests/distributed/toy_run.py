"""Run by torchrun: a training of seconds in which something goes wrong in one process.

    torchrun --nproc_per_node 2 tests/distributed/toy_run.py WORK_DIR HOW RANK

HOW: 'bad 3,4,5' has no finite loss in these iterations, 'kill 6' and 'stop 6' end or halt the process in
that iteration, 'kill val' while it validates. Each is for the process RANK alone.
"""

import os
import signal
import sys
from pathlib import Path
from types import SimpleNamespace

import torch
from mmengine.config import Config
from mmengine.dist import get_rank
from mmengine.evaluator import BaseMetric
from mmengine.hooks import Hook
from mmengine.logging import MessageHub
from mmengine.model import BaseModel
from mmengine.registry import DATASETS, HOOKS, METRICS, MODELS
from torch import nn
from torch.utils.data import Dataset

from fastervit_mm.errors import UserError, exit_on_user_error
from fastervit_mm.training.processes import end_processes, lost_process_named
from fastervit_mm.training.resuming import resume_point
from fastervit_mm.training.runner import build_runner

ITERATIONS = 10


@DATASETS.register_module()
class Numbers(Dataset):
    """Forty samples."""

    metainfo = dict(classes=('one',))  # noqa: RUF012

    def __len__(self):
        return 40

    def __getitem__(self, i):
        sample = SimpleNamespace(metainfo=dict(img_path=f'{i}.jpg'))
        return dict(inputs=torch.full((4,), i / 40), data_samples=sample)


@MODELS.register_module()
class Noisy(BaseModel):
    """A layer that learns under dropout: it draws random numbers, and its optimiser has a state."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(5)
        self.layer = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.5), nn.Linear(8, 1))
        self.bad = False

    def forward(self, inputs, data_samples, mode):
        inputs = torch.stack(inputs) if isinstance(inputs, list) else inputs
        if mode == 'predict':
            return [self.layer(inputs)]
        loss = self.layer(inputs + torch.rand(())).pow(2).mean()
        return dict(loss=loss * float('nan') if self.bad else loss)


@METRICS.register_module()
class Nothing(BaseMetric):
    """Counts what was predicted."""

    default_prefix = 'toy'

    def process(self, data_batch, data_samples):
        self.results.append(1)

    def compute_metrics(self, results):
        return dict(count=len(results))


@HOOKS.register_module()
class Trouble(Hook):
    """Makes what HOW says, in the process RANK."""

    priority = 'VERY_LOW'

    def __init__(self, how, rank):
        kind, _, when = how.partition(' ')
        self.kind, self.when = kind, set(when.split(','))
        self.here = get_rank() == rank

    def _happens(self, runner, when):
        if not self.here or str(when) not in self.when:
            return
        if self.kind == 'bad':
            runner.model.module.bad = True
        elif self.kind in ('kill', 'stop'):
            print(f'{self.kind} {os.getpid()}', flush=True)
            os.kill(os.getpid(), dict(kill=signal.SIGKILL, stop=signal.SIGSTOP)[self.kind])

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        runner.model.module.bad = False
        self._happens(runner, runner.iter + 1)

    def before_val(self, runner):
        self._happens(runner, 'val')


def config(work_dir, how, rank):
    loader = dict(batch_size=2, num_workers=0, dataset=dict(type='Numbers'))
    shuffled = dict(type='DefaultSampler', shuffle=True)
    in_order = dict(type='DefaultSampler', shuffle=False)
    return Config(
        dict(
            work_dir=work_dir,
            launcher='pytorch',
            model=dict(type='Noisy'),
            train_dataloader=dict(**loader, sampler=shuffled),
            val_dataloader=dict(**loader, sampler=in_order),
            train_cfg=dict(by_epoch=False, max_iters=ITERATIONS, val_interval=8),
            val_cfg=dict(),
            val_evaluator=dict(type='Nothing'),
            optim_wrapper=dict(optimizer=dict(type='AdamW', lr=0.01)),
            param_scheduler=[dict(type='LinearLR', start_factor=0.1, by_epoch=False, end=20)],
            default_hooks=dict(
                checkpoint=dict(
                    type='fastervit_mm.ResumableCheckpointHook', interval=4, by_epoch=False
                ),
                finite_loss=dict(type='fastervit_mm.FiniteLossHook'),
                logger=dict(type='LoggerHook', interval=1),
            ),
            custom_hooks=[dict(type='Trouble', how=how, rank=rank)],
            env_cfg=dict(dist_cfg=dict(timeout=int(os.environ.get('TOY_TIMEOUT', 60)))),
            randomness=dict(seed=0, diff_rank_seed=True),
            log_processor=dict(by_epoch=False),
            default_scope='mmengine',
        )
    )


def train(work_dir, how='', rank=0, resume=False, **changes):
    """Train in this process of its group; the end weights.

    Args:
        work_dir: of the run.
        how: as on the command line.
        rank: the same.
        resume: from what is in the work dir.
        **changes: of the config, with ``__`` for the dots of their names.
    """
    cfg = config(str(work_dir), how, rank)
    cfg.merge_from_dict({name.replace('__', '.'): value for name, value in changes.items()})
    checkpoint = resume_point(Path(cfg.work_dir), 'auto') if resume else None
    with lost_process_named():
        runner = build_runner(cfg, resume=checkpoint)
        runner.train()
        end_processes()
    return runner.model.module.state_dict()


def how_it_ends(*args, **changes):
    """The error or status of `train`, or what it gives, and its steps that were left out."""
    try:
        end = train(*args, **changes)
    except (UserError, SystemExit) as error:
        end = f'{type(error).__name__}: {error}'
    info = MessageHub.get_current_instance().runtime_info
    return end, info.get('steps_left_out', 0)


if __name__ == '__main__':
    work_dir, how, rank = sys.argv[1:]
    exit_on_user_error(lambda: train(work_dir, how, int(rank)))
