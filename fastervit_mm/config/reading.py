"""Reading a config, and what the command line changes in it."""

from __future__ import annotations

import argparse
import difflib
import os
from pathlib import Path
from urllib.parse import urlparse

from mmengine.config import Config, DictAction

from ..errors import FileError
from .host import check_host_library
from .run_folder import follow_move


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
        action=DictAction,
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


def read_config(path: str) -> Config:
    """The config at ``path``; one in the folder of a run that was moved names the files there.

    Raises:
        FileError: no such file, with the nearest names beside it.
    """
    file = Path(path)
    if not file.is_file():
        beside = sorted(p.name for p in file.parent.glob('*.py')) if file.parent.is_dir() else []
        close = difflib.get_close_matches(file.name, beside, n=3)
        hint = f'did you mean {" or ".join(close)}?' if close else 'configs lie under configs/'
        raise FileError(f'config {path} does not exist; {hint}')
    cfg = Config.fromfile(path)
    follow_move(cfg, file)
    return cfg


def check_checkpoint(path: str) -> str:
    """``path``, which must exist unless it is a URL.

    Raises:
        FileError: it does not.
    """
    remote = urlparse(path).scheme not in ('', 'file') and '://' in path
    if not remote and not Path(path).is_file():
        raise FileError(f'checkpoint {path} does not exist; training writes them to its work dir')
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
    return cfg


def apply_options(cfg: Config, args: argparse.Namespace) -> None:
    """Let ``--cfg-options`` have the last word: called once more after the data were settled."""
    if args.cfg_options is not None:
        cfg.merge_from_dict(args.cfg_options)
        check_host_library(cfg)
