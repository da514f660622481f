"""The learning rate of another batch, gradient clipping, and the precision of random weights."""

import math

import pytest
import torch
from mmengine.config import Config

from fastervit_mm.errors import ArgumentError
from fastervit_mm.training import learning_rate, runner
from fastervit_mm.training.learning_rate import (
    clip_gradients,
    images_per_step,
    rule_for,
    scale_learning_rate,
)
from fastervit_mm.training.runner import choose_precision


def a_config(batch=2, optimiser='AdamW', base=16, **wrapper):
    return Config(
        dict(
            train_dataloader=dict(batch_size=batch),
            optim_wrapper=dict(optimizer=dict(type=optimiser, lr=1e-4), **wrapper),
            auto_scale_lr=dict(enable=False, base_batch_size=base),
        )
    )


@pytest.fixture
def processes(monkeypatch):
    monkeypatch.setattr(learning_rate, 'get_world_size', lambda: 4)


@pytest.mark.parametrize(
    'rule, batch, accumulated, factor, real',
    [
        ('sqrt', 2, 1, math.sqrt(1 / 8), 2),
        ('linear', 2, 1, 1 / 8, 2),
        ('none', 2, 1, 1, 2),
        ('linear', 2, 4, 1 / 2, 8),  # accumulated batches count
        ('sqrt', 2, 4, math.sqrt(1 / 2), 8),
        ('linear', 32, 1, 2, 32),
        ('sqrt', 64, 1, 2, 64),
        ('sqrt', 4, 4, 1, 16),
    ],
)
def test_rules_by_hand(rule, batch, accumulated, factor, real):
    cfg = a_config(batch, accumulative_counts=accumulated)
    line = scale_learning_rate(cfg, rule)
    assert cfg.optim_wrapper.optimizer.lr == pytest.approx(1e-4 * factor)
    assert cfg.auto_scale_lr == dict(enable=False, base_batch_size=real)
    assert line.startswith(f'learning rate {1e-4 * factor:.3g}') and '\n' not in line
    # what the config states now belongs together: scaling it again changes nothing
    scale_learning_rate(cfg, rule)
    assert cfg.optim_wrapper.optimizer.lr == pytest.approx(1e-4 * factor)


def test_processes_count(processes):
    cfg = a_config(2, accumulative_counts=3)
    assert images_per_step(cfg) == 24
    scale_learning_rate(cfg, 'linear')
    assert cfg.optim_wrapper.optimizer.lr == pytest.approx(1.5e-4)


def test_the_line_says_what_was_done():
    assert scale_learning_rate(a_config(), 'sqrt') == (
        'learning rate 3.54e-05: 0.0001 of the config, for batches of 16, times the square root of '
        '2/16, for batches of 2'
    )
    assert scale_learning_rate(a_config(), 'linear') == (
        'learning rate 1.25e-05: 0.0001 of the config, for batches of 16, times 2/16, for batches of 2'
    )
    assert scale_learning_rate(a_config(), 'none') == (
        'learning rate 0.0001 (batches of 2, the config is for 16)'
    )


@pytest.mark.parametrize(
    'asked, data, optimiser, enabled, rule',
    [
        (None, False, 'AdamW', False, None),
        (None, False, 'AdamW', True, 'linear'),  # as mmengine would
        (None, True, 'AdamW', False, 'sqrt'),
        (None, True, 'NAdam', False, 'sqrt'),
        (None, True, 'SGD', False, 'linear'),
        ('none', True, 'AdamW', True, 'none'),
        ('linear', True, 'AdamW', False, 'linear'),
        ('sqrt', False, 'SGD', False, 'sqrt'),
    ],
)
def test_which_rule(asked, data, optimiser, enabled, rule):
    cfg = a_config(optimiser=optimiser)
    cfg.auto_scale_lr.enable = enabled
    assert rule_for(cfg, asked, data) == rule


def test_a_rate_given_by_hand_stays_unless_scaling_is_asked_for():
    by_hand = ['optim_wrapper.optimizer.lr']
    assert rule_for(a_config(), None, True, by_hand) == 'none'
    assert rule_for(a_config(), None, False, by_hand) is None
    assert rule_for(a_config(), 'sqrt', True, by_hand) == 'sqrt'


