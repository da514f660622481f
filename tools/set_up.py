"""Set up everything on a machine that has only Python, a C++ compiler and a package registry.

    python3 tools/set_up.py [--line maintained|original] [--venv .venv]

Makes a virtual environment with the pinned torch, the compiled operators of mmcv, the OpenMMLab
libraries and this package in editable mode. A second run checks and returns within seconds.
Standard library only: it runs before anything is installed.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import threading
import time
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
MIN_PYTHON = (3, 10)


class PackageLine(NamedTuple):
    """One of the two OpenMMLab package lines.

    Attributes:
        mmcv: its package and version, for pip.
        torch: version.
        setuptools: its package and version, for pip.
        min_driver: version of the NVIDIA driver that the pinned torch's CUDA needs.
        minutes: an operator build for the CPU takes on 2 cores.
    """

    mmcv: str
    torch: str
    setuptools: str
    min_driver: int
    minutes: int


LINES = {
    'maintained': PackageLine(
        'onedl-mmcv==2.3.6', '2.11.0', 'setuptools>=80,<82', min_driver=580, minutes=11
    ),
    'original': PackageLine('mmcv==2.1.0', '2.5.1', 'setuptools<81', min_driver=550, minutes=8),
}
PREBUILT = (
    'onedl-mmcv has prebuilt CUDA wheels for Python 3.10 (torch 2.4.1, 2.8) and Python '
    '3.12 (torch 2.9, 2.10, 2.12), CUDA 12.8 to 13.0'
)
BUILD_TOOLS = ('wheel', 'ninja', 'packaging', 'psutil')


class SetUpError(Exception):
    """What is wrong with this machine and how to fix it."""


def say(text: str) -> None:
    print(f'[set-up] {text}', flush=True)


def missing_tools() -> list[str]:
    """What this machine lacks before anything can be installed, each with its remedy."""
    found = []
    version = f'{sys.version_info[0]}.{sys.version_info[1]}'
    if sys.version_info < MIN_PYTHON:
        found.append(f'Python {version} is too old; install Python 3.10 or newer')
    try:
        import ensurepip  # noqa: F401
        import venv  # noqa: F401
    except ImportError:
        found.append(
            f'the venv module is missing; install python{version}-venv '
            '(Debian, Ubuntu: apt install python3-venv)'
        )
    if not (Path(sysconfig.get_paths()['include']) / 'Python.h').is_file():
        found.append(
            f'Python.h is missing; install python{version}-dev '
            '(Debian, Ubuntu: apt install python3-dev)'
        )
    if not shutil.which(os.environ.get('CXX', 'c++').split()[0]) and not shutil.which('g++'):
        found.append('a C++ compiler is missing; install g++ (Debian, Ubuntu: apt install g++)')
    return found


def gpu_driver() -> str | None:
    """Version of the NVIDIA driver, or None where there is no usable GPU."""
    if not shutil.which('nvidia-smi'):
        return None
    query = ['nvidia-smi', '--query-gpu=driver_version', '--format=csv,noheader']
    try:
        answer = subprocess.run(query, capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return None
    lines = answer.stdout.strip().splitlines()
    return lines[0].strip() if answer.returncode == 0 and lines else None


def find_nvcc() -> str | None:
    """Path of the CUDA compiler, or None."""
    home = os.environ.get('CUDA_HOME') or '/usr/local/cuda'
    return shutil.which('nvcc') or shutil.which('nvcc', path=str(Path(home) / 'bin'))


def operator_kind(driver: str | None, nvcc: str | None, min_driver: int) -> str:
    """'cuda' or 'cpu': which operators to build.

    Raises:
        SetUpError: a GPU whose operators cannot be built.
    """
    if driver is None:
        return 'cpu'
    if int(driver.split('.')[0]) < min_driver:
        raise SetUpError(
            f'the NVIDIA driver is {driver}, the pinned torch needs {min_driver} or '
            'newer; update the driver, or set CUDA_VISIBLE_DEVICES=-1 and '
            'FASTERVIT_MM_OPS=cpu to work on the CPU'
        )
    if nvcc is None:
        raise SetUpError(
            'there is an NVIDIA GPU but no nvcc, so the CUDA operators cannot be '
            'built; install the CUDA toolkit that fits the pinned torch and put '
            f'nvcc on PATH, or use a prebuilt wheel ({PREBUILT}), or set '
            'FASTERVIT_MM_OPS=cpu for operators that work on the CPU only'
        )
    return 'cuda'


def chosen_kind(line: PackageLine) -> str:
    """'cuda' or 'cpu': as FASTERVIT_MM_OPS says, or as this machine can."""
    wanted = os.environ.get('FASTERVIT_MM_OPS')
    if wanted not in (None, '', 'cpu', 'cuda'):
        raise SetUpError(f'FASTERVIT_MM_OPS is {wanted!r}; allowed: cpu, cuda')
    if wanted:
        return wanted
    return operator_kind(gpu_driver(), find_nvcc(), line.min_driver)


def wheel_folder(line: PackageLine, kind: str) -> Path:
    """Where the built operators are kept: one folder per mmcv, torch, Python and CUDA or not."""
    cache = Path(os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache')
    name = (
        f'{line.mmcv.replace("==", "-")}-torch{line.torch}-'
        f'cp{sys.version_info[0]}{sys.version_info[1]}-{kind}'
    )
    return cache / 'fastervit_mm' / 'wheels' / name


class Environment:
    """The virtual environment in ``folder``, there or to be made, and how to run things in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.python = folder / 'bin' / 'python'
        self.stamp = folder / '.fastervit_mm-ready'

    def create(self) -> None:
        """Make it where it is missing."""
        if not self.python.exists():
            say(f'making the virtual environment {self.folder}')
            subprocess.run([sys.executable, '-m', 'venv', str(self.folder)], check=True)

    def install(self, *args: str | Path) -> None:
        """``pip install`` with these arguments."""
        pip = [str(self.python), '-m', 'pip', '--disable-pip-version-check']
        command = [*pip, 'install', '-q', *map(str, args)]
        if subprocess.run(command).returncode:
            raise SetUpError(f'this failed: {" ".join(command)} (its messages are above)')

    def operator_failure(self, kind: str) -> str | None:
        """Why mmcv's compiled operators do not work with the installed torch; None: they do.

        Those for CUDA may load and still fail on this GPU, so one is run on it.
        """
        code = 'import torch, mmcv._ext'
        if kind == 'cuda':
            code += (
                '; from mmcv.ops import nms; box = torch.tensor([[0., 0, 9, 9]], device="cuda")'
                '; nms(box, box.new_ones(1), 0.5)'
            )
        probe = subprocess.run([str(self.python), '-c', code], capture_output=True, text=True)
        if probe.returncode == 0:
            return None
        return (probe.stderr.strip().splitlines() or ['no message'])[-1]


