"""Predictions on images, folders, videos and cameras, drawn and written to files.

It stands on mmdet's DetInferencer and mmseg's MMSegInferencer.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from glob import glob
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from mmengine.config import Config
from PIL import Image

from ..errors import ArgumentError, FileError
from ..own_data.layouts import IMAGE_SUFFIXES, image_files
from .pictures import draw_labels, draw_objects
from .run_config import check_checkpoint, check_host_library, read_config

VIDEO_SUFFIXES = ('.mp4', '.avi', '.mov', '.mkv', '.webm', '.m4v')


class Frame(NamedTuple):
    """An image to predict on: a name for its files, and (H, W, 3) BGR pixels; None: broken."""

    name: str
    pixels: np.ndarray | None


def expand(inputs: Sequence[str]) -> list[str]:
    """Files, video files and camera indices that ``inputs`` name: files, folders, globs, numbers.

    Raises:
        FileError: one of them names nothing.
    """
    found: list[str] = []
    for text in inputs:
        path = Path(text)
        if text.isdigit() or path.is_file():
            found.append(text)
        elif path.is_dir():
            found += map(str, image_files(path))
        else:
            found += sorted(glob(text, recursive=True))
        if not found:
            raise FileError(f'{text} names no image, folder, video or camera')
    return found


def frames_of(source: str) -> Iterator[Frame]:
    """The frames of a video or camera, or the one image of a file."""
    import cv2

    path = Path(source)
    if not source.isdigit() and path.suffix.lower() in IMAGE_SUFFIXES:
        yield Frame(path.stem, cv2.imread(source))  # None where it is broken
        return
    if not source.isdigit() and path.suffix.lower() not in VIDEO_SUFFIXES:
        yield Frame(path.name, None)
        return
    capture = cv2.VideoCapture(int(source) if source.isdigit() else source)
    name = f'camera{source}' if source.isdigit() else path.stem
    number = 0
    while True:
        more, pixels = capture.read()
        if not more:
            break
        number += 1
        yield Frame(f'{name}_{number:06d}', pixels)
    capture.release()
    if number == 0:
        yield Frame(name, None)


def batches(sources: Sequence[str], size: int, limit: int | None) -> Iterator[list[Frame]]:
    """Frames of all sources in batches of ``size``, at most ``limit`` of them."""
    frames = islice((frame for source in sources for frame in frames_of(source)), limit)
    while batch := list(islice(frames, size)):
        yield batch


class Predictor:
    """A network from a config and its weights, for arrays of pixels.

    Args:
        config, weights: paths.
        device: 'auto', 'cpu', 'cuda:0' ...

    Attributes:
        classes: names. segments: whether it predicts label maps instead of objects.
    """

    def __init__(self, config: str, weights: str, device: str = 'auto') -> None:
        cfg = read_config(config)
        check_host_library(cfg)
        check_checkpoint(weights)
        self.segments = cfg.default_scope == 'mmseg'
        self.inferencer = self._inferencer(cfg, weights, None if device == 'auto' else device)
        model = self.inferencer.model
        self.classes = tuple(model.dataset_meta['classes'])

    def _inferencer(self, cfg: Config, weights: str, device: str | None) -> Any:
        if self.segments:
            from mmseg.apis import MMSegInferencer

            return MMSegInferencer(model=cfg, weights=weights, device=device, scope='mmseg')
        from mmdet.apis import DetInferencer

        return DetInferencer(
            model=cfg, weights=weights, device=device, scope='mmdet', show_progress=False
        )

    def __call__(self, images: Sequence[np.ndarray]) -> list[Any]:
        """Data samples of the host library for images (H, W, 3), BGR."""
        if self.segments:
            found = self.inferencer(list(images), batch_size=len(images), return_datasamples=True)
            return found if isinstance(found, list) else [found]
        return self.inferencer(
            list(images),
            batch_size=len(images),
            return_datasamples=True,
            no_save_vis=True,
            no_save_pred=True,
        )['predictions']

    def draw(self, image: np.ndarray, sample: Any, score: float) -> Image.Image:
        """The prediction on its image (H, W, 3), BGR."""
        rgb = np.ascontiguousarray(image[..., ::-1])
        if self.segments:
            return draw_labels(rgb, label_map(sample), self.classes)
        found = sample.pred_instances.cpu()
        found = found[found.scores >= score]
        masks = list(found.masks.numpy().astype(bool)) if 'masks' in found else None
        return draw_objects(
            rgb,
            found.bboxes.numpy(),
            found.labels.tolist(),
            self.classes,
            found.scores.tolist(),
            masks,
        )


def label_map(sample: Any) -> np.ndarray:
    """(H, W) class indices of a segmentor's prediction."""
    return sample.pred_sem_seg.data[0].cpu().numpy()


def coco_results(
    sample: Any, name: str, number: int, classes: Sequence[str], score: float
) -> list[dict]:
    """Objects in COCO's results format; category_id counts from 1 in the order of the classes."""
    from pycocotools import mask as coco_mask

    found = sample.pred_instances.cpu()
    found = found[found.scores >= score]
    results = []
    for i in range(len(found)):
        x0, y0, x1, y1 = (round(v, 2) for v in found.bboxes[i].tolist())
        label = int(found.labels[i])
        results.append(
            dict(
                image_id=number,
                file_name=name,
                category_id=label + 1,
                category=classes[label],
                bbox=[x0, y0, x1 - x0, y1 - y0],
                score=round(float(found.scores[i]), 4),
            )
        )
        if 'masks' in found:
            mask = np.asfortranarray(found.masks[i].numpy().astype(np.uint8))
            rle = coco_mask.encode(mask)
            results[-1]['segmentation'] = dict(size=rle['size'], counts=rle['counts'].decode())
    return results


def predict(
    predictor: Predictor,
    sources: Sequence[str],
    out: Path,
    *,
    score: float = 0.3,
    batch: int = 4,
    limit: int | None = None,
) -> tuple[int, list[str]]:
    """Predict, draw and write; the number of images done, and the names of broken ones.

    Writes ``out/pictures/NAME.jpg`` and ``out/predictions.json`` (detection) or
    ``out/labels/NAME.png`` (segmentation: class index of each pixel).

    Args:
        sources: of `expand`. score: objects below it are left out. batch: images at a time.
        limit: most images.
    """
    from tqdm import tqdm

    if batch < 1:
        raise ArgumentError(f'--batch is {batch}; it must be at least 1')
    (out / 'pictures').mkdir(parents=True, exist_ok=True)
    (out / 'labels').mkdir(exist_ok=True) if predictor.segments else None
    results: list[dict] = []
    broken: list[str] = []
    done = 0
    bar = tqdm(unit='images', total=None if limit is None else limit)
    for frames in batches(sources, batch, limit):
        broken += [frame.name for frame in frames if frame.pixels is None]
        good = [frame for frame in frames if frame.pixels is not None]
        samples = predictor([frame.pixels for frame in good]) if good else []
        for frame, sample in zip(good, samples, strict=True):
            done += 1
            picture = predictor.draw(frame.pixels, sample, score)
            picture.save(out / 'pictures' / f'{frame.name}.jpg', quality=92)
            if predictor.segments:
                labels = label_map(sample).astype(np.uint8)
                Image.fromarray(labels).save(out / 'labels' / f'{frame.name}.png')
            else:
                results += coco_results(sample, frame.name, done, predictor.classes, score)
        bar.update(len(frames))
    bar.close()
    if not predictor.segments:
        (out / 'predictions.json').write_text(json.dumps(results))
    return done, broken
