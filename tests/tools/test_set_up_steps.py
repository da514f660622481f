"""The steps of set-up: what is installed in which order, built when, kept where, and said."""

import importlib.util
import io
import os
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


class Steps(set_up.Environment):
    """Writes down what would be done; operators fail as often as told."""

    def __init__(self, folder, failures=()):
        super().__init__(folder)
        self.log, self.failures = [], list(failures)
        folder.mkdir(parents=True, exist_ok=True)

    def create(self):
        self.log.append('create')

    def install(self, *args):
        self.log.append(tuple(map(str, args)))

    def operator_failure(self, kind):
        self.log.append(f'try {kind}')
        return self.failures.pop(0) if self.failures else None


@pytest.fixture
def wheels(monkeypatch):
    """`operator_wheel` that builds nothing."""
    asked = []

    def wheel(env, line, kind, *, rebuild):
        asked.append((line, kind, rebuild))
        return Path(f'rebuild={rebuild}.whl')

    monkeypatch.setattr(set_up, 'operator_wheel', wheel)
    return asked


def libraries(name: str) -> tuple:
    pins = str(ROOT / 'requirements' / f'{name}.txt')
    package = f'{ROOT}[{name},tests,lint]'
    return ('-c', pins, '--no-build-isolation', '-e', package)


def reinstalled(wheel: str) -> tuple:
    return ('--force-reinstall', '--no-deps', wheel)


def test_operators_that_load_are_left_alone(tmp_path, wheels, capsys):
    env = Steps(tmp_path)
    set_up.install_libraries(env, 'maintained', 'cpu')
    assert env.log == ['try cpu', libraries('maintained'), 'try cpu'] and wheels == []
    assert capsys.readouterr().out == (
        '[set-up] installing the OpenMMLab libraries and this package\n'
    )


def test_operators_are_installed_before_the_libraries(tmp_path, wheels):
    env = Steps(tmp_path, ['no module'])
    set_up.install_libraries(env, 'original', 'cuda')
    assert env.log == [
        'try cuda',
        reinstalled('rebuild=False.whl'),
        libraries('original'),
        'try cuda',
    ]
    assert wheels == [(ORIGINAL, 'cuda', False)]


def test_operators_of_another_torch_are_built_again_once(tmp_path, wheels, capsys):
    env = Steps(tmp_path, ['no module', 'undefined symbol'])
    set_up.install_libraries(env, 'maintained', 'cpu')
    assert [rebuild for _, _, rebuild in wheels] == [False, True]
    assert env.log[-3:] == [reinstalled('rebuild=True.whl'), libraries('maintained'), 'try cpu']
    assert 'the operators do not work with this torch: undefined symbol' in capsys.readouterr().out


def test_operators_that_never_load_stop_with_the_log(tmp_path, wheels, monkeypatch):
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'cache'))
    env = Steps(tmp_path, ['first', 'second', 'third'])
    with pytest.raises(set_up.SetUpError) as caught:
        set_up.install_libraries(env, 'maintained', 'cpu')
    log = set_up.wheel_folder(MAINTAINED, 'cpu') / 'build.log'
    assert str(caught.value) == (
        f'mmcv._ext does not load even after a fresh build: third; log: {log}'
    )


# -- the wheel --------------------------------------------------------------------------------


@pytest.fixture
def builds(monkeypatch, tmp_path):
    """`build_operators` that leaves an empty wheel."""
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    asked = []

    def build(env, line, kind, folder):
        asked.append((line, kind))
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f'mmcv-{len(asked)}.whl').write_text('')

    monkeypatch.setattr(set_up, 'build_operators', build)
    return asked


def test_a_wheel_is_built_once_and_kept(tmp_path, builds, capsys):
    folder = set_up.wheel_folder(MAINTAINED, 'cpu')
    for _ in range(2):
        wheel = set_up.operator_wheel(Steps(tmp_path), MAINTAINED, 'cpu', rebuild=False)
        assert wheel == folder / 'mmcv-1.whl'
    assert builds == [(MAINTAINED, 'cpu')]
    assert capsys.readouterr().out == f'[set-up] using the operators kept in {folder}\n'


