"""A schedule of another length, against tables worked out by hand."""

import pytest
from mmengine.config import Config

from fastervit_mm.errors import ArgumentError
from fastervit_mm.training import schedule
from fastervit_mm.training.schedule import fit_schedule, scaled_scheduler

WARM_UP = dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=50)
STEPS = dict(type='MultiStepLR', by_epoch=True, begin=0, end=36, milestones=[27, 33], gamma=0.1)
COSINE = dict(type='CosineAnnealingLR', by_epoch=True, begin=6, end=12, T_max=6, eta_min=0)
BY_EPOCH = dict(type='LinearLR', start_factor=0.01, begin=0, end=2)


@pytest.mark.parametrize(
    'scheduler, factor, limit, changes',
    [
        (WARM_UP, 4.0, 100, {}),
        (WARM_UP, 4.0, 50, {}),
        (WARM_UP, 0.1, 49, dict(end=49)),
        (WARM_UP, 0.1, 2, dict(end=2)),
        (BY_EPOCH, 3.0, 2, dict(end=6)),  # in epochs: part of the schedule
        (STEPS, 1.0, 9, {}),
        (STEPS, 1 / 3, 9, dict(end=12, milestones=[9, 11])),
        (STEPS, 2.0, 9, dict(end=72, milestones=[54, 66])),
        (STEPS, 1 / 18, 9, dict(end=2, milestones=[1])),  # 1.5 and 1.83, before the end
        (STEPS, 1 / 36, 9, dict(end=1, milestones=[])),
        (STEPS, 1 / 100, 9, dict(end=1, milestones=[])),  # 0.36, 0.27 and 0.33
        (COSINE, 0.5, 9, dict(begin=3, end=6, T_max=3)),
        (COSINE, 1 / 12, 9, dict(begin=0, end=1, T_max=1)),  # 0.5, 1 and 0.5
        (dict(type='PolyLR', power=1.0, by_epoch=False, begin=0, end=40), 0.5, 9, dict(end=20)),
        (dict(type='ConstantLR', by_epoch=False), 0.5, 9, {}),
    ],
)
def test_a_scheduler_scaled_by_hand(scheduler, factor, limit, changes):
    before = dict(scheduler)
    assert scaled_scheduler(scheduler, factor, limit) == {**before, **changes}
    assert scheduler == before


IN_ITERATIONS = {**STEPS, 'by_epoch': False}


@pytest.mark.parametrize(
    'scheduler, factor, expected',
    [
        (STEPS, 1 / 3, dict(STEPS, end=12, milestones=[9, 11])),
        # 10 iterations an epoch: 75 % and 91.7 % of the training, whatever its length
        (STEPS, 1 / 12, dict(IN_ITERATIONS, end=30, milestones=[22, 27])),
        (STEPS, 1 / 18, dict(IN_ITERATIONS, end=20, milestones=[15, 18])),
        (STEPS, 1 / 36, dict(IN_ITERATIONS, end=10, milestones=[8, 9])),
        (STEPS, 1 / 6, dict(IN_ITERATIONS, end=60, milestones=[45, 55])),  # not 4 and 6
        (dict(STEPS, milestones=[11], end=12), 0.5, dict(IN_ITERATIONS, end=60, milestones=[55])),
        (COSINE, 1 / 12, dict(COSINE, by_epoch=False, begin=5, end=10, T_max=5)),
        (
            dict(COSINE, convert_to_iter_based=True),
            1 / 12,
            dict(COSINE, by_epoch=False, begin=5, end=10, T_max=5),
        ),
    ],
)
def test_where_epochs_are_too_coarse_iterations_count(scheduler, factor, expected):
    assert scaled_scheduler(scheduler, factor, 9, per_epoch=10) == expected


