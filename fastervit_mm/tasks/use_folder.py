"""``--data FOLDER``: use this folder, as it is where it fits the config, or else fitted."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from mmengine.config import Config

from ..config.data_sets import LOADERS, innermost_dataset
from ..data.folder import read_folder
from ..data.reading import Progress
from ..errors import FileError
from ..training.learning_rate import clip_gradients
from ..training.processes import check_same_everywhere, in_main_process
from . import task_of
from .prepared_data import PreparedData, point_to_prepared_data, prepared_data_folder

# what to do to a config, and what to say about it; None: use the folder as it is
Found = tuple[PreparedData | None, list[str]]


def training_loaders(cfg: Config) -> tuple[str, ...]:
    """Names of the loaders that training uses."""
    return ('train_dataloader', 'val_dataloader') if cfg.get('val_cfg') else ('train_dataloader',)


def train_on(
    cfg: Config, folder: Path, *, ignore_zero: bool | None = None, progress: Progress = iter
) -> list[str]:
    """Let ``cfg`` train on ``folder``; lines that say what was found there.

    Where its files fit the config, no image is opened and nothing is written. Otherwise the main
    process reads it and writes the labels that are used, and the others wait for what it found. One
    process of each machine that does not share the work dir does the same there.

    Args:
        cfg: changed in place: files, and where these do not fit, classes and class counts too, and
            gradient clipping where it states none.
        folder: of labelled images, in the layout that the config's task learns from.
        ignore_zero: label 0 of label maps means "unlabelled"; None: told from the folder.
        progress: wraps each loop over images, such as tqdm.

    Raises:
        ArgumentError: nothing in it can be used.
        FileError: it is not a folder, or lacks its images.
    """
    used, lines = _found(
        cfg, folder, training_loaders(cfg), ignore_zero, partial(_read, progress=progress)
    )
    lines = [*lines, *_point(cfg, folder, used, LOADERS)]  # the run's config tests on it too
    return lines if used is None else [*lines, *clip_gradients(cfg)]


def evaluate_on(
    cfg: Config, folder: Path, *, ignore_zero: bool | None = None, progress: Progress = iter
) -> list[str]:
    """Let ``cfg`` evaluate its model on ``folder``; lines that say what was found there.

    Only its test loader follows: the data that the model was trained on stay.

    That is the validation split. Where there is none, it is the share that training holds out of
    images that are named for training, or all images where no name says so.

    Args:
        cfg: changed in place: the files of its test loader.
        folder: as in `train_on`; its classes must be some of the model's.
        ignore_zero: as in `train_on`.
        progress: as in `train_on`.

    Raises:
        ArgumentError: nothing in it can be used, or it has classes that the model does not know.
        FileError: as in `train_on`.
    """
    read = partial(_read_for_evaluation, progress=progress)
    used, lines = _found(cfg, folder, ('test_dataloader',), ignore_zero, read)
    return [*lines, *_point(cfg, folder, used, ('test_dataloader',))]


def _read(cfg: Config, folder: Path, ignore_zero: bool | None, progress: Progress) -> Found:
    """Read all of ``folder``, and write what is used of it."""
    task = task_of(cfg)
    reading = read_folder(folder, task.labels, ignore_zero=ignore_zero, progress=progress)
    reading.note_small_images(_least_side(cfg))
    reading.stop_on_fatal()
    used = task.training_data(cfg, reading, prepared_data_folder(Path(cfg.work_dir)))
    return used, reading.lines()


def _least_side(cfg: Config) -> int:
    """Side, px, below which ``cfg`` leaves an image out of training."""
    filters = innermost_dataset(cfg, 'train_dataloader').get('filter_cfg') or {}
    return filters.get('min_size', 0)


def _read_for_evaluation(
    cfg: Config, folder: Path, ignore_zero: bool | None, progress: Progress
) -> Found:
    """The same of what a model is evaluated on."""
    task = task_of(cfg)
    reading = task.read_for_evaluation(cfg, folder, ignore_zero, progress)
    reading.stop_on_fatal()
    used = task.evaluation_data(cfg, reading, prepared_data_folder(Path(cfg.work_dir)))
    return used, reading.lines()


def _found(
    cfg: Config,
    folder: Path,
    loaders: tuple[str, ...],
    ignore_zero: bool | None,
    read: Callable[[Config, Path, bool | None], Found],
) -> Found:
    """What every process shall use of ``folder``, found by the main process.

    Args:
        cfg: stays as it is.
        folder: of labelled images.
        loaders: names of the loaders that will be used.
        ignore_zero: as in `train_on`.
        read: what is done where the folder does not fit.
    """
    if not folder.is_dir():
        raise FileError(f'--data {folder} is not a folder')
    look = partial(_look, cfg, folder, loaders, ignore_zero, read)
    used, lines = in_main_process(look, Path(cfg.work_dir))
    check_same_everywhere(f'what is used of --data {folder}', (used is not None, lines[1:]))
    return used, lines


def _point(
    cfg: Config, folder: Path, used: PreparedData | None, loaders: tuple[str, ...]
) -> list[str]:
    """Let ``cfg`` read what is used of ``folder``; lines that say what that changes.

    Args:
        cfg: changed in place.
        folder: of labelled images.
        used: what is used of it; None: all, as it is.
        loaders: those that read it as it is; ``used`` names its own.
    """
    if used is not None:
        return point_to_prepared_data(cfg, used)
    task_of(cfg).point_as_it_is(cfg, folder, loaders)
    return []


def _look(
    cfg: Config,
    folder: Path,
    loaders: tuple[str, ...],
    ignore_zero: bool | None,
    read: Callable[[Config, Path, bool | None], Found],
) -> Found:
    """See whether ``folder`` fits, and read it where it does not."""
    start = time.perf_counter()
    reason = task_of(cfg).misfit(cfg, folder, loaders, ignore_zero)
    if reason is None:
        seconds = time.perf_counter() - start
        line = f'--data {folder} fits the config: used as it is (looked at in {seconds:.1f} s)'
        return None, [line]
    used, lines = read(cfg, folder, ignore_zero)
    seconds = time.perf_counter() - start
    line = (
        f'--data {folder} is not what the config reads ({reason}): it was looked through (in '
        f'{seconds:.1f} s), and the labels that are used are in {cfg.work_dir}/data'
    )
    return used, [line, *lines]
