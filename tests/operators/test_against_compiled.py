"""Ours give what mmcv's compiled operators give; run where these are (make test-compiled)."""

import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.helpers import ROOT
from tests.operators.cases import cases, difference, ours, run
from tests.operators.without import has_compiled

pytestmark = pytest.mark.skipif(
    not has_compiled(),
    reason='mmcv has no compiled operators here; make test-compiled builds them',
)
DEVICES = ['cpu', 'cuda'] if torch.cuda.is_available() else ['cpu']


@pytest.mark.parametrize('device', DEVICES)
@pytest.mark.parametrize('case', cases(), ids=lambda c: f'{c.operator}: {c.name}')
def test_outputs_and_gradients_are_the_same(case, device):
    if case.cuda and device == 'cpu':
        pytest.skip('mmcv has compiled it for CUDA alone')
    theirs = run(case, importlib.import_module('mmcv._ext'), device)
    found = run(case, ours(), device)
    assert difference(found.outputs, theirs.outputs) <= case.tolerance
    assert difference(found.gradients, theirs.gradients) <= case.tolerance


DEMO = ROOT / 'work_dirs' / 'demo'


def evaluated(folder: Path, *start: str) -> dict[str, float]:
    """AP of the demo's detector, by the test tool started so."""
    checkpoint = (DEMO / 'last_checkpoint').read_text().strip()
    config = DEMO / 'cascade_fastervit_shapes.py'
    words = [sys.executable, *start, config, checkpoint, '--work-dir', folder]
    done = subprocess.run([*map(str, words)], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-4000:]
    (written,) = folder.glob('*/*.json')
    return {k: v for k, v in json.loads(written.read_text()).items() if k.startswith('coco/')}


@pytest.mark.skipif(not (DEMO / 'last_checkpoint').is_file(), reason='make demo trains it first')
def test_the_demos_detector_has_the_same_ap(tmp_path):
    theirs = evaluated(tmp_path / 'theirs', 'tools/test.py')
    found = evaluated(tmp_path / 'ours', '-m', 'tests.operators.evaluate_over')
    assert theirs['coco/bbox_mAP'] > 0.8 and found.keys() == theirs.keys()
    print(theirs, found)
    for name, value in theirs.items():
        assert found[name] == pytest.approx(value, abs=1e-3), name
