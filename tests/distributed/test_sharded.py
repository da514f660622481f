"""Fully sharded training (FSDP) with our blocks as units learns what DDP does, saves and resumes."""

import pytest
import torch
from mmengine.hooks import Hook
from torch.distributed.fsdp import FullyShardedDataParallel

from fastervit_mm.data.drawn_shapes import write_shapes
from tests.distributed import runs
from tests.distributed.start import in_processes
from tests.distributed.test_same_losses import largest_difference

FLEXIBLE = dict(runner_type='FlexibleRunner')
SHARDED = dict(**FLEXIBLE, strategy=dict(type='fastervit_mm.BlockFSDPStrategy'))


class CountUnits(Hook):
    """Notes the classes that are units."""

    seen: set = set()  # noqa: RUF012

    def before_train(self, runner):
        units = FullyShardedDataParallel.fsdp_modules(runner.model)
        self.seen.update(type(unit.module).__name__ for unit in units)


def units(*args, **options):
    """The units of `runs.train`."""
    runs.train(*args, **options, hooks=(CountUnits(),))
    return CountUnits.seen


@pytest.mark.long
def test_sharded_training_is_ddps(tmp_path):
    """Losses, weights, and gradients clipped by the norm of all, not of a process's share."""
    write_shapes(tmp_path / 'data', train=8, val=1, size=64)

    def trained(name, **options):
        return in_processes(
            2, runs.train, 'segmentor', tmp_path / 'data', tmp_path / name, **options
        )

    ddp = trained('ddp', **FLEXIBLE)[0]
    for sharded in trained('sharded', **SHARDED):
        assert torch.tensor(sharded['losses']).allclose(torch.tensor(ddp['losses']), atol=1e-5)
        assert largest_difference(sharded['weights'], ddp['weights']) < 1e-5
    # its file is an ordinary one, and its config is tested in one process as any
    weights = tmp_path / 'sharded/iter_5.pth'
    saved = torch.load(weights, weights_only=False)['state_dict']
    assert largest_difference(saved, ddp['weights']) < 1e-5
    (metrics,) = in_processes(1, runs.evaluate, tmp_path / 'sharded', weights, tmp_path / 'data')
    assert metrics['mIoU'] >= 0
    # stopped after three of the five steps
    trained('stopped', steps=3, **SHARDED)
    start = dict(load_from=str(tmp_path / 'stopped/iter_3.pth'), resume=True)
    resumed = trained('resumed', **SHARDED, **start)[0]
    assert len(resumed['losses']) == 2
    assert largest_difference(resumed['weights'], ddp['weights']) < 1e-5


def test_the_blocks_are_the_units(tmp_path):
    write_shapes(tmp_path / 'data', train=8, val=1, size=64)
    for seen in in_processes(
        2, units, 'segmentor', tmp_path / 'data', tmp_path, steps=1, **SHARDED
    ):
        assert seen == {'EncoderDecoder', 'ConvBlock', 'WindowBlock', 'HATBlock'}