def test_a_wheel_is_built_again_when_asked(tmp_path, builds):
    folder = set_up.wheel_folder(MAINTAINED, 'cpu')
    set_up.operator_wheel(Steps(tmp_path), MAINTAINED, 'cpu', rebuild=False)
    (folder / 'build.log').write_text('kept')
    wheel = set_up.operator_wheel(Steps(tmp_path), MAINTAINED, 'cpu', rebuild=True)
    assert wheel == folder / 'mmcv-2.whl' and list(folder.glob('*.whl')) == [wheel]
    assert (folder / 'build.log').is_file()


class Process:
    """A build that says ``lines`` and ends with ``status``."""

    def __init__(self, lines: str, status: int = 0) -> None:
        self.stdout, self.returncode, self.waited = io.StringIO(lines), status, False

    def wait(self) -> None:
        self.waited = True


@pytest.mark.parametrize(('kind', 'cuda'), [('cpu', '0'), ('cuda', '1')])
def test_how_operators_are_built(tmp_path, monkeypatch, capsys, kind, cuda):
    started = []

    def start(command, **options):
        started.append((command, options))
        return Process('[1/2] one\n')

    monkeypatch.setattr(subprocess, 'Popen', start)
    monkeypatch.setenv('PATH', '/usr/bin')
    monkeypatch.setenv('LEFT', 'alone')
    env, folder = Steps(tmp_path / 'venv'), tmp_path / 'deep' / 'wheels'
    set_up.build_operators(env, MAINTAINED, kind, folder)
    ((command, options),) = started
    assert command == [
        *(str(env.python), '-m', 'pip', 'wheel', '-v', '--no-cache-dir', '--no-deps'),
        *('--no-build-isolation', '-w', str(folder), '--no-binary', 'onedl-mmcv'),
        'onedl-mmcv==2.3.6',
    ]
    settings = options.pop('env')
    assert settings == dict(
        os.environ,
        MMCV_WITH_OPS='1',
        FORCE_CUDA=cuda,
        PATH=f'{env.folder}/bin:/usr/bin',
    )
    assert settings['LEFT'] == 'alone'
    assert options == dict(
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors='replace'
    )
    assert (folder / 'build.log').read_text() == '[1/2] one\n'
    assert capsys.readouterr().out == (
        f'[set-up] building the {kind} operators of onedl-mmcv==2.3.6: usually about 11 min on 2 '
        f'cores for the CPU, longer for CUDA; log: {folder}/build.log\n'
    )


def test_a_build_that_fails_shows_its_end(tmp_path, monkeypatch):
    text = ''.join(f'line {i}\n' for i in range(20))
    monkeypatch.setattr(subprocess, 'Popen', lambda *_, **__: Process(text, 1))
    with pytest.raises(set_up.SetUpError) as caught:
        set_up.build_operators(Steps(tmp_path), MAINTAINED, 'cpu', tmp_path)
    tail = '\n'.join(f'line {i}' for i in range(5, 20))
    assert str(caught.value) == (
        f'the operator build failed; its last lines:\n{tail}\nwhole log: {tmp_path}/build.log'
    )


@pytest.mark.parametrize(
    ('text', 'count'),
    [('compiling\n  [3/120] nvcc a.cu\n[x] other\n', ', file 3 of 120'), ('compiling\n', '')],
)
def test_a_long_build_says_how_far_it_is(tmp_path, monkeypatch, capsys, text, count):
    """The heartbeat runs once the build's lines are read: 90 s on a clock of our own."""
    clock, threads = iter([1000.0, 1090.0, 1090.0]), []

    class Thread:
        def __init__(self, target, daemon):
            assert daemon is True
            threads.append(target)

        def start(self):
            threads.append('started')

    class Event:
        waits = iter([False, False, True])

        def wait(self, seconds):
            assert seconds == 20
            return next(self.waits)

        def set(self):
            threads.append('done')

    monkeypatch.setattr(set_up, 'threading', SimpleNamespace(Thread=Thread, Event=Event))
    monkeypatch.setattr(set_up, 'time', SimpleNamespace(monotonic=lambda: next(clock)))
    process = Process(text)
    set_up.follow_build(process, tmp_path / 'log', 11)
    assert process.waited and threads[1:] == ['started', 'done']
    threads[0]()
    line = f'[set-up] building: 1.5 min of usually about 11 min on 2 cores{count}'
    assert capsys.readouterr().out.splitlines() == [line, line]
    assert (tmp_path / 'log').read_text() == text


