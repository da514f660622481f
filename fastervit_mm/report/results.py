"""What the validation images say about a run, whichever its task: the page shows it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from ..pictures import side_by_side, titled


class ImageResult(NamedTuple):
    """An image, and how well its prediction fits the truth.

    Attributes:
        score: 0 to 1, the higher the better.
        name: of the image's file.
        pictures: draws the truth and the prediction; called for the few images that are shown.
    """

    score: float
    name: str
    pictures: Callable[[], tuple[Image.Image, Image.Image]]

    def draw(self, title: str = 'prediction') -> Image.Image:
        """The prediction, called ``title``, beside the truth."""
        truth, prediction = self.pictures()
        return side_by_side([titled(truth, 'truth'), titled(prediction, title)])


@dataclass
class Results:
    """What the validation images say.

    Attributes:
        classes: names.
        score_name: what the score of an image is.
        head: of the table of the classes.
        per_class: its rows.
        confusion: row the truth, column the prediction, in the order of ``classes``; in detection
            'nothing' comes after them.
        images: each validation image.
    """

    classes: tuple[str, ...]
    score_name: str = 'score'
    head: list[str] = field(default_factory=list)
    per_class: list[list[Any]] = field(default_factory=list)
    confusion: np.ndarray = field(default_factory=lambda: np.zeros((0, 0)))
    images: list[ImageResult] = field(default_factory=list)
