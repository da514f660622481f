"""A checkpoint that is resumed holds what a training writes; an odd one is refused in one line."""

import copy
import random
import re
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from fastervit_mm.errors import FileError
from fastervit_mm.training.checkpoint_content import check_state_of_training, plain_states
from fastervit_mm.training.random_states import random_states
from fastervit_mm.training.taking_up import taking_up
from tests.helpers import call_tool
from tests.training.toy_run import write_config

GONE = object()
LOOP: dict = {}
LOOP['itself'] = LOOP


def is_log(path, folder):
    """Whether a file lies in a folder that mmengine names by the time of a start."""
    return path.relative_to(folder).parts[0].startswith('20')


@pytest.fixture(scope='module')
def run(tmp_path_factory):
    """A config, and the folder of a run by it that holds one checkpoint."""
    folder = tmp_path_factory.mktemp('content')
    config = write_config(folder / 'c', 1)
    call_tool('train.py', config, '--work-dir', folder / 'run')
    return write_config(folder / 'c', 2), folder / 'run'


@pytest.fixture
def changed(run):
    """The content of its checkpoint, with one part put in place of another."""
    content = torch.load(run[1] / 'epoch_1.pth', weights_only=False)

    def change(path, value):
        new = copy.deepcopy(content)
        inner = new
        *before, last = path
        for name in before:
            inner = inner[name]
        if value is GONE:
            del inner[last]
        else:
            inner[last] = value
        return new

    return change


ODD = [
    (['meta', 'dataset_meta'], 'abc'),
    (['meta', 'dataset_meta'], ['a', 'b']),
    (['meta', 'dataset_meta', 'classes'], (1, 2)),
    (['meta', 'epoch'], GONE),
    (['meta', 'epoch'], -1),
    (['meta', 'iter'], 'x'),
    (['meta', 'iter'], 2.5),
    (['meta', 'seed'], [1]),
    (['message_hub'], GONE),
    (['message_hub'], 3),
    (['message_hub', 'log_scalars'], GONE),
    (['message_hub', 'runtime_info', 'keep_ckpt_ids'], 5),
    (['message_hub', 'runtime_info', 'best_ckpt'], 7),
    (['message_hub', 'runtime_info', 'best_score'], 'high'),
    (['random_states'], 'abc'),
    (['random_states'], [1]),
    (['random_states', 0, 'torch'], torch.ones(3)),
    (['random_states', 0, 'numpy'], ('MT19937', [1, 2], 0, 0, 0.0)),
    (['random_states', 0, 'python'], GONE),
    (['optimizer'], 5),
    (['optimizer', 'param_groups'], 5),
    (['optimizer', 'param_groups'], [5]),
    (['optimizer', 'param_groups', 0, 'lr'], GONE),
    (['optimizer', 'param_groups', 0, 'params'], 6),
    (['optimizer', 'base_param_settings'], 6),
    (['optimizer', 'state'], GONE),
    (['optimizer', 'state', 0], 'abc'),
    (['optimizer', 'state', 0, 'step'], LOOP),
    (['optimizer', 'state', 0, 'exp_avg'], torch.full((4, 3), float('nan'))),
    (['optimizer', 'param_groups', 0, 'lr'], float('nan')),
    (['optimizer', 'param_groups', 0, 'lr'], -1.0),
    (['optimizer', 'param_groups', 0, 'lr'], 'x'),
    (['optimizer', 'param_groups', 0, 'initial_lr'], 'x'),
    (['optimizer', 'param_groups', 0, 'betas'], 'abc'),
    (['optimizer', 'param_groups', 0, 'betas'], (0.9, 7.0)),
    (['optimizer', 'param_groups', 0, 'betas'], (0.9,)),
    (['optimizer', 'param_groups', 0, 'eps'], None),
    (['optimizer', 'param_groups', 0, 'weight_decay'], float('nan')),
    (['optimizer', 'param_groups', 0, 'foreach'], 'x'),
    (['optimizer', 'param_groups', 0, 'params'], [0] * 6),
    (['optimizer', 'param_groups', 0, 'params'], [[0]] * 6),
    (['optimizer', 'param_groups', 0, 'amsgrad'], 3),
    (['optimizer', 'state', 99], {}),
    (['optimizer', 'state', 0, 'exp_avg'], torch.zeros(5, 5)),
    (['optimizer', 'state', 0, 'exp_avg'], GONE),
    (['optimizer', 'state', 0, 'step'], -4),
    (['optimizer', 'state', 0, 'step'], torch.ones(3)),
    (['optimizer', 'loss_scaler'], 'abc'),
    (['gradients'], 5),
    (['gradients'], {'first.weight': 3}),
    (['gradients'], {'first.weight': torch.full((4, 3), float('nan'))}),
    (['meta', 'iter'], 10**30),
    (['param_schedulers'], 5),
    (['param_schedulers', 0], 5),
    (['param_schedulers', 0, 'last_step'], 'abc'),
    (['state_dict', 'more'], 'abc'),
    (['state_dict', 'first.weight'], [1.0]),
]


