"""Resuming draws the random numbers that the uninterrupted run would have drawn.

A toy model notes in its one weight what every generator gives at each step.
"""

import random

import numpy as np
import pytest
import torch
from mmengine.evaluator import BaseMetric
from mmengine.model import BaseModel
from mmengine.runner import IterBasedTrainLoop, Runner
from torch import nn
from torch.utils.data import Dataset

from fastervit_mm.training import hooks
from fastervit_mm.training.hooks import ResumableCheckpointHook, random_states, set_random_states
from tests.helpers import forget_earlier_runs


def draw() -> list[float]:
    """A number of each generator, a Gaussian one too (which Python and numpy make two at a time)."""
    return [
        random.random(),
        random.gauss(0, 1),
        np.random.rand(),
        np.random.randn(),
        float(torch.rand(())),
    ]


@pytest.fixture(autouse=True)
def nothing_left(monkeypatch):
    """Generators as they were, and no run that mmengine knows."""
    monkeypatch.setattr('time.sleep', lambda seconds: None)  # mmengine waits at an epoch's end
    states = random_states()
    yield
    set_random_states(states)
    forget_earlier_runs()


@pytest.mark.parametrize('before', range(3))
def test_generators_go_on_from_where_they_were(before):
    random.seed(1), np.random.seed(2), torch.manual_seed(3)
    for _ in range(before):
        draw()
    states = random_states()
    first = [draw() for _ in range(3)]
    set_random_states(states)
    assert [draw() for _ in range(3)] == first
    assert random_states()['python'] != states['python']


def test_states_are_loaded_safely_and_unchanged(tmp_path):
    draw()
    states = random_states()
    expected = draw()
    torch.save(dict(random_states=[states]), tmp_path / 'c.pth')
    set_random_states(torch.load(tmp_path / 'c.pth', weights_only=True)['random_states'][0])
    assert draw() == expected


def test_a_gpus_generator_goes_on_too(monkeypatch):
    gpu = {}
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    monkeypatch.setattr(torch.cuda, 'get_rng_state', lambda: torch.tensor([7]))
    monkeypatch.setattr(torch.cuda, 'set_rng_state', lambda state: gpu.update(state=state))
    states = random_states()
    set_random_states({**states})
    assert gpu['state'].tolist() == [7]
    gpu.clear()
    del states['cuda']  # written without a GPU
    set_random_states(states)
    assert gpu == {}
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    assert 'cuda' not in random_states()
    set_random_states({**states, 'cuda': torch.tensor([7])})  # resumed without a GPU
    assert gpu == {}


class Numbers(Dataset):
    """Six items: their index, and a number drawn where one is loaded."""

    def __len__(self):
        return 6

    def __getitem__(self, index):
        return torch.tensor([float(index), float(torch.rand(()))])


