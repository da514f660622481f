"""One process of several is killed, hangs or has no finite loss: all end soon, and a run goes on."""

import json

import pytest
import torch

from fastervit_mm.training.finite_loss import FILE
from tests.distributed import toy_run
from tests.distributed.start import in_processes, torchrun
from tests.helpers import ROOT

SCRIPT = ROOT / 'tests/distributed/toy_run.py'


@pytest.fixture(scope='module')
def uninterrupted(tmp_path_factory):
    """The end weights of each process of a run that nothing happens to."""
    weights, other = in_processes(2, toy_run.train, tmp_path_factory.mktemp('whole'))
    assert same(weights, other)
    return weights


def same(weights, other):
    return all(torch.equal(value, other[name]) for name, value in weights.items())


def lines_of_ours(done) -> list[str]:
    """What the processes say as they end, without what torchrun says of them."""
    said = done.stderr.split('torch/distributed/elastic')[0].splitlines()
    return [line for line in said if line.startswith(('error: ', 'Traceback', '[rank'))]


def ends_soon(work_dir, how: str, rank: int):
    """Run it to its end: `torchrun` waits minutes for that, a process for another half an hour."""
    done = torchrun(SCRIPT, work_dir, how, rank)
    assert done.returncode == 1
    assert len(lines_of_ours(done)) <= 1, done.stderr
    return done


@pytest.mark.parametrize(
    'how, rank',
    [
        ('kill 6', 0),
        pytest.param('kill 6', 1, marks=pytest.mark.long),
        pytest.param('kill val', 0, marks=pytest.mark.long),
        pytest.param('kill val', 1, marks=pytest.mark.long),
    ],
)
def test_a_killed_process_ends_all_and_the_run_goes_on_exactly(how, rank, uninterrupted, tmp_path):
    """Torchrun ends the others, and says which one it was."""
    done = ends_soon(tmp_path, how, rank)
    assert f'rank      : {rank} (local_rank: {rank})\n  exitcode  : -9' in done.stderr
    assert (tmp_path / 'last_checkpoint').is_file()
    for weights in in_processes(2, toy_run.train, tmp_path, '', 0, True):
        assert same(weights, uninterrupted)


@pytest.mark.long
@pytest.mark.parametrize('rank', [0, 1])
def test_a_process_that_hangs_ends_all(rank, tmp_path, monkeypatch):
    """After the time that the config states; torchrun gives a process 30 s to end by itself."""
    monkeypatch.setenv('TOY_TIMEOUT', '20')
    done = ends_soon(tmp_path, 'stop 6', rank)
    line = lines_of_ours(done)
    assert len(line) == 1 and 'another one of the 2 has ended or does not answer' in line[0]
    assert (tmp_path / 'iter_4.pth').is_file()


@pytest.mark.parametrize('accumulate', [1, 2])
def test_one_process_without_a_finite_loss_skips_the_step_of_all(accumulate, tmp_path):
    """All have the same weights after it; an accumulated step is left out in all as well."""
    counts = dict(optim_wrapper__accumulative_counts=accumulate)
    ends = in_processes(2, toy_run.how_it_ends, tmp_path, 'bad 2,6', 1, **counts)
    assert [left_out for _, left_out in ends] == [2, 2]
    assert same(ends[0][0], ends[1][0])
    assert all(value.isfinite().all() for value in ends[0][0].values())


def test_three_in_a_row_of_one_process_end_all(tmp_path):
    """The main process says it, though its own losses were finite, and names the other's images."""
    (said, _), (left, _) = in_processes(2, toy_run.how_it_ends, tmp_path, 'bad 5,6,7', 1)
    assert 'not finite 3 times in a row, at last in iteration 7' in said and '\n' not in said
    assert said.startswith('UserError') and left == 'SystemExit: 1'
    named = json.loads((tmp_path / FILE).read_text())
    assert [len(batch) for batch in named] == [2, 2, 2]
    assert (tmp_path / 'iter_4.pth').is_file() and not (tmp_path / f'1_{FILE}').exists()


@pytest.mark.long
def test_three_in_a_row_are_one_line_under_torchrun(tmp_path):
    done = ends_soon(tmp_path, 'bad 3,4,5', 1)
    assert lines_of_ours(done)[0].startswith('error: the loss or its gradient was not finite')