def test_without_a_base_batch_only_asking_fails():
    cfg = a_config()
    cfg.pop('auto_scale_lr')
    assert rule_for(cfg, None, True) is None
    for content in (None, dict(enable=False)):
        cfg.auto_scale_lr = content
        assert rule_for(cfg, None, True) is None
        with pytest.raises(ArgumentError, match='^--auto-scale-lr needs auto_scale_lr.base_batch'):
            scale_learning_rate(cfg, 'linear')
    cfg = a_config()
    cfg.optim_wrapper.optimizer.pop('lr')  # some need none
    assert rule_for(cfg, None, True) is None
    with pytest.raises(ArgumentError, match='^--auto-scale-lr needs optim_wrapper.optimizer.lr'):
        scale_learning_rate(cfg, 'linear')
    cfg.optim_wrapper.pop('optimizer')
    assert rule_for(cfg, None, True) is None
    with pytest.raises(ArgumentError, match='^--auto-scale-lr needs optim_wrapper.optimizer.lr'):
        scale_learning_rate(cfg, 'linear')


def test_gradients_are_clipped_unless_the_config_says_otherwise():
    cfg = a_config()
    assert clip_gradients(cfg) == ['gradients are clipped at a norm of 5']
    assert cfg.optim_wrapper.clip_grad == dict(max_norm=5.0)
    for stated in (dict(max_norm=0.1), None):
        cfg = a_config(clip_grad=stated)
        assert clip_gradients(cfg) == [] and cfg.optim_wrapper.clip_grad == stated


@pytest.mark.parametrize(
    'wrapper', [dict(type='DeepSpeedOptimWrapper', optimizer={}), dict(constructor='Several')]
)
def test_other_wrappers_clip_by_themselves(wrapper):
    cfg = Config(dict(optim_wrapper=dict(wrapper)))
    assert clip_gradients(cfg) == [] and cfg.optim_wrapper == wrapper


@pytest.fixture
def bf16(monkeypatch):
    """A device that can, or cannot, compute in bf16."""

    def device(can: bool, present: bool = True):
        monkeypatch.setattr(torch.cuda, 'is_available', lambda: present)
        monkeypatch.setattr(torch.cuda, 'is_bf16_supported', lambda including_emulation: can)
        monkeypatch.setattr(runner, 'say', lambda text: None)

    return device


def mixed(backbone, **more):
    return Config(
        dict(model=dict(backbone=backbone), optim_wrapper=dict(type='AmpOptimWrapper'), **more)
    )


RANDOM = dict(type='fastervit_mm.FasterViT', init_cfg=None)


@pytest.mark.parametrize(
    'backbone, more, dtype',
    [
        (RANDOM, {}, 'bfloat16'),
        (dict(type='FasterViT'), {}, 'bfloat16'),
        (RANDOM, dict(load_from='start.pth'), 'float16'),
        (dict(RANDOM, init_cfg=dict(type='Pretrained')), {}, 'float16'),
        (dict(type='SwinTransformer'), {}, 'float16'),
    ],
)
def test_random_weights_learn_in_bf16(backbone, more, dtype, bf16):
    bf16(True)
    cfg = mixed(backbone, **more)
    choose_precision(cfg)
    assert cfg.optim_wrapper.get('dtype') == dtype


def test_a_run_that_is_resumed_keeps_its_precision(bf16):
    """Begun from a checkpoint, whose config in the work dir then has no init_cfg."""
    bf16(True)
    cfg = mixed(RANDOM, load_from='start.pth')
    choose_precision(cfg)
    cfg.load_from = None
    choose_precision(cfg)
    assert cfg.optim_wrapper.dtype == 'float16'


def test_a_stated_precision_stays(bf16):
    bf16(True)
    cfg = mixed(RANDOM)
    cfg.optim_wrapper.dtype = 'float16'
    choose_precision(cfg)
    assert cfg.optim_wrapper.dtype == 'float16'
    cfg = Config(dict(model=dict(backbone=RANDOM), optim_wrapper=dict(type='OptimWrapper')))
    choose_precision(cfg)
    assert 'dtype' not in cfg.optim_wrapper
    choose_precision(Config({}))


def test_a_device_without_bf16_keeps_fp16(bf16):
    bf16(False)
    cfg = mixed(RANDOM)
    choose_precision(cfg)
    assert cfg.optim_wrapper.dtype == 'float16'
    bf16(True, present=False)
    cfg = mixed(RANDOM)
    choose_precision(cfg)
    assert 'dtype' not in cfg.optim_wrapper