def by_epochs(epochs=36, batch=2, val_interval=1, **more):
    """As the 3x schedule."""
    return Config(
        dict(
            train_dataloader=dict(batch_size=batch),
            train_cfg=dict(max_epochs=epochs, val_interval=val_interval),
            param_scheduler=[
                dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=1000),
                dict(type='MultiStepLR', by_epoch=True, begin=0, end=36, milestones=[27, 33]),
            ],
            default_hooks=dict(checkpoint=dict(interval=5)),
            **more,
        )
    )


def by_iterations(iters=160000, batch=4, val_interval=16000):
    """As the 160k schedule."""
    return Config(
        dict(
            train_dataloader=dict(batch_size=batch),
            train_cfg=dict(max_iters=iters, val_interval=val_interval),
            param_scheduler=[
                dict(type='LinearLR', start_factor=1e-6, by_epoch=False, begin=0, end=1500),
                dict(type='PolyLR', power=1.0, by_epoch=False, begin=1500, end=160000),
            ],
            default_hooks=dict(checkpoint=dict(interval=16000)),
        )
    )


@pytest.mark.parametrize(
    'images, epochs, iters, total, length, warm_up, end, milestones',
    [
        # 10 images in batches of 2: 5 iterations an epoch
        (10, 12, None, 60, 12, 6, 12, [9, 11]),
        (10, 36, None, 180, 36, 18, 36, [27, 33]),
        (9, 12, None, 60, 12, 6, 12, [9, 11]),  # the last batch has one
        (11, 12, None, 72, 12, 7, 12, [9, 11]),
        (10, None, 60, 60, 12, 6, 12, [9, 11]),
        (10, None, 56, 60, 12, 6, 12, [9, 11]),  # whole epochs
        (10, None, 61, 65, 13, 6, 13, [10, 12]),  # 9.75, 11.9
        (2000, 36, None, 36000, 36, 1000, 36, [27, 33]),
        (10, None, None, 180, 36, 18, 36, [27, 33]),
    ],
)
def test_epochs_by_hand(images, epochs, iters, total, length, warm_up, end, milestones):
    cfg = by_epochs()
    assert fit_schedule(cfg, images, epochs, iters) == total
    assert cfg.train_cfg == dict(max_epochs=length, val_interval=1)
    linear, steps = cfg.param_scheduler
    assert (linear['begin'], linear['end'], linear['start_factor']) == (0, warm_up, 0.001)
    assert steps['by_epoch'] is True
    assert (steps['begin'], steps['end'], steps['milestones']) == (0, end, milestones)
    assert cfg.default_hooks.checkpoint.interval == 5  # in epochs: as it was


@pytest.mark.parametrize(
    'images, epochs, total, warm_up, milestones',
    [
        (10, 1, 5, 2, [4]),  # 3.75 and 4.58, before the end; a warm-up of 1 would never end
        (2000, 3, 3000, 300, [2250, 2750]),
        (0, 2, 2, 2, [1]),
        (1, 1, 1, 2, []),  # no room
    ],
)
def test_few_epochs_by_hand(images, epochs, total, warm_up, milestones):
    """Drops at 75 % and 92 % of the iterations."""
    cfg = by_epochs()
    assert fit_schedule(cfg, images, epochs, None) == total
    assert cfg.train_cfg == dict(max_epochs=epochs, val_interval=1)
    linear, steps = cfg.param_scheduler
    assert linear['end'] == warm_up
    assert steps['by_epoch'] is False
    assert (steps['begin'], steps['end'], steps['milestones']) == (0, total, milestones)


@pytest.mark.parametrize('epochs', [*range(1, 41), 100])
@pytest.mark.parametrize('images', [3, 50, 777])
def test_drops_are_kept_and_none_is_the_end(epochs, images):
    """Both of them, at their share of the training, at any length."""
    cfg = by_epochs()
    total = fit_schedule(cfg, images, epochs, None)
    warm_up, steps = cfg.param_scheduler
    assert warm_up['end'] <= max(2, 0.1 * total + 0.5)
    unit = 1 if not steps['by_epoch'] else total / epochs
    end = steps['end'] * unit
    drops = [m * unit for m in steps['milestones']]
    assert end == total and all(d < end for d in drops)
    if total > 12:
        first, second = drops
        assert abs(first - 0.75 * total) <= unit / 2 and first < second
        assert abs(second - 33 / 36 * total) <= unit / 2 + 0.5


