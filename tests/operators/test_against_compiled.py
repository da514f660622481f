"""Ours give what mmcv's compiled operators give; run where these are (make test-compiled)."""

import importlib
from importlib.machinery import ExtensionFileLoader
from importlib.util import find_spec

import pytest
import torch

from tests.operators.cases import cases, difference, ours, run

LOADER = find_spec('mmcv._ext').loader
pytestmark = pytest.mark.skipif(
    not isinstance(LOADER, ExtensionFileLoader),
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
