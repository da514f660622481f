"""A run that is killed again and again ends with the weights of one that was not (`kills.py`)."""

import json
import os
import subprocess
import sys

import pytest

from tests.helpers import ROOT


def kill(folder, kills, inside, seed=0):
    """Counts of `kills.main`, in a process of its own: it forks."""
    numbers = map(str, (kills, inside, seed))
    done = subprocess.run(
        [sys.executable, '-m', 'tests.training.kills', folder, *numbers],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=dict(os.environ, PYTHONPATH=str(ROOT), OMP_NUM_THREADS='1', CUDA_VISIBLE_DEVICES='-1'),
        timeout=1800,
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_ten_kills(tmp_path):
    counts = kill(tmp_path, 10, 3)
    assert counts['kills'] >= 10 and counts['inside'] >= 3 and counts['runs'] >= 1


@pytest.mark.long
def test_two_hundred_kills(tmp_path):
    counts = kill(tmp_path, 200, 50)
    assert counts['kills'] >= 200 and counts['inside'] >= 50
