"""What every task offers: its data, its evaluation, its predictions and pictures."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from mmengine.config import Config, ConfigDict
from PIL import Image
from torch import nn

from ..config.data_sets import innermost_dataset, point_to_folder
from ..data.folder import read_for_evaluation
from ..data.reading import Progress, Reading
from ..errors import ArgumentError, writing
from ..report.results import ImageResult, Results
from .prepared_data import PreparedData

SCREENS = {'DISPLAY', 'WAYLAND_DISPLAY'}


class Task:
    """A kind of prediction; `task_of` tells which one a config is for.

    The methods are the same functions for every task; a subclass fills them in.

    Attributes:
        name: for the command line.
        scope: ``default_scope`` of its configs, the host library.
        labels: what it learns from: `data.folder.OBJECTS` or `LABEL_MAPS`.
        listed: predictions on new images come in one list.
    """

    name: ClassVar[str]
    scope: ClassVar[str]
    labels: ClassVar[str]
    listed: ClassVar[bool]

    # Its data

    def misfit(
        self, cfg: Config, folder: Path, loaders: tuple[str, ...], ignore_zero: bool | None
    ) -> str | None:
        """Why ``folder`` cannot be used as it is, told without opening an image; None: it can.

        It can where it has the files that the config names below its own data root, and exactly
        the config's classes, in the config's order.

        Args:
            cfg: the whole config; stays as it is.
            folder: to take the place of the config's ``data_root``.
            loaders: names of the loaders that will be used.
            ignore_zero: what the user says of label 0: it means "unlabelled"; None: nothing.
        """
        raise NotImplementedError

    def point_as_it_is(self, cfg: Config, folder: Path, loaders: tuple[str, ...]) -> None:
        """Let ``cfg`` read a folder that fits it.

        Args:
            cfg: changed in place.
            folder: as in `misfit`.
            loaders: those to point at it, with their evaluators; the others stay.
        """
        point_to_folder(cfg, folder, loaders)

    def training_data(self, cfg: Config, reading: Reading, folder: Path) -> PreparedData:
        """Write the labels to train with into ``folder``; the settings that read them.

        Classes that are the config's own keep its order: the config itself may be tested later.

        Args:
            cfg: the whole config; stays as it is.
            reading: without a fatal reason.
            folder: of `prepared_data.prepared_data_folder`.
        """
        raise NotImplementedError

    def read_for_evaluation(
        self, cfg: Config, folder: Path, ignore_zero: bool | None, progress: Progress
    ) -> Reading:
        """The reading of what a model is evaluated on.

        Args:
            cfg: the whole config, of the model.
            folder: of labelled images.
            ignore_zero: as in `misfit`.
            progress: wraps the loop over the images.
        """
        return read_for_evaluation(folder, self.labels, ignore_zero=ignore_zero, progress=progress)

    def evaluation_data(self, cfg: Config, reading: Reading, folder: Path) -> PreparedData:
        """Write the labels to evaluate on into ``folder``; the settings that read them.

        Classes are told by their names: the model's may be others in number and order.

        Args:
            cfg: the whole config, of the model.
            reading: of `read_for_evaluation`, without a fatal reason.
            folder: of `prepared_data.prepared_data_folder`.

        Raises:
            ArgumentError: the folder has classes that the model does not know.
        """
        raise NotImplementedError

    # Its evaluation

    def draw_predictions(
        self, cfg: Config, *, show: bool, folder: str | None, wait_time: float
    ) -> None:
        """Let the host library's visualization hook draw predictions.

        Args:
            cfg: changed in place.
            show: in a window.
            folder: to files in it; None: to none.
            wait_time: s each is shown.

        Raises:
            ArgumentError: the config has no such hook, or there is no screen or folder.
            FileError: the folder cannot be made.
        """
        if show and sys.platform == 'linux' and not SCREENS & set(os.environ):
            raise ArgumentError('--show needs a screen, and there is none; use --show-dir FOLDER')
        if folder is not None and (not folder or Path(folder).is_file()):
            raise ArgumentError(f'--show-dir is {folder!r}; it must be a folder, or one to be made')
        if folder is not None and Path(folder).is_absolute():  # others are in the run's folder
            with writing(f'--show-dir {folder}', 'name another folder'):
                Path(folder).mkdir(parents=True, exist_ok=True)
        hook = cfg.default_hooks.get('visualization')
        if hook is None:
            raise ArgumentError(
                '--show and --show-dir need default_hooks.visualization in the config'
            )
        hook.update(draw=True, show=show, wait_time=wait_time)

    def use_tta(self, cfg: Config) -> None:
        """Evaluate with the config's test-time augmentation.

        Args:
            cfg: changed in place.

        Raises:
            ArgumentError: the config has none.
        """
        if 'tta_model' not in cfg or 'tta_pipeline' not in cfg:
            raise ArgumentError('--tta needs tta_model and tta_pipeline in the config')
        innermost_dataset(cfg, 'test_dataloader').pipeline = cfg.tta_pipeline
        cfg.model = ConfigDict(**cfg.tta_model, module=cfg.model)

    def keep_predictions(self, cfg: Config, path: str) -> Any | None:
        """Keep predictions at ``path``; a metric to add to the evaluator, or None.

        Raises:
            ArgumentError: predictions of this task cannot be kept there.
        """
        raise NotImplementedError

    def evaluate_file(self, cfg: Config, path: str, *, trust: bool = False) -> None:
        """Evaluate kept predictions on the config's test data, and print the metrics.

        Args:
            cfg: the whole config.
            path: of `keep_predictions`.
            trust: let a pickle run code. Default False.

        Raises:
            FileError: no such file.
            ArgumentError: those of this task cannot be evaluated so.
        """
        raise NotImplementedError

    def random_truth(
        self, model: nn.Module, count: int, size: tuple[int, int], device: str
    ) -> list[Any]:
        """Data samples with random truth, to time a step of ``model``.

        Args:
            model: of this task.
            count: images.
            size: of an image, (height, width), px.
            device: of the truth.
        """
        raise NotImplementedError

    # What a run has learnt

    def predictions_path(self, work_dir: Path) -> Path:
        """Where the predictions of a run on its validation images are kept."""
        raise NotImplementedError

    def prediction_files(self, cfg: Config, path: Path) -> list[Path]:
        """The files that a whole evaluation writes to ``path`` (of `predictions_path`)."""
        raise NotImplementedError

    def results(self, cfg: Config, path: Path) -> Results:
        """What the predictions at ``path`` say, compared with the truth that the config names.

        Raises:
            FileError: some are missing.
        """
        raise NotImplementedError

    def images(self, cfg: Config, path: Path, score: float) -> list[ImageResult]:
        """Each image of the predictions at ``path``, to be drawn beside its truth.

        Args:
            cfg: the whole config.
            path: of `predictions_path`.
            score: objects below it are not drawn; label maps have none.
        """
        raise NotImplementedError

    # Predicting on new images

    def make_inferencer(self, cfg: Config, weights: str, device: str | None) -> Any:
        """The host library's inferencer.

        Args:
            cfg: the whole config.
            weights: path or URL.
            device: such as 'cuda:0'; None: what there is.
        """
        raise NotImplementedError

    def infer(self, inferencer: Any, images: Sequence[np.ndarray]) -> list[Any]:
        """Data samples of the host library for images (H, W, 3) uint8 BGR."""
        raise NotImplementedError

    def draw(
        self, pixels: np.ndarray, sample: Any, classes: Sequence[str], score: float
    ) -> Image.Image:
        """A prediction on its image.

        Args:
            pixels: (H, W, 3) uint8 RGB.
            sample: of `infer`.
            classes: names.
            score: objects below it are left out.
        """
        raise NotImplementedError

    def write(
        self,
        out: Path,
        name: str,
        sample: Any,
        image: dict[str, Any],
        classes: Sequence[str],
        score: float,
    ) -> list[dict[str, Any]]:
        """Write the prediction on one image.

        Args:
            out: folder of all predictions.
            name: of the image's files, without suffix; may be in a sub-folder.
            sample: of `infer`.
            image: which image it is, for the list of all predictions.
            classes: names.
            score: objects below it are left out.

        Returns:
            Its entries in the list of all predictions; none where the task is not ``listed``.
        """
        raise NotImplementedError
