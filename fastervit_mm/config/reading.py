"""Reading a config, and what the command line changes in it."""

from __future__ import annotations

import argparse
import difflib
import os
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

from mmengine.config import Config, DictAction

from ..errors import ArgumentError, FileError, UserError, check_folder
from .host import check_host_library
from .run_folder import as_begun, follow_move
from .settings import check_settings

TORCHRUN = ('RANK', 'WORLD_SIZE', 'LOCAL_RANK', 'MASTER_ADDR', 'MASTER_PORT')
MPI = ('OMPI_COMM_WORLD_LOCAL_RANK', 'OMPI_COMM_WORLD_SIZE', 'OMPI_COMM_WORLD_RANK')


class Settings(DictAction):
    """KEY=VALUE ..., with errors that name the argument."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        for text in values or ():
            key, equals, _ = text.partition('=')
            if not equals or not all(key.split('.')):
                raise argparse.ArgumentError(
                    self, f'{text!r} is not KEY=VALUE, such as train_dataloader.batch_size=4'
                )
        try:
            super().__call__(parser, namespace, values, option_string)
        except (AssertionError, ValueError, IndexError) as error:  # of brackets
            reason = str(error) or 'its brackets do not fit'
            raise argparse.ArgumentError(
                self, f'a value cannot be read ({" ".join(reason.split())})'
            ) from None


def add_common_options(parser: argparse.ArgumentParser) -> None:
    """Options that training and testing share."""
    parser.add_argument(
        '--work-dir',
        help='folder for logs, checkpoints and results (default: work_dirs/NAME_OF_CONFIG)',
    )
    parser.add_argument(
        '--data',
        metavar='FOLDER',
        help='use this folder of labelled images: as it is where its annotation files fit the '
        'config (layout and classes), or else fitted',
    )
    parser.add_argument(
        '--ignore-zero',
        action='store_true',
        default=None,
        help='with --data: label 0 of the label maps means "unlabelled"',
    )
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=Settings,
        metavar='KEY=VALUE',
        help='override settings of the config, such as train_dataloader.batch_size=4',
    )
    parser.add_argument(
        '--launcher',
        choices=('none', 'pytorch', 'slurm', 'mpi'),
        default='none',
        help='how the processes of a distributed run were started',
    )
    add_trust_option(parser)
    parser.add_argument(
        '--local_rank', '--local-rank', type=int, default=0, help=argparse.SUPPRESS
    )  # given by older launchers


def add_trust_option(parser: argparse.ArgumentParser) -> None:
    """The one way round safe loading."""
    parser.add_argument(
        '--trust-checkpoint',
        action='store_true',
        help='load checkpoints that safe loading refuses: THE FILE MAY THEN RUN ANY CODE on this '
        'machine; only for files from someone you trust',
    )


def read_config(path: str | os.PathLike) -> Config:
    """The config at ``path``; one in the folder of a run that was moved names the files there.

    Raises:
        FileError: no such file, with the nearest names beside it; or it cannot be read as a config.
    """
    path = str(path)
    file = Path(path)
    if not file.is_file():
        beside = sorted(p.name for p in file.parent.glob('*.py')) if file.parent.is_dir() else []
        close = difflib.get_close_matches(file.name, beside, n=3)
        hint = f'did you mean {" or ".join(close)}?' if close else 'configs lie under configs/'
        raise FileError(f'config {path} does not exist; {hint}')
    try:
        cfg = Config.fromfile(as_begun(file))
    except UserError:
        raise
    except Exception as error:  # a config is code, and may raise anything
        raise FileError(f'config {path} cannot be read: {_what_failed(error)}') from None
    follow_move(cfg, file)
    return cfg


def _what_failed(error: Exception) -> str:
    """One line that names an error of a config, and where in it that came."""
    text = ' '.join(str(error).split()) or 'no message'
    if isinstance(error, SyntaxError):
        return f'{type(error).__name__}: {error.msg}' + f', line {error.lineno}' * bool(
            error.lineno
        )
    place = traceback.extract_tb(error.__traceback__)[-1]
    own = place.name == '<module>' and place.filename.endswith('.py')
    at = f' ({Path(place.filename).name}, line {place.lineno})' if own else ''
    return f'{type(error).__name__}: {text:.300}{at}'


def check_checkpoint(path: str) -> str:
    """``path``, which must exist unless it is a URL.

    Raises:
        FileError: it does not.
    """
    remote = urlparse(path).scheme not in ('', 'file') and '://' in path
    local = Path(path.removeprefix('file://')).expanduser()
    if not remote and local.is_dir():
        raise FileError(f'checkpoint {path} is a folder; give a file in it')
    if not remote and not local.is_file():
        raise FileError(
            f'checkpoint {path or "(no name)"} does not exist; training writes them to its work dir'
        )
    return path


def load_config(args: argparse.Namespace) -> Config:
    """The config of the command line, with the options of `add_common_options` but ``--data``."""
    cfg = read_config(args.config)
    check_host_library(cfg)
    cfg.launcher = args.launcher
    cfg.work_dir = (
        args.work_dir or cfg.get('work_dir') or os.path.join('work_dirs', Path(args.config).stem)
    )
    apply_options(cfg, args)
    check_settings(cfg)
    check_folder(cfg.work_dir, '--work-dir')
    return cfg


def check_launcher(launcher: str) -> None:
    """The launcher must have told this process its place among the others.

    Raises:
        ArgumentError: it has not. (`start_processes` stops torchrun without ``--launcher``.)
    """
    needed = {'pytorch': TORCHRUN, 'slurm': ('SLURM_PROCID', 'SLURM_NTASKS'), 'mpi': MPI}
    missing = [name for name in needed.get(launcher, ()) if name not in os.environ]
    if missing:
        started = {'pytorch': 'torchrun', 'slurm': 'srun', 'mpi': 'mpirun'}[launcher]
        raise ArgumentError(
            f'--launcher {launcher}: {", ".join(missing)} is not set; start with {started} '
            '(tools/dist_train.sh does), or leave --launcher out for one process'
        )


def apply_options(cfg: Config, args: argparse.Namespace) -> None:
    """Let ``--cfg-options`` have the last word: called once more after the data were settled."""
    if args.cfg_options is not None:
        try:
            cfg.merge_from_dict(args.cfg_options)
        except (TypeError, KeyError, AttributeError, IndexError, ValueError) as error:
            raise ArgumentError(
                f'--cfg-options do not fit the config: {" ".join(str(error).split()):.300}'
            ) from None
        check_host_library(cfg)
        check_settings(cfg)
