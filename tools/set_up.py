"""Set up everything on a machine that has only Python and a package registry.

    python3 tools/set_up.py [--line maintained|original|oldest] [--venv .venv]

A virtual environment with pinned torch, OpenMMLab libraries and this package in editable mode; a
second run returns at once. 'oldest' is the maintained line in the lowest versions that setup.py allows.
FASTERVIT_MM_OPS=compiled builds mmcv's own operators (docs/operators.md).
"""

from __future__ import annotations

import argparse
import hashlib
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent


class Line(NamedTuple):
    """Packages that are installed together, in the versions of requirements/NAME.txt."""

    extra: str  # of setup.py
    last: tuple[int, int]  # Python that it runs on
    compiled: str  # mmcv with operators
    without: str  # what is installed otherwise


LINES = {
    'maintained': Line('maintained', (3, 13), 'onedl-mmcv==2.3.6', 'onedl-mmcv'),
    'original': Line('original', (3, 12), 'mmcv==2.1.0', 'mmcv-lite'),
    'oldest': Line('maintained', (3, 12), 'onedl-mmcv==2.3.6', 'onedl-mmcv'),
}
FIRST = (3, 10)  # Python of all of them
BUILD_TOOLS = ('setuptools', 'wheel', 'ninja', 'packaging', 'psutil')
CHECK = """import torch, fastervit_mm, mmdet.models, mmseg.models
name = torch.cuda.get_device_name() if torch.cuda.is_available() else 'CPU, no usable GPU'
print(f'[set-up] everything imports; device: {name}')"""
SCRIPTS = 'Scripts' if os.name == 'nt' else 'bin'


def say(text: str) -> None:
    print(f'[set-up] {text}', flush=True)


def fingerprint(line: str) -> str:
    """Changes when what is to be installed changes."""
    digest = hashlib.sha256(f'{line} {sys.version}'.encode())
    for path in (ROOT / 'setup.py', ROOT / 'requirements' / f'{line}.txt', Path(__file__)):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def works(python: Path, *arguments: str) -> bool:
    """Whether a Python is there and succeeds with these arguments, silently."""
    words = [str(python), *arguments]
    return python.exists() and not subprocess.run(words, capture_output=True).returncode


def run(*command: str | Path, **settings: str) -> None:
    """Run a command with ``settings`` in its environment; a failure ends this program."""
    words = [str(word) for word in command]
    if subprocess.run(words, env={**os.environ, **settings}).returncode:
        sys.exit(f'[set-up] this failed: {" ".join(words)} (its messages are above)')


def install(python: Path, line: str, *what: str | Path, **settings: str) -> None:
    """``pip install`` in the versions of a package line."""
    flags = ['--disable-pip-version-check'] + ['-q'] * (not sys.stdout.isatty())
    pins = ROOT / 'requirements' / f'{line}.txt'
    run(python, '-m', 'pip', 'install', *flags, '-c', pins, *what, **settings)


def build_operators(python: Path, line: str) -> None:
    """Put mmcv with its own operators in place of the one without them, unless it is there."""
    probe = ('-c', 'import torch, mmcv._ext')
    if works(python, *probe):
        return
    say('building the operators of mmcv: about 11 min on 2 cores, longer for CUDA (needs nvcc)')
    install(python, line, *BUILD_TOOLS)
    package = LINES[line].compiled
    name = package.split('==')[0]
    for old in {LINES[line].without, name}:  # both own the folder mmcv
        run(python, '-m', 'pip', 'uninstall', '-q', '-y', old)
    # pip keeps wheels by version alone, whatever torch they were built for: not this one
    flags = ('-v', '--no-cache-dir', '--no-deps', '--no-build-isolation')
    source = ('--no-binary', name, package)
    path = f'{python.parent}{os.pathsep}{os.environ["PATH"]}'  # of ninja
    install(python, line, *flags, *source, MMCV_WITH_OPS='1', PATH=path)
    run(python, *probe)


def set_up(line: str, folder: Path, compiled: bool = False) -> None:
    """Install a package line into the virtual environment ``folder``, unless it is there."""
    python, stamp = folder / SCRIPTS / 'python', folder / '.fastervit_mm-ready'
    kind, mark = f'{line}, compiled: {compiled}', fingerprint(line)
    configs = ROOT / 'fastervit_mm' / '.mim' / 'configs'
    before = stamp.read_text().splitlines()[:2] if stamp.is_file() else [kind]
    if before == [kind, mark] and configs.is_symlink():
        return
    start = time.monotonic()
    other = before[:1] != [kind]  # package line or operators: nothing of it is of use
    if other or not works(python, '-m', 'pip', '--version'):
        say(f'making the virtual environment {folder}')
        run(sys.executable, '-m', 'venv', *['--clear'] * other, folder)
    stamp.write_text(f'{kind}\nunfinished\n')
    say('installing torch, the OpenMMLab libraries and this package (about 5 GB on disk)')
    install(python, line, '--upgrade', 'pip')
    install(python, line, '-e', f'{ROOT}[{LINES[line].extra},tests,lint]')
    if compiled:
        build_operators(python, line)
    run(python, '-c', CHECK)
    stamp.write_text(f'{kind}\n{mark}\n')
    say(f'ready after {(time.monotonic() - start) / 60:.1f} min: {folder}')


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--line', choices=sorted(LINES), default='maintained', help='packages')
    parser.add_argument('--venv', type=Path, help='default: .venv, .venv-original, .venv-oldest')
    args = parser.parse_args()
    last = LINES[args.line].last
    if not FIRST <= sys.version_info[:2] <= last:
        line = f'the {args.line} line needs 3.{FIRST[1]} to 3.{last[1]}'
        sys.exit(f'[set-up] this is Python {sys.version.split()[0]}; {line}')
    folder = args.venv or ROOT / ('.venv' if args.line == 'maintained' else f'.venv-{args.line}')
    operators = os.environ.get('FASTERVIT_MM_OPS') or 'torchvision'
    if operators not in ('torchvision', 'compiled'):
        sys.exit(f'[set-up] FASTERVIT_MM_OPS is {operators!r}; allowed: torchvision, compiled')
    set_up(args.line, folder.absolute(), operators == 'compiled')


if __name__ == '__main__':
    main()