def test_with_a_length_given_by_hand_only_the_warm_up_is_fitted():
    """A run that is stopped early and goes on has the rates of one that was never stopped."""
    cfg = by_epochs(epochs=3)
    fit_schedule(cfg, 20, None, None, by_hand=['train_cfg.max_epochs'])
    warm_up, steps = cfg.param_scheduler
    assert warm_up['end'] == 3 and steps == by_epochs().param_scheduler[1]
    cfg = by_epochs(epochs=3)  # --epochs comes after it
    fit_schedule(cfg, 20, 6, None, by_hand=['train_cfg.max_epochs'])
    assert cfg.param_scheduler[1]['end'] == 60
    cfg = by_iterations(iters=500)
    fit_schedule(cfg, 20, None, None, by_hand=['train_cfg.max_iters'])
    warm_up, poly = cfg.param_scheduler
    assert (warm_up['end'], poly['begin'], poly['end']) == (50, 50, 160000)


@pytest.mark.parametrize('epochs, length', [(None, 3), (6, 6)])
def test_a_schedule_that_does_not_fit_the_length_is_fitted(epochs, length):
    """--cfg-options train_cfg.max_epochs=3 leaves a schedule of 36."""
    cfg = by_epochs(epochs=3)
    assert fit_schedule(cfg, 2000, epochs, None) == 1000 * length
    assert cfg.param_scheduler[1]['milestones'] == [750 * length, round(11000 * length / 12)]


def test_a_schedule_that_does_not_say_where_it_ends():
    """Mmengine's own default is the end of the training."""
    cfg = by_epochs(epochs=12)
    cfg.param_scheduler = [dict(type='MultiStepLR', milestones=[8, 11])]
    fit_schedule(cfg, 100, 24, None)
    assert cfg.param_scheduler == [dict(type='MultiStepLR', milestones=[16, 22], end=24)]
    cfg = by_epochs(epochs=6)  # shortened by hand: the milestones tell of 12
    cfg.param_scheduler = [dict(type='MultiStepLR', milestones=[8, 11])]
    fit_schedule(cfg, 100, None, None)
    assert cfg.param_scheduler[0]['end'] == 300
    assert cfg.param_scheduler[0]['milestones'] == [200, 275]


def test_a_scheduler_in_the_other_unit_is_fitted_too():
    """A decay of 90000 iterations in a training of epochs."""
    cfg = by_epochs()
    cfg.param_scheduler = [
        dict(type='LinearLR', by_epoch=False, begin=0, end=500),
        dict(type='PolyLR', by_epoch=False, begin=500, end=90000),
    ]
    assert fit_schedule(cfg, 50, 4, None) == 100
    assert [(s['begin'], s['end']) for s in cfg.param_scheduler] == [(0, 10), (10, 100)]


