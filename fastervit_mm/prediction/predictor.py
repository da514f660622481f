"""A network that predicts on pixels, and draws what it finds.

It stands on the host libraries' inferencers, which `tasks` call.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from mmengine.registry import init_default_scope
from PIL import Image

from ..config.data_sets import dataset_classes, innermost_dataset
from ..config.host import building
from ..config.reading import check_checkpoint, read_config
from ..config.settings import check_there
from ..errors import ArgumentError
from ..tasks import task_of
from ..weights.entrances import guarded_loading


class Predictor:
    """A network from a config and its weights, for arrays of pixels.

    Args:
        config: path.
        weights: path or URL.
        device: 'auto', 'cpu', 'cuda:0' ...
        trust: load weights that safe loading refuses: the file may run any code. Default False.

    Raises:
        FileError: the config or the weights are not there, or not what they should be.
        ArgumentError: there is no such device.

    Attributes:
        task: what it predicts.
        classes: names.
        inferencer: of the host library.
    """

    def __init__(
        self, config: str, weights: str, device: str = 'auto', *, trust: bool = False
    ) -> None:
        cfg = read_config(config)
        self.task = task_of(cfg)
        check_there(cfg, ('model',))
        check_checkpoint(weights)
        if device != 'auto':
            check_device(device)
        classes: tuple[str, ...] = ()
        if cfg.get('test_dataloader'):
            init_default_scope(cfg.default_scope)  # where the data set's type is known
            classes = dataset_classes(innermost_dataset(cfg, 'test_dataloader')) or ()
        with guarded_loading(trust=trust, whole=True, classes=classes), building():
            self.inferencer = self.task.make_inferencer(
                cfg, weights, None if device == 'auto' else device
            )
        self.classes: tuple[str, ...] = tuple(self.inferencer.model.dataset_meta['classes'])

    def __call__(self, images: Sequence[np.ndarray]) -> list[Any]:
        """Data samples of the host library for images (H, W, 3), BGR.

        Raises:
            ArgumentError: one of them has another shape.
        """
        check_images(images)
        return self.task.infer(self.inferencer, images)

    def draw(self, image: np.ndarray, sample: Any, score: float) -> Image.Image:
        """The prediction on its image.

        Args:
            image: (H, W, 3) uint8 BGR.
            sample: what was predicted on it.
            score: objects below it are left out.
        """
        rgb = np.ascontiguousarray(image[..., ::-1])
        return self.task.draw(rgb, sample, self.classes, score)


def check_images(images: Sequence[np.ndarray]) -> None:
    """Images must be arrays (H, W, 3) with pixels.

    Raises:
        ArgumentError: one is not.
    """
    for i, image in enumerate(images):
        shape = getattr(image, 'shape', None)
        if shape is None or len(shape) != 3 or shape[2] != 3 or 0 in shape:
            came = f'of shape {tuple(shape)}' if shape is not None else type(image).__name__
            raise ArgumentError(f'images[{i}] is {came}; it must be an array (H, W, 3), BGR')


def check_device(device: str) -> None:
    """PyTorch must know ``device``, and have it here.

    Raises:
        ArgumentError: it does not.
    """
    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:  # the second: PyTorch without CUDA
        reason = str(error).splitlines()[0]
        raise ArgumentError(
            f'device {device!r} cannot be used ({reason}); allowed: auto, cpu, and what PyTorch '
            'has here, such as cuda:0'
        ) from None
