"""A network that predicts on pixels, and what it finds drawn and written to files.

It stands on the host libraries' inferencers, which `tasks` call.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ..config.data_sets import dataset_classes, innermost_dataset
from ..config.reading import check_checkpoint, read_config
from ..errors import ArgumentError
from ..tasks import task_of
from ..weights.entrances import guarded_loading
from .sources import Frame, Source, batches


class Predictor:
    """A network from a config and its weights, for arrays of pixels.

    Args:
        config: path.
        weights: path or URL.
        device: 'auto', 'cpu', 'cuda:0' ...
        trust: load weights that safe loading refuses: the file may run any code. Default False.

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
        check_checkpoint(weights)
        classes: tuple[str, ...] = ()
        if cfg.get('test_dataloader'):
            classes = dataset_classes(innermost_dataset(cfg, 'test_dataloader')) or ()
        with guarded_loading(trust=trust, whole=True, classes=classes):
            self.inferencer = self.task.make_inferencer(
                cfg, weights, None if device == 'auto' else device
            )
        self.classes: tuple[str, ...] = tuple(self.inferencer.model.dataset_meta['classes'])

    def __call__(self, images: Sequence[np.ndarray]) -> list[Any]:
        """Data samples of the host library for images (H, W, 3), BGR."""
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


def predict(
    predictor: Predictor,
    sources: Sequence[Source],
    out: Path,
    *,
    score: float = 0.3,
    batch: int = 4,
    limit: int | None = None,
) -> tuple[int, list[str]]:
    """Predict, draw and write; the number of images done, and the files of broken ones.

    Writes ``out/pictures/NAME.jpg`` and ``out/predictions.json`` (detection) or
    ``out/labels/NAME.png`` (segmentation: class index of each pixel), NAME of `expand`.

    Args:
        predictor: of the network.
        sources: of `expand`.
        out: folder; made where there is none.
        score: objects below it are left out.
        batch: images at a time.
        limit: most images; None: all.
    """
    from tqdm import tqdm

    for option, value in (('batch', batch), ('limit', limit)):
        if value is not None and value < 1:
            raise ArgumentError(f'--{option} is {value}; it must be at least 1')
    (out / 'pictures').mkdir(parents=True, exist_ok=True)
    task, classes = predictor.task, predictor.classes
    entries: list[dict[str, Any]] = []
    broken: list[str] = []
    done = 0
    bar = tqdm(unit='images', total=limit)
    for frames in batches(sources, batch, limit):
        broken += [frame.file for frame in frames if frame.pixels is None]
        good = [(frame, frame.pixels) for frame in frames if frame.pixels is not None]
        samples = predictor([pixels for _, pixels in good]) if good else []
        for (frame, pixels), sample in zip(good, samples, strict=True):
            done += 1
            picture = out / 'pictures' / f'{frame.name}.jpg'
            picture.parent.mkdir(parents=True, exist_ok=True)
            predictor.draw(pixels, sample, score).save(picture, quality=92)
            entries += task.write(out, frame.name, sample, image_entry(frame, done), classes, score)
        bar.update(len(frames))
    bar.close()
    task.write_list(out, entries)
    return done, broken


def image_entry(frame: Frame, number: int) -> dict[str, Any]:
    """What predictions.json says of an image: its ``number``, its file, its place in a video."""
    image: dict[str, Any] = dict(image_id=number, file_name=frame.file)
    return image if frame.number is None else dict(image, frame=frame.number)