@pytest.mark.parametrize(
    'images, epochs, iters, length, warm_up, begin, interval',
    [
        # 10 images in batches of 4: 3 iterations an epoch
        (10, None, 320000, 320000, 1500, 1500, 16000),
        (10, None, None, 160000, 1500, 1500, 16000),
        (10, None, 16000, 16000, 1500, 1500, 1600),
        (10, None, 8000, 8000, 800, 800, 800),
        (10, None, 1000, 1000, 100, 100, 100),
        (10, 100, None, 300, 30, 30, 30),
        (8, 100, None, 200, 20, 20, 20),
        (10, None, 55, 55, 6, 6, 10),  # not more often than every ten iterations
        (10, None, 3, 3, 2, 2, 3),
        (10, None, 2, 2, 2, 1, 2),  # the decay has an iteration at least
        (10, None, 1, 1, 2, 0, 1),
    ],
)
def test_iterations_by_hand(images, epochs, iters, length, warm_up, begin, interval):
    cfg = by_iterations()
    assert fit_schedule(cfg, images, epochs, iters) == length
    assert cfg.train_cfg == dict(max_iters=length, val_interval=interval)
    linear, poly = cfg.param_scheduler
    assert (linear['begin'], linear['end']) == (0, warm_up)
    assert (poly['begin'], poly['end'], poly['power']) == (begin, length, 1.0)
    assert cfg.default_hooks.checkpoint.interval == interval


@pytest.mark.parametrize(
    'interval, epochs, expected', [(5, 3, 3), (5, 5, 5), (5, 9, 5), (0, 3, 1), (None, 3, 1)]
)
def test_validation_happens_once_at_least(interval, epochs, expected):
    cfg = by_epochs(val_interval=interval)
    if interval is None:
        cfg.train_cfg.pop('val_interval')
    fit_schedule(cfg, 10, epochs, None)
    assert cfg.train_cfg.val_interval == expected


def test_an_interval_of_no_iterations_becomes_one():
    cfg = by_iterations(val_interval=0)
    fit_schedule(cfg, 10, None, 100)
    assert cfg.train_cfg.val_interval == 1


@pytest.mark.parametrize('checkpoint', [dict(interval=-1), dict(interval=0), {}])
def test_a_hook_that_never_saves_never_does(checkpoint):
    """Mmengine's default interval is -1."""
    cfg = by_iterations()
    cfg.default_hooks.checkpoint = dict(checkpoint, save_last=True)
    fit_schedule(cfg, 10, None, 100)
    assert cfg.default_hooks.checkpoint == dict(checkpoint, save_last=True)


def test_a_short_training_keeps_frequent_checkpoints():
    cfg = by_iterations(val_interval=10)
    cfg.default_hooks.checkpoint.interval = 20
    fit_schedule(cfg, 10, None, 100)
    assert cfg.train_cfg.val_interval == cfg.default_hooks.checkpoint.interval == 10
    cfg = by_iterations(val_interval=7)
    cfg.default_hooks.checkpoint.interval = 3
    fit_schedule(cfg, 10, None, 100)
    assert cfg.train_cfg.val_interval == 7 and cfg.default_hooks.checkpoint.interval == 3


@pytest.mark.parametrize(
    'processes, epochs, iters, total', [(4, 3, None, 9), (1, 3, None, 30), (4, None, 7, 9)]
)
def test_each_process_takes_a_batch(processes, epochs, iters, total, monkeypatch):
    """20 images in batches of 2, by 4 processes: 3 iterations an epoch."""
    monkeypatch.setattr(schedule, 'get_world_size', lambda: processes)
    cfg = by_epochs()
    assert fit_schedule(cfg, 20, epochs, iters) == total
    assert cfg.train_cfg.max_epochs == 3


def test_configs_without_schedulers_or_checkpoints_are_fine():
    for scheduler in ([], None):
        cfg = Config(
            dict(
                train_dataloader=dict(batch_size=2),
                train_cfg=dict(max_iters=10),
                param_scheduler=scheduler,
                default_hooks=dict(),
            )
        )
        assert fit_schedule(cfg, 10, None, 4) == 4
        assert cfg.param_scheduler == []
    cfg.pop('param_scheduler')
    assert fit_schedule(cfg, 10, None, 6) == 6


def decays(*schedulers):
    cfg = by_iterations(iters=100)
    cfg.param_scheduler = list(schedulers)
    fit_schedule(cfg, 10, None, 50)  # the warm-up may have 5
    return [(s.get('begin'), s['end']) for s in cfg.param_scheduler]


