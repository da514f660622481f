"""Single steps of a data set's pipeline: images and labels read as the config reads them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.registry import TRANSFORMS

Step = Callable[[dict[str, Any]], dict[str, Any]]


def pipeline_step(dataset: dict[str, Any], name: str) -> Step:
    """The transform ``name`` of a data set's pipeline; with its defaults where there is none."""
    step = next((t for t in dataset['pipeline'] if t['type'].endswith(name)), dict(type=name))
    return TRANSFORMS.build(step)


def image_reader(dataset: dict[str, Any]) -> Callable[[Path], np.ndarray]:
    """Reads images as a data set's pipeline does: turned as EXIF says, or as stored.

    Args:
        dataset: its part of the config, whose library is the default scope.

    Returns:
        A function that gives (H, W, 3) uint8 RGB of a file.
    """
    load_image = pipeline_step(dataset, 'LoadImageFromFile')

    def read(path: Path) -> np.ndarray:
        image = load_image(dict(img_path=str(path)))['img']
        return np.ascontiguousarray(image[..., ::-1].astype(np.uint8))

    return read
