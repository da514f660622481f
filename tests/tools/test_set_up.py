"""What set-up decides before it touches anything; the set-up itself is what runs these tests."""

import importlib.util
import subprocess

import pytest
from tests.helpers import ROOT

spec = importlib.util.spec_from_file_location('set_up', ROOT / 'tools' / 'set_up.py')
set_up = importlib.util.module_from_spec(spec)
spec.loader.exec_module(set_up)


def test_no_gpu_builds_operators_for_the_cpu():
    assert set_up.operator_kind(None, '/usr/bin/nvcc', 580) == 'cpu'


def test_gpu_and_nvcc_build_cuda_operators():
    assert set_up.operator_kind('580.82.07', '/usr/bin/nvcc', 580) == 'cuda'


def test_gpu_without_nvcc_stops_and_says_what_to_install():
    with pytest.raises(set_up.SetUpError, match='no nvcc.*install the CUDA toolkit.*Python 3.12'):
        set_up.operator_kind('580.82.07', None, 580)


def test_an_old_driver_stops():
    with pytest.raises(set_up.SetUpError, match='driver is 470.1, the pinned torch needs 580'):
        set_up.operator_kind('470.1', '/usr/bin/nvcc', 580)


def test_wheels_are_kept_per_torch_python_and_cuda(monkeypatch, tmp_path):
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    folders = {
        set_up.wheel_folder(line, kind)
        for line in set_up.LINES.values()
        for kind in ('cpu', 'cuda')
    }
    assert len(folders) == 4 and all(tmp_path in folder.parents for folder in folders)


def test_missing_tools_are_named(monkeypatch):
    monkeypatch.setenv('PATH', '')
    monkeypatch.setenv('CXX', 'no-such-compiler')
    monkeypatch.setattr(set_up.sysconfig, 'get_paths', lambda: {'include': '/nowhere'})
    text = '\n'.join(set_up.missing_tools())
    assert 'install g++' in text and 'python3-dev' in text


def test_pins_of_set_up_and_constraints_agree():
    for name, line in set_up.LINES.items():
        pins = set_up.constraints_file(name).read_text().split()
        assert line.mmcv in pins and f'torch=={line.torch}' in pins


def test_second_run_takes_no_action():
    """`make test` has just set this environment up."""
    environment = set_up.Environment(ROOT / '.venv')
    if not environment.stamp.is_file():
        pytest.skip('these tests run in an environment that make did not set up')
    done = subprocess.run(['make', 'setup'], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0 and 'installing' not in done.stdout