def test_a_decay_begins_where_the_warm_up_ends():
    warm_up = dict(type='LinearLR', by_epoch=False, begin=0, end=20)
    late = dict(type='PolyLR', by_epoch=False, begin=20, end=100)
    from_the_start = dict(type='PolyLR', by_epoch=False, begin=0, end=100)
    without_begin = dict(type='PolyLR', by_epoch=False, end=100)
    in_epochs = dict(type='MultiStepLR', begin=20, end=100)
    assert decays(warm_up, late) == [(0, 5), (5, 50)]
    assert decays(warm_up, from_the_start, without_begin) == [(0, 5), (0, 50), (None, 50)]
    assert decays(warm_up, in_epochs) == [(0, 5), (3, 17)]  # 3 iterations an epoch
    assert decays(late) == [(10, 50)]  # no warm-up: scaled
    in_epochs = dict(type='LinearLR', begin=0, end=30)
    assert decays(in_epochs, late) == [(0, 5), (10, 50)]  # a tenth at most
    second = dict(type='LinearLR', by_epoch=False, begin=0, end=3)
    assert decays(warm_up, second, late) == [(0, 5), (0, 3), (5, 50)]  # the first one's end


@pytest.mark.parametrize(
    'epochs, iters, message',
    [
        (1, 1, '^--epochs and --iters are two words for one thing; give one$'),
        (0, None, '^--epochs is 0; it must be at least 1$'),
        (None, -3, '^--iters is -3; it must be at least 1$'),
    ],
)
def test_lengths_that_are_not_allowed(epochs, iters, message):
    with pytest.raises(ArgumentError, match=message):
        fit_schedule(by_epochs(), 10, epochs, iters)


YOLOX = [
    dict(type='mmdet.QuadraticWarmupLR', by_epoch=True, begin=0, end=5, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', by_epoch=True, begin=5, T_max=285, end=285, eta_min=1e-5),
    dict(type='ConstantLR', by_epoch=True, factor=1, begin=285, end=300),
]


def fitted(schedulers, epochs=300, iters=None, images=1000, new=None, **more):
    """In batches of 2, 500 iterations an epoch."""
    cfg = by_epochs(epochs) if iters is None else by_iterations(iters, batch=2)
    cfg.param_scheduler = schedulers
    fit_schedule(cfg, images, new, None, **more)
    return cfg.param_scheduler


@pytest.mark.parametrize(
    'schedulers, epochs, iters',
    [
        (YOLOX, 300, None),
        (
            [  # flat, then a cosine
                dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=1000),
                dict(type='CosineAnnealingLR', by_epoch=True, begin=150, end=300, T_max=150),
            ],
            300,
            None,
        ),
        (
            [
                dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=1000),
                dict(
                    type='CosineAnnealingLR', by_epoch=False, begin=80000, end=160000, T_max=80000
                ),
            ],
            None,
            160000,
        ),
        (
            [
                dict(
                    type='LinearLR',
                    start_factor=1,
                    end_factor=0,
                    by_epoch=False,
                    begin=1500,
                    end=160000,
                )
            ],
            None,
            160000,
        ),
        (
            [
                dict(
                    type='LinearLR',
                    start_factor=1,
                    end_factor=0,
                    by_epoch=False,
                    begin=0,
                    end=160000,
                )
            ],
            None,
            160000,
        ),
        ([dict(type='QuadraticWarmupLR', by_epoch=False, begin=0, end=1000)], 300, None),
        ([dict(type='mmengine.LinearLR', by_epoch=False, begin=0, end=1000)], 300, None),
        ([dict(type='LinearMomentum', by_epoch=False, begin=0, end=1000)], 300, None),
        ([dict(type='ExponentialLR', gamma=0.9, begin=3, end=300)], 300, None),
    ],
)
def test_a_schedule_that_fits_stays_as_it_is(schedulers, epochs, iters):
    assert fitted([dict(s) for s in schedulers], epochs, iters) == schedulers