@pytest.mark.parametrize(
    'path, value', ODD, ids=lambda v: '.'.join(map(str, v))[:60] if isinstance(v, list) else None
)
def test_an_odd_part_is_one_line(path, value, run, changed, tmp_path):
    config, _ = run
    torch.save(changed(path, value), tmp_path / 'odd.pth')
    output = call_tool(
        *('train.py', config, '--work-dir', tmp_path / 'new', '--resume', tmp_path / 'odd.pth'),
        expect=1,
    )
    (line,) = [line for line in output.splitlines() if line.startswith('error: ')]
    assert 'Traceback' not in output and 'checkpoint' in line
    names = [name for name in path if isinstance(name, str)] + ['class names'] * (
        'dataset_meta' in path
    )
    assert any(name in line for name in names), line


def test_a_refusal_names_the_file_and_changes_none(run, changed, tmp_path):
    config, work_dir = run
    folder = tmp_path / 'run'
    shutil.copytree(work_dir, folder, ignore=shutil.ignore_patterns('20*'))
    for path, value, words in (
        (['optimizer', 'param_groups', 0, 'betas'], 'abc', r"'abc' as .*param_groups\[0\]\.betas"),
        (['optimizer', 'param_groups', 0, 'amsgrad'], True, r'state\[0\]\.max_exp_avg_sq'),
    ):
        torch.save(changed(path, value), folder / 'epoch_1.pth')
        files = [p for p in folder.rglob('*') if p.is_file()]
        # a start in the same second as another one writes into its log
        before = {p: p.read_bytes() for p in files if not is_log(p, folder)}
        output = call_tool('train.py', config, '--work-dir', folder, '--resume', expect=1)
        (line,) = [line for line in output.splitlines() if line.startswith('error: ')]
        assert line.startswith(f'error: {folder / "epoch_1.pth"}') and re.search(words, line)
        assert {p: p.read_bytes() for p in before} == before
        new = {p for p in folder.rglob('*') if p.is_file()} - set(before)
        assert all(is_log(p, folder) for p in new)


def test_what_mmengine_cannot_take_up_is_one_line():
    runner = SimpleNamespace(_has_loaded=True)
    with pytest.raises(
        FileError, match=r"^x\.pth cannot be resumed \(KeyError: 'a'\); resume an ear"
    ):
        with taking_up(runner, 'x.pth', pytest.fail):
            raise KeyError('a')
    assert runner._has_loaded is False
    with pytest.raises(torch.OutOfMemoryError), taking_up(runner, 'x.pth', pytest.fail):
        raise torch.OutOfMemoryError('none left')


def test_one_of_a_training_is_taken(run, changed, tmp_path):
    config, work_dir = run
    shutil.copytree(work_dir, tmp_path / 'run')
    call_tool('train.py', config, '--work-dir', tmp_path / 'run', '--resume')
    assert (tmp_path / 'run/epoch_2.pth').is_file()
    whole = changed(['meta', 'seed'], None)
    for path, value in (
        (['random_states'], GONE),
        (['param_schedulers'], GONE),
        (['optimizer'], dict(one=whole['optimizer'], other=whole['optimizer'])),
        (['optimizer', 'loss_scaler'], {}),
        (['optimizer', 'base_param_settings'], dict(lr=0.1, params=torch.zeros(1))),
        (['param_schedulers'], dict(one=whole['param_schedulers'])),
    ):
        check_state_of_training(changed(path, value))
    with pytest.raises(FileError, match='as optimizer.param_groups'):
        check_state_of_training(changed(['optimizer'], dict(one=dict(param_groups=1))))


def test_looking_at_random_states_changes_none(changed):
    content = changed(['meta', 'seed'], None)
    for states in (content['random_states'], [dict(content['random_states'][0], torch=3)]):
        before = random_states()
        if states is content['random_states']:
            check_state_of_training(content)
        else:
            with pytest.raises(FileError, match='random_states'):
                check_state_of_training(dict(content, random_states=states))
        after = random_states()
        assert before['python'] == after['python'] and before['numpy'] == after['numpy']
        assert torch.equal(before['torch'], after['torch'])
    assert isinstance(random.random(), float)


def test_what_is_no_plain_data_is_left_out():
    state = dict(
        last_step=3, marks={1: [2.0, None]}, method=random.random, x=np.float64(1), of=[len]
    )
    kept = dict(last_step=3, marks={1: [2.0, None]}, x=1.0)
    assert plain_states([state]) == [kept]
    assert plain_states(dict(a=[state])) == dict(a=[kept])