# -- the whole --------------------------------------------------------------------------------


@pytest.fixture
def machine(monkeypatch):
    """A machine without a GPU that lacks nothing; libraries are not installed."""
    installed = []
    monkeypatch.setattr(set_up, 'missing_tools', lambda: [])
    monkeypatch.setattr(set_up, 'chosen_kind', lambda line: 'cpu')
    monkeypatch.setattr(set_up, 'install_libraries', lambda *given: installed.append(given))
    return installed


@pytest.mark.parametrize('name', ['maintained', 'original'])
def test_torch_comes_first_then_the_libraries_then_the_mark(
    name, machine, tmp_path, capsys, monkeypatch
):
    env, line = Steps(tmp_path), set_up.LINES[name]
    clock = iter([1000.0, 1090.0])
    monkeypatch.setattr(set_up, 'time', SimpleNamespace(monotonic=lambda: next(clock)))
    set_up.set_up(name, env)
    pins = str(ROOT / 'requirements' / f'{name}.txt')
    assert env.log == [
        'create',
        ('--upgrade', 'pip'),
        (
            *('-c', pins, 'torch', 'torchvision', 'timm', 'numpy'),
            *(line.setuptools, 'wheel', 'ninja', 'packaging', 'psutil'),
        ),
    ]
    assert machine == [(env, name, 'cpu')]
    assert env.stamp.read_text() == set_up.fingerprint(name, 'cpu')
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f'[set-up] installing torch {line.torch} (about 5 GB on disk)'
    assert lines[-1] == f'[set-up] ready after 1.5 min: {tmp_path}'


def test_a_second_run_does_nothing(machine, tmp_path, monkeypatch, capsys):
    env = Steps(tmp_path)
    marks = []
    monkeypatch.setattr(set_up, 'is_ready', lambda *given: marks.append(given) or True)
    set_up.set_up('maintained', env)
    assert env.log == machine == [] and capsys.readouterr().out == ''
    assert marks == [(env, set_up.fingerprint('maintained', 'cpu'))]


def test_a_machine_that_lacks_something_is_left_alone(machine, tmp_path, monkeypatch):
    monkeypatch.setattr(set_up, 'missing_tools', lambda: ['one', 'two'])
    env = Steps(tmp_path)
    with pytest.raises(set_up.SetUpError) as caught:
        set_up.set_up('maintained', env)
    assert str(caught.value) == 'this machine lacks something:\n  one\n  two' and env.log == []


@pytest.mark.parametrize(
    ('arguments', 'line', 'folder'),
    [
        ([], 'maintained', ROOT / '.venv'),
        (['--line', 'original'], 'original', ROOT / '.venv-original'),
        (['--line', 'maintained', '--venv', '/a/b'], 'maintained', '/a/b'),
    ],
)
def test_the_command_line(monkeypatch, arguments, line, folder):
    asked = []
    monkeypatch.setattr(set_up, 'set_up', lambda name, env: asked.append((name, str(env.folder))))
    monkeypatch.setattr(sys, 'argv', ['set_up.py', *arguments])
    set_up.main()
    assert asked == [(line, str(folder))]


def test_a_relative_folder_becomes_absolute(monkeypatch, tmp_path):
    asked = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(set_up, 'set_up', lambda name, env: asked.append(env.python))
    monkeypatch.setattr(sys, 'argv', ['set_up.py', '--venv', 'here'])
    set_up.main()
    assert asked == [tmp_path / 'here' / 'bin' / 'python']


def test_what_is_wrong_is_one_line_and_status_1(monkeypatch):
    def fail(name, env):
        raise set_up.SetUpError('what is wrong')

    monkeypatch.setattr(set_up, 'set_up', fail)
    monkeypatch.setattr(sys, 'argv', ['set_up.py'])
    with pytest.raises(SystemExit) as caught:
        set_up.main()
    assert caught.value.code == '[set-up] what is wrong'  # printed by the interpreter, status 1


def test_second_run_of_make_takes_no_action():
    """`make test` has just set this environment up."""
    environment = set_up.Environment(ROOT / '.venv')
    if not environment.stamp.is_file():
        pytest.skip('these tests run in an environment that make did not set up')
    done = subprocess.run(['make', 'setup'], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0 and 'installing' not in done.stdout