def follow_build(process: subprocess.Popen, log: Path, minutes: int) -> None:
    """Show elapsed time, and ninja's own count where it prints one, until the build ends."""
    start, done = time.monotonic(), threading.Event()
    state = {'count': ''}

    def heartbeat() -> None:
        while not done.wait(20):
            elapsed = (time.monotonic() - start) / 60
            say(
                f'building: {elapsed:.1f} min of usually about {minutes} min on 2 cores'
                f'{state["count"]}'
            )

    threading.Thread(target=heartbeat, daemon=True).start()
    with log.open('w') as file:
        for text in process.stdout:
            file.write(text)
            count = re.match(r'\s*\[(\d+)/(\d+)\]', text)
            if count:
                state['count'] = f', file {count[1]} of {count[2]}'
    process.wait()
    done.set()


def build_operators(env: Environment, line: PackageLine, kind: str, folder: Path) -> None:
    """Build mmcv's wheel with its operators into ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / 'build.log'
    say(
        f'building the {kind} operators of {line.mmcv}: usually about {line.minutes} min on 2 '
        f'cores for the CPU, longer for CUDA; log: {log}'
    )
    settings = dict(
        os.environ,
        MMCV_WITH_OPS='1',
        FORCE_CUDA='1' if kind == 'cuda' else '0',
        PATH=f'{env.python.parent}{os.pathsep}{os.environ["PATH"]}',
    )
    # pip caches its wheels by version alone, whatever torch they were built for: not here
    flags = ('-v', '--no-cache-dir', '--no-deps', '--no-build-isolation')
    source = ('--no-binary', line.mmcv.split('==')[0], line.mmcv)
    command = [str(env.python), '-m', 'pip', 'wheel', *flags, '-w', str(folder), *source]
    output = dict(stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors='replace')
    process = subprocess.Popen(command, env=settings, **output)
    follow_build(process, log, line.minutes)
    if process.returncode:
        tail = '\n'.join(log.read_text().splitlines()[-15:])
        raise SetUpError(f'the operator build failed; its last lines:\n{tail}\nwhole log: {log}')


def operator_wheel(env: Environment, line: PackageLine, kind: str, *, rebuild: bool) -> Path:
    """The kept wheel of the operators; built where there is none, or to ``rebuild`` it."""
    folder = wheel_folder(line, kind)
    if rebuild:
        for wheel in folder.glob('*.whl'):
            wheel.unlink()
    if not list(folder.glob('*.whl')):
        build_operators(env, line, kind, folder)
    else:
        say(f'using the operators kept in {folder}')
    return max(folder.glob('*.whl'))


def install_libraries(env: Environment, line_name: str, kind: str) -> None:
    """The operators, the OpenMMLab libraries and this package; operators that do not load are
    built again, once.
    """
    line = LINES[line_name]
    reason = env.operator_failure(kind)
    for rebuild in (False, True):
        if reason is not None:
            wheel = operator_wheel(env, line, kind, rebuild=rebuild)
            env.install('--force-reinstall', '--no-deps', wheel)
        say('installing the OpenMMLab libraries and this package')
        package = f'{ROOT}[{line_name},tests,lint]'
        env.install('-c', constraints_file(line_name), '--no-build-isolation', '-e', package)
        reason = env.operator_failure(kind)
        if reason is None:
            return
        say(f'the operators do not work with this torch: {reason}')
    raise SetUpError(
        f'mmcv._ext does not load even after a fresh build: {reason}; '
        f'log: {wheel_folder(line, kind)}/build.log'
    )


def constraints_file(line_name: str) -> Path:
    """The exact versions of a package line."""
    return ROOT / 'requirements' / f'{line_name}.txt'


def fingerprint(line_name: str, kind: str) -> str:
    """Changes when what is to be installed changes."""
    digest = hashlib.sha256(f'{line_name} {kind} {sys.version}'.encode())
    for path in (ROOT / 'setup.py', constraints_file(line_name), Path(__file__)):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def is_ready(env: Environment, mark: str) -> bool:
    """Whether everything was installed before, with the fingerprint ``mark``."""
    return (
        env.stamp.is_file()
        and env.stamp.read_text() == mark
        and env.python.exists()
        and (ROOT / 'fastervit_mm' / '.mim' / 'configs').is_symlink()
    )


def set_up(line_name: str, env: Environment) -> None:
    """Install everything into ``env``, unless it is there.

    Args:
        line_name: a key of `LINES`.
        env: is made where it is missing.

    Raises:
        SetUpError: this machine lacks something, or an installation failed.
    """
    line = LINES[line_name]
    problems = missing_tools()
    if problems:
        raise SetUpError('this machine lacks something:\n  ' + '\n  '.join(problems))
    kind = chosen_kind(line)
    mark = fingerprint(line_name, kind)
    if is_ready(env, mark):
        return
    start = time.monotonic()
    env.create()
    say(f'installing torch {line.torch} (about 5 GB on disk)')
    env.install('--upgrade', 'pip')
    needed = ('torch', 'torchvision', 'timm', 'numpy', line.setuptools)
    env.install('-c', constraints_file(line_name), *needed, *BUILD_TOOLS)
    install_libraries(env, line_name, kind)
    env.stamp.write_text(mark)
    say(f'ready after {(time.monotonic() - start) / 60:.1f} min: {env.folder}')


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    line_help = 'OpenMMLab package line (default: maintained)'
    parser.add_argument('--line', choices=sorted(LINES), default='maintained', help=line_help)
    venv_help = 'virtual environment (default: .venv, .venv-original)'
    parser.add_argument('--venv', type=Path, help=venv_help)
    args = parser.parse_args()
    folder = args.venv or ROOT / ('.venv' if args.line == 'maintained' else f'.venv-{args.line}')
    try:
        set_up(args.line, Environment(folder.absolute()))
    except SetUpError as error:
        sys.exit(f'[set-up] {error}')


if __name__ == '__main__':
    main()
