"""Which commands set-up runs, and when it runs none."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers import ROOT

spec = importlib.util.spec_from_file_location('set_up', ROOT / 'tools' / 'set_up.py')
set_up = importlib.util.module_from_spec(spec)
spec.loader.exec_module(set_up)


@pytest.fixture(autouse=True)
def usual_operators(monkeypatch):
    monkeypatch.delenv('FASTERVIT_MM_OPS', raising=False)


@pytest.fixture
def commands(monkeypatch):
    """What would be run: the words, and what was set for them; all of it succeeds."""
    seen = []

    def run(words, env=None, capture_output=False):
        if words[1:3] == ['-m', 'venv']:
            (Path(words[-1]) / 'bin').mkdir(parents=True, exist_ok=True)
            (Path(words[-1]) / 'bin' / 'python').write_text('')
        if capture_output:  # a question; nothing is compiled, and pip works
            return subprocess.CompletedProcess(words, int('mmcv._ext' in words[-1]))
        seen.append((words, {k: v for k, v in env.items() if os.environ.get(k) != v}))
        return subprocess.CompletedProcess(words, 0)

    monkeypatch.setattr(subprocess, 'run', run)
    return seen


def pip(commands) -> list[list[str]]:
    """The arguments of each ``pip install``, without flags of its output."""
    quiet = ('-q', '--disable-pip-version-check')
    found = [words[4:] for words, _ in commands if words[1:4] == ['-m', 'pip', 'install']]
    return [[word for word in words if word not in quiet] for words in found]


@pytest.mark.parametrize(
    'line, extra',
    [('maintained', 'maintained'), ('original', 'original'), ('oldest', 'maintained')],
)
def test_a_bare_machine_gets_an_environment_and_pinned_packages(
    line, extra, commands, tmp_path, capsys
):
    folder = tmp_path / 'env'
    set_up.set_up(line, folder)
    python = str(folder / 'bin' / 'python')
    assert commands[0][0] == [sys.executable, '-m', 'venv', str(folder)]
    pins = ['-c', str(ROOT / 'requirements' / f'{line}.txt')]
    assert pip(commands) == [
        [*pins, '--upgrade', 'pip'],
        [*pins, '-e', f'{ROOT}[{extra},tests,lint]'],
    ]
    assert commands[-1][0] == [python, '-c', set_up.CHECK] and len(commands) == 4
    assert 'import torch, fastervit_mm, mmdet.models, mmseg.models' in set_up.CHECK
    assert {words[0] for words, _ in commands[1:]} == {python}
    said = capsys.readouterr().out
    assert '[set-up] making the virtual environment' in said
    assert '[set-up] ready after 0.0 min' in said


@pytest.fixture
def ready(commands, tmp_path, monkeypatch):
    """An environment that was set up before, and the project it belongs to."""
    root = tmp_path / 'project'
    (root / 'requirements').mkdir(parents=True)
    (root / 'setup.py').write_text('')
    (root / 'requirements' / 'maintained.txt').write_text('torch==1')
    (root / 'fastervit_mm' / '.mim').mkdir(parents=True)
    (root / 'fastervit_mm' / '.mim' / 'configs').symlink_to('..')
    monkeypatch.setattr(set_up, 'ROOT', root)
    set_up.set_up('maintained', tmp_path / 'env')
    commands.clear()
    return root


def test_a_second_run_does_nothing(ready, commands, capsys):
    capsys.readouterr()
    set_up.set_up('maintained', ready.parent / 'env')
    assert commands == [] and capsys.readouterr().out == ''


def touch_setup(root, monkeypatch):
    (root / 'setup.py').write_text('#')


def touch_pins(root, monkeypatch):
    (root / 'requirements' / 'maintained.txt').write_text('torch==2')


def other_python(root, monkeypatch):
    monkeypatch.setattr(sys, 'version', '3.12.0')


def no_configs(root, monkeypatch):
    (root / 'fastervit_mm' / '.mim' / 'configs').unlink()


def copied_configs(root, monkeypatch):
    no_configs(root, monkeypatch)
    (root / 'fastervit_mm' / '.mim' / 'configs').mkdir()


def unfinished(root, monkeypatch):
    (root.parent / 'env' / '.fastervit_mm-ready').unlink()


CHANGES = [touch_setup, touch_pins, other_python, no_configs, copied_configs, unfinished]


@pytest.mark.parametrize('change', CHANGES)
def test_what_changed_is_installed_again(change, ready, commands, monkeypatch):
    change(ready, monkeypatch)
    set_up.set_up('maintained', ready.parent / 'env')
    assert pip(commands)[1][-1].endswith('[maintained,tests,lint]')
    assert not any('venv' in words for words, _ in commands)  # it is there


def made(commands) -> list[list[str]]:
    return [words[3:-1] for words, _ in commands if words[1:3] == ['-m', 'venv']]


def test_another_line_and_other_operators_start_from_nothing(ready, commands):
    (ready / 'requirements' / 'original.txt').write_text('torch==1')
    set_up.set_up('original', ready.parent / 'env')
    assert made(commands) == [['--clear']] and pip(commands)[1][-1].endswith(
        '[original,tests,lint]'
    )
    set_up.set_up('original', ready.parent / 'env', compiled=True)
    assert made(commands) == [['--clear']] * 2


def test_what_failed_is_done_again(ready, commands, monkeypatch):
    """Also when what is asked for then is what was ready before."""
    working = subprocess.run

    def fail(words, env=None, capture_output=False):
        if capture_output or 'uninstall' not in words:
            return working(words, env, capture_output)
        return subprocess.CompletedProcess(words, 1)

    monkeypatch.setattr(subprocess, 'run', fail)
    with pytest.raises(SystemExit):
        set_up.set_up('maintained', ready.parent / 'env', compiled=True)
    monkeypatch.setattr(subprocess, 'run', working)
    commands.clear()
    set_up.set_up('maintained', ready.parent / 'env')
    assert made(commands) == [['--clear']] and len(pip(commands)) == 2


def test_an_environment_without_pip_is_made_again(ready, commands, monkeypatch):
    unfinished(ready, monkeypatch)
    working = subprocess.run

    def no_pip(words, env=None, capture_output=False):
        if capture_output:
            return subprocess.CompletedProcess(words, 1)
        return working(words, env)

    monkeypatch.setattr(subprocess, 'run', no_pip)
    set_up.set_up('maintained', ready.parent / 'env')
    assert made(commands) == [[]]  # nothing of the user's is removed


def test_an_environment_of_the_users_own_is_kept(ready, commands, tmp_path):
    mine = tmp_path / 'mine'
    (mine / 'bin').mkdir(parents=True)
    (mine / 'bin' / 'python').write_text('')
    set_up.set_up('maintained', mine)
    assert made(commands) == [] and len(pip(commands)) == 2


def test_operators_that_were_compiled_before_are_kept(ready, commands, monkeypatch):
    set_up.set_up('maintained', ready.parent / 'env', compiled=True)
    (ready / 'setup.py').write_text('# changed')
    working = subprocess.run
    monkeypatch.setattr(
        subprocess,
        'run',
        lambda words, env=None, capture_output=False: (
            subprocess.CompletedProcess(words, 0) if capture_output else working(words, env)
        ),
    )
    commands.clear()
    set_up.set_up('maintained', ready.parent / 'env', compiled=True)
    assert made(commands) == [] and len(pip(commands)) == 2


@pytest.mark.parametrize(
    'line, there, source',
    [
        ('maintained', 'onedl-mmcv', 'onedl-mmcv==2.3.6'),
        ('original', 'mmcv-lite', 'mmcv==2.1.0'),
        ('oldest', 'onedl-mmcv', 'onedl-mmcv==2.3.6'),
    ],
)
def test_compiled_operators_are_built_for_the_installed_torch(
    line, there, source, commands, tmp_path, monkeypatch, capsys
):
    set_up.set_up(line, tmp_path / 'env', compiled=True)
    words = [words for words, _ in commands]
    removed = [w for w in words if 'uninstall' in w]
    assert sorted(w[-1] for w in removed) == sorted({there, source.split('==')[0]})
    (build,) = (w for w in words if '--no-binary' in w)
    assert words.index(removed[0]) < words.index(build)
    assert build[-3:] == ['--no-binary', source.split('==')[0], source]
    assert {'--no-cache-dir', '--no-deps', '--no-build-isolation'} <= set(build)
    (settings,) = (s for w, s in commands if w is build)
    assert settings['MMCV_WITH_OPS'] == '1'
    assert settings['PATH'] == f'{tmp_path / "env" / "bin"}{os.pathsep}{os.environ["PATH"]}'
    assert set(set_up.BUILD_TOOLS) <= set(pip(commands)[2])
    assert words[-2][1:] == ['-c', 'import torch, mmcv._ext']
    assert 'about 11 min' in capsys.readouterr().out


def test_other_operators_are_unknown(monkeypatch):
    monkeypatch.setenv('FASTERVIT_MM_OPS', 'cuda')
    with pytest.raises(SystemExit) as caught:
        call(monkeypatch)
    assert caught.value.code == (
        "[set-up] FASTERVIT_MM_OPS is 'cuda'; allowed: torchvision, compiled"
    )


@pytest.mark.parametrize('operators', ['', 'torchvision', 'compiled'])
def test_operators_are_torchvisions_unless_compiled_are_asked_for(operators, monkeypatch):
    monkeypatch.setenv('FASTERVIT_MM_OPS', operators)
    assert call(monkeypatch) == [('maintained', ROOT / '.venv', operators == 'compiled')]


def test_a_command_that_fails_is_named_and_leaves_no_mark(monkeypatch, tmp_path):
    monkeypatch.setattr(subprocess, 'run', lambda words, **_: subprocess.CompletedProcess(words, 1))
    with pytest.raises(SystemExit) as caught:
        set_up.set_up('maintained', tmp_path)
    assert caught.value.code == (
        f'[set-up] this failed: {sys.executable} -m venv {tmp_path} (its messages are above)'
    )
    assert list(tmp_path.iterdir()) == []


def call(monkeypatch, *arguments: str) -> list[tuple]:
    """What main sets up."""
    seen: list[tuple] = []
    monkeypatch.setattr(set_up, 'set_up', lambda *given: seen.append(given))
    monkeypatch.setattr(sys, 'argv', ['set_up.py', *arguments])
    set_up.main()
    return seen


def test_the_command_line(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert call(monkeypatch) == [('maintained', ROOT / '.venv', False)]
    for line in ('original', 'oldest'):
        assert call(monkeypatch, '--line', line) == [(line, ROOT / f'.venv-{line}', False)]
    assert call(monkeypatch, '--venv', 'mine') == [('maintained', tmp_path / 'mine', False)]


@pytest.mark.parametrize(
    'line, version, allowed',
    [
        ('maintained', (3, 9, 7), None),
        ('maintained', (3, 10, 0), True),
        ('maintained', (3, 13, 9), True),
        ('maintained', (3, 14, 0), None),
        ('original', (3, 12, 1), True),
        ('original', (3, 13, 0), None),
        ('oldest', (3, 12, 1), True),
        ('oldest', (3, 13, 0), None),  # no torch 2.4.0 for it
    ],
)
def test_which_pythons_are_refused(line, version, allowed, monkeypatch):
    monkeypatch.setattr(sys, 'version_info', version)
    monkeypatch.setattr(sys, 'version', '.'.join(map(str, version)) + ' (main)')
    if allowed:
        assert len(call(monkeypatch, '--line', line)) == 1
        return
    with pytest.raises(SystemExit) as caught:
        call(monkeypatch, '--line', line)
    last = '3.13' if line == 'maintained' else '3.12'
    assert caught.value.code == (
        f'[set-up] this is Python {".".join(map(str, version))}; the {line} line needs 3.10 to {last}'
    )


@pytest.mark.parametrize('line', set_up.LINES)
def test_pins_cover_what_is_built(line):
    pins = (ROOT / 'requirements' / f'{line}.txt').read_text().split()
    assert set_up.LINES[line].compiled in pins
    assert any(pin.startswith(f'{set_up.LINES[line].without}==') for pin in pins)
    assert any(pin.startswith('torch==') for pin in pins)


def test_the_script_needs_nothing_that_is_installed():
    done = subprocess.run(
        [sys.executable, '-S', '-I', 'tools/set_up.py', '--help'],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert '--line {maintained,oldest,original}' in done.stdout
