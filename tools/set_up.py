"""Set up everything on a machine that has only Python and a package registry.

    python3 tools/set_up.py [--line maintained|original] [--venv .venv]

Makes a virtual environment with pinned torch and OpenMMLab libraries and this package in editable
mode; a second run checks and returns at once. mmcv's operators are torchvision's
(docs/operators.md); FASTERVIT_MM_OPS=compiled builds mmcv's own, which takes a compiler and 11 min.
Standard library only: it runs before anything is installed.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MIN_PYTHON = (3, 10)
COMPILED = {'maintained': 'onedl-mmcv==2.3.6', 'original': 'mmcv==2.1.0'}  # with operators
WITHOUT = {'maintained': 'onedl-mmcv', 'original': 'mmcv-lite'}  # what is installed otherwise
BUILD_TOOLS = ('setuptools', 'wheel', 'ninja', 'packaging', 'psutil')
CHECK = 'import fastervit_mm, mmdet.models, mmseg.models'
SCRIPTS = 'Scripts' if os.name == 'nt' else 'bin'


def say(text: str) -> None:
    print(f'[set-up] {text}', flush=True)


def wants_compiled() -> bool:
    """Whether FASTERVIT_MM_OPS asks for compiled operators."""
    wanted = os.environ.get('FASTERVIT_MM_OPS', '')
    if wanted not in ('', 'torchvision', 'compiled'):
        sys.exit(f'[set-up] FASTERVIT_MM_OPS is {wanted!r}; allowed: torchvision, compiled')
    return wanted == 'compiled'


def fingerprint(line: str, compiled: bool) -> str:
    """Changes when what is to be installed changes."""
    digest = hashlib.sha256(f'{line} {compiled} {sys.version}'.encode())
    for path in (ROOT / 'setup.py', ROOT / 'requirements' / f'{line}.txt', Path(__file__)):
        digest.update(path.read_bytes())
    return digest.hexdigest()


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
    """Put mmcv with its own operators in place of the one without them."""
    say('building the operators of mmcv: about 11 min on 2 cores, longer for CUDA (needs nvcc)')
    install(python, line, *BUILD_TOOLS)
    run(python, '-m', 'pip', 'uninstall', '-q', '-y', WITHOUT[line])
    # pip keeps wheels by version alone, whatever torch they were built for: not this one
    flags = ('-v', '--no-cache-dir', '--no-deps', '--no-build-isolation')
    package = COMPILED[line]
    source = ('--no-binary', package.split('==')[0], package)
    path = f'{python.parent}{os.pathsep}{os.environ["PATH"]}'  # ninja, whose count pip shows
    install(python, line, *flags, *source, MMCV_WITH_OPS='1', PATH=path)
    run(python, '-c', 'import torch, mmcv._ext')


def set_up(line: str, folder: Path) -> None:
    """Install everything into the virtual environment ``folder``, unless it is there.

    Args:
        line: 'maintained' or 'original'.
        folder: is made where it is missing.
    """
    python, stamp = folder / SCRIPTS / 'python', folder / '.fastervit_mm-ready'
    compiled = wants_compiled()
    mark = fingerprint(line, compiled)
    configs = ROOT / 'fastervit_mm' / '.mim' / 'configs'
    if stamp.is_file() and stamp.read_text() == mark and configs.is_symlink():
        return
    start = time.monotonic()
    if not python.exists():
        say(f'making the virtual environment {folder}')
        run(sys.executable, '-m', 'venv', folder)
    say('installing torch, the OpenMMLab libraries and this package (about 5 GB on disk)')
    install(python, line, '--upgrade', 'pip')
    install(python, line, '-e', f'{ROOT}[{line},tests,lint]')
    if compiled:
        build_operators(python, line)
    run(python, '-c', CHECK)
    stamp.write_text(mark)
    say(f'ready after {(time.monotonic() - start) / 60:.1f} min: {folder}')


def main() -> None:
    if sys.version_info < MIN_PYTHON:
        sys.exit(f'[set-up] this is Python {sys.version.split()[0]}; install 3.10 or newer')
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    line_help = 'OpenMMLab package line (default: maintained)'
    parser.add_argument('--line', choices=sorted(COMPILED), default='maintained', help=line_help)
    venv_help = 'virtual environment (default: .venv, .venv-original)'
    parser.add_argument('--venv', type=Path, help=venv_help)
    args = parser.parse_args()
    folder = args.venv or ROOT / ('.venv' if args.line == 'maintained' else f'.venv-{args.line}')
    set_up(args.line, folder.absolute())


if __name__ == '__main__':
    main()