class Notes(BaseModel):
    """Adds to its history what it was given and what all generators say."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.register_buffer('rows', torch.zeros(200, 7, dtype=torch.float64))
        self.register_buffer('used', torch.tensor(0))

    @property
    def history(self):
        return self.rows[: self.used]

    def forward(self, inputs, mode='tensor'):
        if mode == 'predict':
            draw()  # a validation that draws
            return [0]
        for item in inputs:
            row = torch.tensor([[*item.tolist(), *draw()]], dtype=torch.float64)
            self.rows[self.used] = row[0]
            self.used += 1
        return dict(loss=(self.weight * inputs.sum()).sum())

    def train_step(self, data, optim_wrapper):
        return super().train_step(dict(inputs=data), optim_wrapper)

    def val_step(self, data):
        return self(data, mode='predict')


class Nothing(BaseMetric):
    """A metric of no value."""

    default_prefix = 'toy'

    def process(self, data_batch, data_samples):
        self.results.append(0)

    def compute_metrics(self, results):
        return dict(score=float(len(results)))


def loader():
    return dict(dataset=Numbers(), batch_size=2, num_workers=0, collate_fn=torch.stack)


def train(work_dir, length, by_epoch, *, sampler='DefaultSampler', val_interval=None, **resume):
    """The history of a training of ``length`` epochs or iterations, checkpoints at each."""
    forget_earlier_runs()
    kind, key = ('Epoch', 'max_epochs') if by_epoch else ('Iter', 'max_iters')
    validation = {}
    train_cfg = {'type': f'{kind}BasedTrainLoop', key: length}
    if val_interval is not None:
        train_cfg['val_interval'] = val_interval
        validation = dict(
            val_dataloader=dict(**loader(), sampler=dict(type='DefaultSampler', shuffle=False)),
            val_cfg=dict(type='ValLoop'),
            val_evaluator=[Nothing()],
        )
    checkpoint = dict(
        type='fastervit_mm.ResumableCheckpointHook', interval=1, by_epoch=by_epoch, save_best=None
    )
    runner = Runner(
        model=Notes(),
        work_dir=str(work_dir),
        train_dataloader=dict(**loader(), sampler=dict(type=sampler, shuffle=True)),
        train_cfg=train_cfg,
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1)),
        default_hooks=dict(checkpoint=checkpoint, runtime_info=dict(type='RuntimeInfoHook')),
        randomness=dict(seed=5),
        experiment_name=f'{work_dir.name}_{length}',
        log_level='WARNING',
        **validation,
        **resume,
    )
    runner.train()
    return runner.model.history


def same(first, second):
    return first.shape == second.shape and bool((first == second).all())


@pytest.mark.parametrize('val_interval', [None, 1])
def test_epochs_resume_exactly(val_interval, tmp_path):
    options = dict(by_epoch=True, val_interval=val_interval)
    whole = train(tmp_path / 'whole', 3, **options)
    assert len(whole) == 18
    train(tmp_path / 'parts', 2, **options)
    draw()  # another process would not have these generators either
    assert same(train(tmp_path / 'parts', 3, resume=True, **options), whole)


@pytest.mark.parametrize('sampler', ['InfiniteSampler', 'DefaultSampler'])
@pytest.mark.parametrize('val_interval', [None, 2])
@pytest.mark.parametrize('stop', [1, 4])
def test_iterations_resume_exactly(sampler, val_interval, stop, tmp_path):
    """Six images in batches of two: iteration 4 is in the second round."""
    options = dict(by_epoch=False, val_interval=val_interval, sampler=sampler)
    whole = train(tmp_path / 'whole', 6, **options)
    assert len(whole) == 12
    train(tmp_path / 'parts', stop, **options)
    draw()
    assert same(train(tmp_path / 'parts', 6, resume=True, **options), whole)


def test_validation_makes_no_difference(tmp_path):
    plain = train(tmp_path / 'plain', 3, True)
    assert same(train(tmp_path / 'often', 3, True, val_interval=1), plain)
    assert same(train(tmp_path / 'seldom', 3, True, val_interval=2), plain)


def test_loading_without_resuming_starts_the_numbers_again(tmp_path):
    whole = train(tmp_path / 'whole', 2, True)
    again = train(tmp_path / 'again', 1, True, load_from=str(tmp_path / 'whole/epoch_2.pth'))
    assert same(again[:12], whole)  # loaded with the weights
    assert same(again[12:], whole[:6])


def test_a_checkpoint_has_the_states_of_each_process(tmp_path):
    train(tmp_path, 1, True)
    checkpoint = torch.load(tmp_path / 'epoch_1.pth', weights_only=False)
    (states,) = checkpoint['random_states']
    assert set(states) >= {'python', 'numpy', 'torch'}


class Loop:
    """Stands for a train loop in its middle."""

    iter = 0


class Running:
    """Stands for a runner that has loaded a checkpoint."""

    def __init__(self, resumes=True):
        self._resume, self.train_loop, self.optim_wrapper = resumes, Loop(), None


@pytest.fixture
def processes(monkeypatch):
    """A function that makes this process one of several."""

    def pretend(count, rank=0, others=()):
        monkeypatch.setattr(hooks, 'get_world_size', lambda: count)
        monkeypatch.setattr(hooks, 'get_rank', lambda: rank)
        monkeypatch.setattr(hooks, 'all_gather_object', lambda own: [own, *others])

    return pretend


def states_of(seed):
    random.seed(seed), np.random.seed(seed), torch.manual_seed(seed)
    return random_states()


@pytest.mark.parametrize('rank', [0, 1])
def test_each_process_takes_up_its_own_states(rank, processes):
    processes(2, rank)
    expected, states = [], []
    for seed in (1, 2):
        states.append(states_of(seed))
        expected.append(draw())
    hook = ResumableCheckpointHook(interval=1)
    hook.after_load_checkpoint(Running(), dict(random_states=states))
    hook.before_train_epoch(Running())
    assert draw() == expected[rank]
    second = draw()
    states_of(7)
    hook.before_train_epoch(Running())  # once only
    assert draw() != expected[rank] and second != expected[rank]


class Batches:
    """An iterator whose loader draws a number when it starts."""

    def __init__(self):
        self.left, self.skipped = iter('abcde'), []

    def _ensure_iterator(self):
        draw()

    def skip_iter(self, count):
        self.skipped.append(count)
        for _ in range(count):
            next(self.left)

    def __next__(self):
        return next(self.left)


@pytest.mark.parametrize('skips', [False, True])
def test_states_come_back_after_the_batches_that_were_seen(skips):
    """Older mmengine goes through them one by one, newer skips them."""
    states = states_of(3)
    expected = draw()
    hook, runner = ResumableCheckpointHook(interval=1), Running()
    hook.after_load_checkpoint(runner, dict(random_states=[states]))
    loop = runner.train_loop = object.__new__(IterBasedTrainLoop)
    loop._iter, loop.dataloader_iterator = 2, Batches()
    hook.before_train_epoch(runner)
    batches = loop.dataloader_iterator
    assert iter(batches) is batches
    if skips:
        batches.skip_iter(2)
        assert batches.batches.skipped == [2]
    else:
        assert [next(batches), next(batches)] == ['a', 'b']
    assert draw() != expected
    assert next(batches) == 'c' and draw() == expected
    assert next(batches) == 'd' and draw() != expected


@pytest.mark.parametrize('written, running', [(2, 1), (1, 2)])
def test_another_number_of_processes_is_said(written, running, processes, capsys):
    processes(running)
    hook = ResumableCheckpointHook(interval=1)
    hook.after_load_checkpoint(
        Running(), dict(random_states=[states_of(i) for i in range(written)])
    )
    random.seed(5)
    state = random.getstate()
    hook.before_train_epoch(Running())
    assert random.getstate() == state
    said = f'the checkpoint was written by {written} processes, this run has {running}'
    printed = capsys.readouterr()
    assert said in printed.out + printed.err


@pytest.mark.parametrize(
    'runner, checkpoint', [(Running(), {}), (Running(False), dict(random_states=[states_of(1)]))]
)
def test_nothing_to_take_up_changes_nothing(runner, checkpoint):
    hook = ResumableCheckpointHook(interval=1)
    hook.after_load_checkpoint(runner, checkpoint)
    random.seed(5)
    state = random.getstate()
    hook.before_train_epoch(runner)
    assert random.getstate() == state


def saved(hook, monkeypatch):
    """What every process does when a checkpoint is saved; the main one's checkpoint."""
    checkpoint = {}
    base = ResumableCheckpointHook.__mro__[1]
    monkeypatch.setattr(
        base,
        '_save_checkpoint_with_step',
        lambda self, runner, step, meta: self.before_save_checkpoint(runner, checkpoint),
    )
    hook._save_checkpoint_with_step(Running(), 1, {})
    return checkpoint