@pytest.mark.parametrize('end', [10**9, float('inf'), None])
def test_an_end_that_means_never(end):
    steps = dict(type='MultiStepLR', by_epoch=True, begin=0, end=end, milestones=[200, 275])
    (found,) = fitted([steps], new=30)
    assert found == dict(steps, end=30, milestones=[20, 28])


def test_a_schedule_of_three_parts_keeps_their_order():
    warm_up, cosine, flat = fitted(YOLOX, new=30)
    # half an epoch of 500 iterations, and the cosine from there on
    assert (warm_up['by_epoch'], warm_up['begin'], warm_up['end']) == (False, 0, 250)
    assert 'convert_to_iter_based' not in warm_up
    assert (flat['begin'], flat['end']) == (28, 30)  # 28.5
    assert (cosine['begin'], cosine['end']) in ((0, 28), (1, 28))
    # a warm-up of 40 epochs in 300 is more than a tenth
    long = [dict(YOLOX[0], end=40), dict(YOLOX[1], begin=40, T_max=245), YOLOX[2]]
    warm_up, cosine, _ = fitted(long)
    assert warm_up['end'] == 15000 and not warm_up['by_epoch']
    assert (cosine['begin'], cosine['T_max'], cosine['end']) == (30, 255, 285)


def test_a_constant_warm_up_is_a_tenth_at_most():
    constant = dict(type='ConstantLR', factor=0.1, by_epoch=False, begin=0, end=500)
    assert fitted([constant], images=20, new=12)[0]['end'] == 12


def test_decay_follows_the_warm_up_and_nothing_else_moves():
    warm_up = dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=1000)
    cosine = dict(type='CosineAnnealingLR', by_epoch=False, begin=1000, end=9000, T_max=8000)
    late = dict(type='CosineAnnealingLR', by_epoch=False, begin=4500, end=9000, T_max=4500)
    _, found = fitted([warm_up, cosine], None, 9000)
    assert (found['begin'], found['end'], found['T_max']) == (900, 9000, 8100)
    _, found = fitted([warm_up, late], None, 9000)
    assert (found['begin'], found['end'], found['T_max']) == (4500, 9000, 4500)


@pytest.mark.parametrize(
    'by_hand, kept',
    [
        (['param_scheduler.1.milestones'], [False, True]),
        (['param_scheduler.0.end'], [True, False]),
        (['param_scheduler'], [True, True]),
        (['param_scheduler.10.end', 'train_cfg.max_epochs'], [False, False]),
    ],
)
def test_schedulers_given_by_hand_stay(by_hand, kept):
    given = by_epochs().param_scheduler
    found = fitted(given, 36, images=20, new=6, by_hand=by_hand)
    assert [f == g for f, g in zip(found, by_epochs().param_scheduler, strict=True)] == kept


def test_intervals_given_by_hand_stay():
    cfg = by_iterations()
    names = ['train_cfg.val_interval', 'default_hooks.checkpoint.interval']
    fit_schedule(cfg, 10, None, 1000, by_hand=names[:1])
    assert (cfg.train_cfg.val_interval, cfg.default_hooks.checkpoint.interval) == (16000, 100)
    cfg = by_iterations()
    fit_schedule(cfg, 10, None, 1000, by_hand=names[1:])
    assert (cfg.train_cfg.val_interval, cfg.default_hooks.checkpoint.interval) == (100, 16000)


def test_a_single_scheduler_need_not_be_in_a_list():
    (found,) = fitted(dict(type='CosineAnnealingLR', begin=0, end=300, T_max=300), new=30)
    assert (found['end'], found['T_max']) == (30, 30)


def test_schedulers_of_several_optimisers_are_left_alone():
    several = dict(generator=[dict(type='MultiStepLR', milestones=[1])])
    assert fitted(several, new=30) == several
