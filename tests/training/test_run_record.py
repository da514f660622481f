"""What a run was started with: the command and the versions."""

import json
import platform
import sys
from importlib.metadata import distributions, version

import pytest

from fastervit_mm.config.run_folder import read_record
from fastervit_mm.operators import operators_in_use
from fastervit_mm.training import run_record
from fastervit_mm.training.run_record import versions, write_record

NAMED = {
    'fastervit_mm',
    'torch',
    'torchvision',
    'timm',
    'onedl-mmengine',
    'onedl-mmcv',
    'onedl-mmdetection',
    'onedl-mmsegmentation',
    'mmengine',
    'mmcv',
    'mmcv-lite',
    'mmdet',
    'mmsegmentation',
    'numpy',
}


def test_versions_of_what_is_installed():
    installed = {d.metadata['Name'].lower() for d in distributions()}
    installed |= {name.replace('-', '_') for name in installed}
    found = versions()
    assert found.pop('operators of mmcv', None) == operators_in_use()
    assert set(found) == {'python'} | (NAMED & installed)
    assert {'torch', 'numpy', 'fastervit_mm'} <= set(found)
    assert found.pop('python') == platform.python_version()
    assert found == {name: version(name) for name in found}


@pytest.mark.parametrize('operators', [None, 'torchvision', 'compiled'])
def test_whose_operators_are_used(operators, monkeypatch):
    monkeypatch.setattr(run_record, 'operators_in_use', lambda: operators)
    assert versions().get('operators of mmcv') == operators


def test_a_record_is_read_as_it_was_written(tmp_path, monkeypatch):
    work_dir = tmp_path / 'new' / 'run'
    monkeypatch.setattr(sys, 'argv', ['tools/train.py', 'my config.py', '--epochs', '3'])
    write_record(work_dir)
    record = read_record(work_dir)
    assert record == dict(
        command="python tools/train.py 'my config.py' --epochs 3",
        work_dir=str(work_dir),
        config='',
        configs=[''],
        versions=versions(),
    )
    assert json.loads((work_dir / 'run.json').read_text()) == record
    monkeypatch.setattr(sys, 'argv', ['tools/train.py', 'other.py'])
    write_record(work_dir)  # the last start of a run counts
    assert read_record(work_dir)['command'] == 'python tools/train.py other.py'


def test_runs_of_other_tools_have_no_record(tmp_path):
    assert read_record(tmp_path) == {}