def test_a_checkpoint_of_two_processes_has_both_states(processes, monkeypatch):
    other = states_of(2)
    processes(2, others=[other])
    own = states_of(1)
    hook = ResumableCheckpointHook(interval=1)
    first, second = saved(hook, monkeypatch)['random_states']
    assert first['python'] == own['python'] and second is other
    draw()
    hook.before_val(None)
    before = random_states()
    draw()
    first, second = saved(hook, monkeypatch)['random_states']  # the best one's, in a validation
    assert first['python'] == before['python']
    late = {}
    hook.before_save_checkpoint(None, late)  # nobody has gathered
    assert late == {}


def test_a_checkpoint_in_a_validation_has_the_states_before_it(monkeypatch):
    monkeypatch.setattr(hooks, 'all_gather_object', lambda own: pytest.fail('one process'))
    hook = ResumableCheckpointHook(interval=1)
    hook.before_val(None)
    before = random_states()
    draw()
    (states,) = saved(hook, monkeypatch)['random_states']
    assert states['python'] == before['python']
    hook.after_val(None)
    assert random_states()['python'] == before['python']
    draw()
    now = random_states()
    (states,) = saved(hook, monkeypatch)['random_states']
    assert states['python'] == now['python']
    hook.after_val(None)  # without a start: nothing to go back to
    assert random_states()['python'] == now['python']
