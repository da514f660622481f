"""Testing a fused or compiled model: the hook that tools/test.py adds."""

import pytest
from mmengine.hooks import EMAHook
from torch import nn

from fastervit_mm.training import hooks
from fastervit_mm.training.hooks import FasterInferenceHook, ResumableCheckpointHook


class AboutToTest:
    """Stands for a runner that is about to test."""

    def __init__(self):
        self.model = nn.Linear(1, 1)
        self.ema, self.other = EMAHook(), ResumableCheckpointHook(interval=1)
        self._hooks = [self.ema, self.other]

    @property
    def hooks(self):
        return self._hooks


@pytest.mark.parametrize('fuse', [False, True])
@pytest.mark.parametrize('compile', [False, True])
def test_a_model_is_fused_and_compiled_as_asked(fuse, compile, monkeypatch):
    done = []
    monkeypatch.setattr(hooks, 'fuse', lambda model: done.append(('fuse', model)))
    monkeypatch.setattr(hooks, 'compile_backbones', lambda model: done.append(('compile', model)))
    runner = AboutToTest()
    FasterInferenceHook(fuse=fuse, compile=compile).before_test(runner)
    # the averaged weights are the model's own in a checkpoint; they cannot be swapped when fused
    assert runner.hooks == ([runner.other] if fuse else [runner.ema, runner.other])
    assert done == [('fuse', runner.model)] * fuse + [('compile', runner.model)] * compile


def test_nothing_is_fused_or_compiled_by_itself(monkeypatch):
    for name in ('fuse', 'compile_backbones'):
        monkeypatch.setattr(hooks, name, lambda model: pytest.fail('not asked for'))
    runner = AboutToTest()
    FasterInferenceHook().before_test(runner)
    assert runner.hooks == [runner.ema, runner.other]
