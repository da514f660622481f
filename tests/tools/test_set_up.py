"""What set-up decides before it touches anything, and which commands it would run."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.helpers import ROOT

spec = importlib.util.spec_from_file_location('set_up', ROOT / 'tools' / 'set_up.py')
set_up = importlib.util.module_from_spec(spec)
spec.loader.exec_module(set_up)
MAINTAINED, ORIGINAL = set_up.LINES['maintained'], set_up.LINES['original']


def test_the_two_package_lines():
    assert list(set_up.LINES) == ['maintained', 'original']
    assert MAINTAINED == ('onedl-mmcv==2.3.6', '2.11.0', 'setuptools>=80,<82', 580, 11)
    assert ORIGINAL == ('mmcv==2.1.0', '2.5.1', 'setuptools<81', 550, 8)
    assert set_up.MIN_PYTHON == (3, 10)


def test_pins_of_set_up_and_constraints_agree():
    for name, line in set_up.LINES.items():
        path = set_up.constraints_file(name)
        assert path == ROOT / 'requirements' / f'{name}.txt'
        pins = path.read_text().split()
        assert line.mmcv in pins and f'torch=={line.torch}' in pins
        assert f'setuptools{line.setuptools[line.setuptools.index("<") :]}' in pins


# -- this machine -----------------------------------------------------------------------------


@pytest.fixture
def complete_machine(monkeypatch, tmp_path):
    """A machine that lacks nothing."""
    (tmp_path / 'Python.h').write_text('')
    monkeypatch.setattr(set_up.sysconfig, 'get_paths', lambda: {'include': str(tmp_path)})
    monkeypatch.setattr(set_up.sys, 'version_info', (3, 12, 0))
    monkeypatch.setattr(set_up.shutil, 'which', lambda name: f'/usr/bin/{name}')
    monkeypatch.delenv('CXX', raising=False)
    return tmp_path


def test_nothing_is_missing(complete_machine):
    assert set_up.missing_tools() == []


def test_an_old_python(complete_machine, monkeypatch):
    monkeypatch.setattr(set_up.sys, 'version_info', (3, 9, 7))
    assert set_up.missing_tools() == ['Python 3.9 is too old; install Python 3.10 or newer']
    monkeypatch.setattr(set_up.sys, 'version_info', (3, 10, 0))
    assert set_up.missing_tools() == []


@pytest.mark.parametrize('module', ['ensurepip', 'venv'])
def test_no_virtual_environments(complete_machine, monkeypatch, module):
    monkeypatch.setitem(sys.modules, module, None)
    assert set_up.missing_tools() == [
        'the venv module is missing; install python3.12-venv '
        '(Debian, Ubuntu: apt install python3-venv)'
    ]


def test_no_header_of_python(complete_machine):
    (complete_machine / 'Python.h').unlink()
    assert set_up.missing_tools() == [
        'Python.h is missing; install python3.12-dev (Debian, Ubuntu: apt install python3-dev)'
    ]


@pytest.mark.parametrize(
    ('variable', 'there', 'missing'),
    [
        (None, {'c++'}, False),
        (None, {'g++'}, False),
        (None, {'clang++'}, True),
        ('clang++ -O2', {'clang++'}, False),
        ('clang++', {'c++'}, True),
        ('clang++', {'g++'}, False),
        (None, set(), True),
    ],
)
def test_a_compiler(complete_machine, monkeypatch, variable, there, missing):
    if variable is not None:
        monkeypatch.setenv('CXX', variable)
    monkeypatch.setattr(set_up.shutil, 'which', lambda name: name if name in there else None)
    expected = ['a C++ compiler is missing; install g++ (Debian, Ubuntu: apt install g++)']
    assert set_up.missing_tools() == (expected if missing else [])


def answer(returncode: int = 0, stdout: str = '', stderr: str = ''):
    return lambda *_, **__: SimpleNamespace(returncode=returncode, stdout=stdout, stderr=stderr)


@pytest.mark.parametrize(
    ('run', 'driver'),
    [
        (answer(stdout=' 580.82.07 \n580.82.08\n'), '580.82.07'),
        (answer(returncode=9, stdout='NVIDIA-SMI has failed\n'), None),
        (answer(stdout='\n'), None),
    ],
)
def test_the_driver_of_the_gpu(monkeypatch, run, driver):
    there = {'nvidia-smi': '/usr/bin/nvidia-smi'}
    monkeypatch.setattr(set_up.shutil, 'which', there.get)
    monkeypatch.setattr(subprocess, 'run', run)
    assert set_up.gpu_driver() == driver


def test_the_driver_is_asked_with_a_time_limit(monkeypatch):
    asked = []

    def run(command, **options):
        asked.append((command, options))
        raise subprocess.TimeoutExpired(command, 60)

    monkeypatch.setattr(set_up.shutil, 'which', lambda name: f'/usr/bin/{name}')
    monkeypatch.setattr(subprocess, 'run', run)
    assert set_up.gpu_driver() is None
    ((command, options),) = asked
    assert command == ['nvidia-smi', '--query-gpu=driver_version', '--format=csv,noheader']
    assert options == dict(capture_output=True, text=True, timeout=60)


def test_without_nvidia_smi_there_is_no_gpu(monkeypatch):
    monkeypatch.setattr(set_up.shutil, 'which', lambda name: None)
    monkeypatch.setattr(subprocess, 'run', answer(stdout='580\n'))
    assert set_up.gpu_driver() is None


def executable(path: Path) -> str:
    path.parent.mkdir(parents=True)
    path.write_text('')
    path.chmod(0o755)
    return str(path)


def test_nvcc_is_found_on_the_path_or_in_the_toolkit(monkeypatch, tmp_path):
    monkeypatch.setenv('PATH', str(tmp_path / 'bin'))
    monkeypatch.setenv('CUDA_HOME', str(tmp_path / 'cuda'))
    assert set_up.find_nvcc() is None
    toolkit = executable(tmp_path / 'cuda' / 'bin' / 'nvcc')
    assert set_up.find_nvcc() == toolkit
    assert set_up.find_nvcc() != executable(tmp_path / 'bin' / 'nvcc')
    assert set_up.find_nvcc() == str(tmp_path / 'bin' / 'nvcc')


def test_the_toolkits_usual_place(monkeypatch):
    asked = []
    monkeypatch.delenv('CUDA_HOME', raising=False)
    monkeypatch.setattr(set_up.shutil, 'which', lambda name, path=None: asked.append((name, path)))
    assert set_up.find_nvcc() is None
    assert asked == [('nvcc', None), ('nvcc', '/usr/local/cuda/bin')]


# -- which operators --------------------------------------------------------------------------


def test_no_gpu_builds_operators_for_the_cpu():
    assert set_up.operator_kind(None, '/usr/bin/nvcc', 580) == 'cpu'


@pytest.mark.parametrize('driver', ['580.82.07', '580', '1000.1'])
def test_gpu_and_nvcc_build_cuda_operators(driver):
    assert set_up.operator_kind(driver, '/usr/bin/nvcc', 580) == 'cuda'


def test_gpu_without_nvcc_stops_and_says_what_to_install():
    with pytest.raises(set_up.SetUpError) as caught:
        set_up.operator_kind('580.82.07', None, 580)
    assert re.fullmatch(
        r'there is an NVIDIA GPU but no nvcc, .*; install the CUDA toolkit .*PATH, or use a '
        r'prebuilt wheel \(onedl-mmcv has .*Python 3.12 .*\), or set FASTERVIT_MM_OPS=cpu for .*',
        str(caught.value),
    )


def test_an_old_driver_stops():
    with pytest.raises(set_up.SetUpError) as caught:
        set_up.operator_kind('579.99', '/usr/bin/nvcc', 580)
    assert str(caught.value) == (
        'the NVIDIA driver is 579.99, the pinned torch needs 580 or newer; update the driver, or '
        'set CUDA_VISIBLE_DEVICES=-1 and FASTERVIT_MM_OPS=cpu to work on the CPU'
    )


@pytest.mark.parametrize('wanted', ['cpu', 'cuda'])
def test_a_kind_that_is_asked_for_is_not_questioned(monkeypatch, wanted):
    monkeypatch.setenv('FASTERVIT_MM_OPS', wanted)
    monkeypatch.setattr(set_up, 'gpu_driver', lambda: pytest.fail('asked'))
    assert set_up.chosen_kind(MAINTAINED) == wanted


def test_otherwise_the_gpu_decides(monkeypatch):
    monkeypatch.setenv('FASTERVIT_MM_OPS', '')
    monkeypatch.setattr(set_up, 'gpu_driver', lambda: '560.1')
    monkeypatch.setattr(set_up, 'find_nvcc', lambda: '/usr/bin/nvcc')
    assert set_up.chosen_kind(ORIGINAL) == 'cuda'  # 550 or newer
    monkeypatch.delenv('FASTERVIT_MM_OPS')
    with pytest.raises(set_up.SetUpError, match='560.1, the pinned torch needs 580'):
        set_up.chosen_kind(MAINTAINED)


def test_an_unknown_kind_is_refused(monkeypatch):
    monkeypatch.setenv('FASTERVIT_MM_OPS', 'rocm')
    with pytest.raises(set_up.SetUpError) as caught:
        set_up.chosen_kind(MAINTAINED)
    assert str(caught.value) == "FASTERVIT_MM_OPS is 'rocm'; allowed: cpu, cuda"


def test_wheels_are_kept_per_mmcv_torch_python_and_cuda(monkeypatch, tmp_path):
    monkeypatch.setattr(set_up.sys, 'version_info', (3, 12, 5))
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    folder = tmp_path / 'fastervit_mm' / 'wheels'
    assert set_up.wheel_folder(MAINTAINED, 'cpu') == folder / (
        'onedl-mmcv-2.3.6-torch2.11.0-cp312-cpu'
    )
    assert set_up.wheel_folder(ORIGINAL, 'cuda') == folder / 'mmcv-2.1.0-torch2.5.1-cp312-cuda'
    monkeypatch.delenv('XDG_CACHE_HOME')
    monkeypatch.setenv('HOME', str(tmp_path / 'home'))
    kept = set_up.wheel_folder(ORIGINAL, 'cpu').parents[2]
    assert kept == tmp_path / 'home' / '.cache'


# -- is everything there already? -------------------------------------------------------------


def test_the_fingerprint_changes_with_what_is_installed(monkeypatch, tmp_path):
    marks = {set_up.fingerprint(line, kind) for line in set_up.LINES for kind in ('cpu', 'cuda')}
    assert len(marks) == 4
    before = set_up.fingerprint('original', 'cpu')
    assert before == set_up.fingerprint('original', 'cpu') and len(before) == 64
    (tmp_path / 'requirements').mkdir()
    files = ('setup.py', 'requirements/original.txt')
    for name in files:
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    monkeypatch.setattr(set_up, 'ROOT', tmp_path)
    assert set_up.fingerprint('original', 'cpu') == before
    for name in files:
        with (tmp_path / name).open('a') as file:
            file.write('# changed\n')
        assert set_up.fingerprint('original', 'cpu') != before
        before = set_up.fingerprint('original', 'cpu')
    monkeypatch.setattr(set_up.sys, 'version', 'another Python')
    assert set_up.fingerprint('original', 'cpu') != before


@pytest.fixture
def ready(monkeypatch, tmp_path):
    """An environment that is set up, with the mark 'abc'."""
    environment = set_up.Environment(tmp_path / 'venv')
    (tmp_path / 'venv' / 'bin').mkdir(parents=True)
    environment.python.write_text('')
    environment.stamp.write_text('abc')
    (tmp_path / 'fastervit_mm' / '.mim').mkdir(parents=True)
    (tmp_path / 'fastervit_mm' / '.mim' / 'configs').symlink_to(tmp_path)
    monkeypatch.setattr(set_up, 'ROOT', tmp_path)
    return environment


def test_an_environment_that_is_ready(ready):
    assert ready.python == ready.folder / 'bin' / 'python'
    assert ready.stamp == ready.folder / '.fastervit_mm-ready'
    assert set_up.is_ready(ready, 'abc') and not set_up.is_ready(ready, 'ab')


@pytest.mark.parametrize('lost', ['venv/.fastervit_mm-ready', 'venv/bin/python'])
def test_an_environment_that_lost_a_file(ready, lost):
    (set_up.ROOT / lost).unlink()
    assert not set_up.is_ready(ready, 'abc')


def test_an_environment_whose_configs_are_copies(ready):
    configs = set_up.ROOT / 'fastervit_mm' / '.mim' / 'configs'
    configs.unlink()
    configs.mkdir()
    assert not set_up.is_ready(ready, 'abc')


# -- what is run ------------------------------------------------------------------------------


@pytest.fixture
def commands(monkeypatch):
    """Commands are written down instead of run."""
    found = []

    def run(command, **options):
        found.append((command, options))
        return SimpleNamespace(returncode=0, stdout='', stderr='')

    monkeypatch.setattr(subprocess, 'run', run)
    return found


def test_a_virtual_environment_is_made_once(ready, commands, capsys):
    ready.create()
    assert commands == []
    ready.python.unlink()
    ready.create()
    assert commands == [([sys.executable, '-m', 'venv', str(ready.folder)], dict(check=True))]
    assert capsys.readouterr().out == f'[set-up] making the virtual environment {ready.folder}\n'


def test_pip_runs_in_the_environment_and_a_failure_is_named(ready, monkeypatch):
    asked = []
    monkeypatch.setattr(
        subprocess, 'run', lambda command: asked.append(command) or SimpleNamespace(returncode=0)
    )
    ready.install('x', Path('y'))
    command = [str(ready.python), '-m', 'pip', '--disable-pip-version-check']
    command += ['install', '-q', 'x', 'y']
    assert asked == [command]
    monkeypatch.setattr(subprocess, 'run', answer(returncode=1))
    with pytest.raises(set_up.SetUpError) as caught:
        ready.install('x', Path('y'))
    assert str(caught.value) == f'this failed: {" ".join(command)} (its messages are above)'


def test_operators_are_tried(ready, commands):
    assert ready.operator_failure('cpu') is None and ready.operator_failure('cuda') is None
    (cpu, options), (cuda, _) = commands
    assert cpu == [str(ready.python), '-c', 'import torch, mmcv._ext']
    assert options == dict(capture_output=True, text=True)
    assert cuda[-1].startswith('import torch, mmcv._ext; from mmcv.ops import nms; ')
    assert 'device="cuda"' in cuda[-1] and 'nms(box,' in cuda[-1]
    compile(cuda[-1], 'code', 'exec')


@pytest.mark.parametrize(
    ('stderr', 'reason'),
    [('Traceback\nImportError: a symbol\n', 'ImportError: a symbol'), ('', 'no message')],
)
def test_why_operators_do_not_load(ready, monkeypatch, stderr, reason):
    monkeypatch.setattr(subprocess, 'run', answer(returncode=1, stderr=stderr))
    assert ready.operator_failure('cpu') == reason
