"""A warm-up of any length ends at the full learning rate, as mmengine goes through it."""

import pytest
import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import PARAM_SCHEDULERS

from fastervit_mm.training.schedule import fit_schedule
from tests.helpers import ROOT


def test_a_warm_up_always_ends_at_the_full_learning_rate():
    """A LinearLR of mmengine never leaves its first factor where it ends at iteration 1."""
    cfg = Config.fromfile(ROOT / 'configs/detection/cascade_fastervit_shapes.py')
    fit_schedule(cfg, images=4, epochs=2, iters=None)
    wrapper = build_optim_wrapper(torch.nn.Linear(1, 1), dict(optimizer=dict(type='SGD', lr=1.0)))
    warm_up = next(s for s in cfg.param_scheduler if s['type'] == 'LinearLR')
    scheduler = PARAM_SCHEDULERS.build(dict(warm_up, optimizer=wrapper))
    scheduler.step()
    assert wrapper.get_lr()['lr'] == [pytest.approx(1.0)]
