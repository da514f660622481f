"""Predictions on images, folders, videos and cameras, drawn and written to files.

It stands on mmdet's DetInferencer and mmseg's MMSegInferencer.
"""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from glob import glob
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from mmengine.config import Config
from PIL import Image

from .errors import ArgumentError, FileError
from .data.layouts import IMAGE_SUFFIXES, image_files
from .pictures import draw_labels, draw_objects
from .config.run_config import check_checkpoint, check_host_library, read_config

VIDEO_SUFFIXES = ('.mp4', '.avi', '.mov', '.mkv', '.webm', '.m4v')


class Source(NamedTuple):
    """A file, or a camera, to predict on.

    Attributes:
        path: of the file, or the camera's number.
        file: path below the folder that all inputs share, as predictions.json states it.
        name: for the files written, without suffix; no other source has it.
    """

    path: str
    file: str
    name: str


class Frame(NamedTuple):
    """An image to predict on.

    Attributes:
        name: for the files written. file: of its `Source`.
        pixels: (H, W, 3) BGR; None: broken. number: in a video, from 1.
    """

    name: str
    file: str
    pixels: np.ndarray | None
    number: int | None = None


def is_camera(text: str) -> bool:
    """Whether ``text`` is a camera's number, and no file or folder is called so."""
    return text.isdecimal() and not Path(text).exists()


def expand(inputs: Sequence[str]) -> list[Source]:
    """The files and cameras that ``inputs`` name: files, folders, globs, cameras' numbers.

    What several of them name is there once.

    Raises:
        FileError: one of them names nothing.
    """
    found: dict[str, str] = {}  # by absolute path: the path
    cameras: list[str] = []
    folders: list[str] = []
    for text in inputs:
        path = Path(text)
        if is_camera(text):
            cameras += [text] if text not in cameras else []
            continue
        if path.is_dir():
            files = [str(p) for p in image_files(path)]
        else:
            files = [text] if path.is_file() else sorted(glob(text, recursive=True))
        if not files and path.is_dir():
            raise FileError(
                f'{text} is a folder without images ({", ".join(IMAGE_SUFFIXES)}); leave it out, '
                'or name its videos themselves'
            )
        if not files:
            raise FileError(
                f'{text} names no image, folder, video or camera; mend it, or leave it out'
            )
        found |= {os.path.abspath(f): f for f in files}
        folders += [text] if path.is_dir() else [os.path.dirname(f) for f in files]
    top = os.path.commonpath([os.path.abspath(f) for f in folders]) if folders else ''
    below = [os.path.relpath(path, top) for path in found]
    names = zip(found.values(), below, _names(below, [f'camera{c}' for c in cameras]), strict=True)
    return [*map(Source._make, names), *(Source(c, f'camera{c}', f'camera{c}') for c in cameras)]


def _names(files: Sequence[str], taken: Sequence[str]) -> list[str]:
    """A name of its own for each of different ``files``: the stem where that is enough, or else
    the path, with its suffix only where needed.
    """
    choices = [(Path(f).stem, str(Path(f).with_suffix('')), f) for f in files]
    kinds = [_is_video(f) for f in files]  # a video's name has a number behind it
    level = [0] * len(files)
    while True:
        names = [choice[i] for choice, i in zip(choices, level, strict=True)]
        counts = Counter([*zip(names, kinds, strict=True), *((name, True) for name in taken)])
        clashes = [
            i
            for i, entry in enumerate(zip(names, kinds, strict=True))
            if level[i] < 2 and (counts[entry] > 1 or _is_frame(names[i], counts))
        ]
        if not clashes:
            return names
        for i in clashes:
            level[i] += 1


def _is_frame(name: str, counts: Counter[tuple[str, bool]]) -> bool:
    """Whether a frame of one of the videos in ``counts`` is or may be called ``name``."""
    match = re.fullmatch(r'(.*)_\d{6,}', name)
    return match is not None and (match[1], True) in counts


def _is_video(path: str) -> bool:
    return Path(path).suffix.lower() in VIDEO_SUFFIXES


def frames_of(source: Source) -> Iterator[Frame]:
    """The frames of a video or camera, or the one image of a file."""
    import cv2

    path, file, name = source
    camera = is_camera(path)
    if not camera and not _is_video(path):
        known = Path(path).suffix.lower() in IMAGE_SUFFIXES
        yield Frame(name, file, cv2.imread(path) if known else None)  # None where it is broken
        return
    capture = cv2.VideoCapture(int(path) if camera else path)
    number = 0
    while True:
        more, pixels = capture.read()
        if not more:
            break
        number += 1
        yield Frame(f'{name}_{number:06d}', file, pixels, number)
    capture.release()
    if number == 0:
        yield Frame(name, file, None)


def batches(sources: Sequence[Source], size: int, limit: int | None) -> Iterator[list[Frame]]:
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
    sample: Any, frame: Frame, number: int, classes: Sequence[str], score: float
) -> list[dict]:
    """Objects in COCO's results format; category_id counts from 1 in the order of the classes.

    A video's have the number of their frame too.
    """
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
                file_name=frame.file,
                **({} if frame.number is None else {'frame': frame.number}),
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


def _output(folder: Path, file: str) -> Path:
    """The path of ``file`` in ``folder``, whose sub-folders are made."""
    path = folder / file
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


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
        sources: of `expand`. score: objects below it are left out. batch: images at a time.
        limit: most images.
    """
    from tqdm import tqdm

    for option, value in (('batch', batch), ('limit', limit)):
        if value is not None and value < 1:
            raise ArgumentError(f'--{option} is {value}; it must be at least 1')
    (out / 'pictures').mkdir(parents=True, exist_ok=True)
    results: list[dict] = []
    broken: list[str] = []
    done = 0
    bar = tqdm(unit='images', total=limit)
    for frames in batches(sources, batch, limit):
        broken += [frame.file for frame in frames if frame.pixels is None]
        good = [frame for frame in frames if frame.pixels is not None]
        samples = predictor([frame.pixels for frame in good]) if good else []
        for frame, sample in zip(good, samples, strict=True):
            done += 1
            picture = predictor.draw(frame.pixels, sample, score)
            picture.save(_output(out / 'pictures', f'{frame.name}.jpg'), quality=92)
            if predictor.segments:
                labels = label_map(sample).astype(np.uint8)
                Image.fromarray(labels).save(_output(out / 'labels', f'{frame.name}.png'))
            else:
                results += coco_results(sample, frame, done, predictor.classes, score)
        bar.update(len(frames))
    bar.close()
    if not predictor.segments:
        (out / 'predictions.json').write_text(json.dumps(results))
    return done, broken
