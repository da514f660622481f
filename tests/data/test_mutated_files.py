"""Files broken by chance: a finding, one fatal line or a loaded sample, never anything else.

`tests/data/mutated.py` makes 35 images, 35 label maps or photographs of scenes, 35 annotation files and
35 class lists, by seeds, and takes each through the check, the fitting and both pipelines of training.
"""

import json
import subprocess
import sys
from collections import Counter

import pytest

from tests.data.mutated import CASES
from tests.helpers import ROOT

SEEDS = 35
LIMIT = 400  # s: a hang, as each case may take 20 s of its own


@pytest.fixture(scope='module')
def outcomes(tmp_path_factory) -> list[dict]:
    """What became of each case, up to a crash."""
    folder = tmp_path_factory.mktemp('mutated')
    command = [sys.executable, '-m', 'tests.data.mutated', str(folder), '0', str(SEEDS)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=LIMIT)
    lines = [json.loads(line) for line in (folder / 'outcomes.jsonl').read_text().splitlines()]
    assert done.returncode == 0, (done.returncode, lines[-1], done.stderr[-2000:])
    return [line for line in lines if len(line) > 2]  # the others say what begins


def test_every_case_ends(outcomes):
    assert Counter(o['kind'] for o in outcomes) == dict.fromkeys(CASES, SEEDS)


def test_nothing_but_our_own_errors_is_raised(outcomes):
    assert [o for o in outcomes if 'error' in o] == []


def test_what_stops_training_is_one_line_that_the_check_says_too(outcomes):
    assert all('\n' not in o['said'] for o in outcomes if 'said' in o)
    assert [o for o in outcomes if o['fatal'] != ('said' in o)] == []


def test_the_cases_are_broken_in_many_ways(outcomes):
    """Else the tests above would say nothing."""
    found = {kind for o in outcomes for kind in o.get('found', [])}
    assert len(found) >= 10 and 'unreadable image' in found
    for kind in CASES:
        mine = [o for o in outcomes if o['kind'] == kind]
        assert sum(o.get('loaded', 0) > 0 for o in mine) >= 5
    assert sum('said' in o for o in outcomes) >= 20
