"""Predicting on files: what is found drawn and written, what fails left out and named."""

from __future__ import annotations

import errno
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..errors import ArgumentError, UserError, writing
from .output import Output, lines_of
from .predictor import Predictor
from .sources import MAX_PIXELS, Frame, Source, batches

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)  # no further image can be written


class Skipped(NamedTuple):
    """An image that was left out.

    Attributes:
        file: of its `Source`, and the frame of a video.
        reason: one line.
    """

    file: str
    reason: str


class Outcome(NamedTuple):
    """How many images were predicted on, and those that were left out."""

    done: int
    skipped: list[Skipped]


class Interrupted(KeyboardInterrupt):
    """Ctrl-C, after what was done is in its files."""


def predict(
    predictor: Predictor,
    sources: Sequence[Source],
    out: Path,
    *,
    score: float = 0.3,
    batch: int = 4,
    limit: int | None = None,
    max_pixels: int = MAX_PIXELS,
) -> Outcome:
    """Predict, draw and write: an image that fails is left out alone, and named with its reason.

    Writes ``out/pictures/NAME.jpg`` and ``out/predictions.json`` (detection) or
    ``out/labels/NAME.png`` (segmentation: class index of each pixel), NAME of `expand`. What was
    done is written whatever ends the run.

    Args:
        predictor: of the network.
        sources: of `expand`.
        out: folder; made where there is none.
        score: objects below it are left out.
        batch: images at a time; where the network fails on several, one by one.
        limit: most images; None: all.
        max_pixels: larger images are left out.

    Raises:
        FileError: ``out`` cannot be written to.
        Interrupted: by Ctrl-C.
    """
    from tqdm import tqdm

    for option, value in (('batch', batch), ('limit', limit), ('max-pixels', max_pixels)):
        if value is not None and value < 1:
            raise ArgumentError(f'--{option} is {value}; it must be at least 1')
    task = predictor.task
    output = Output(out, task.listed)
    if output.earlier is not None:
        print(
            f'{out} holds what a run that was killed had found on {lines_of(output.earlier)} '
            f'images: {output.earlier}'
        )
    done, skipped = 0, list[Skipped]()
    bar = tqdm(unit='images', total=limit)
    try:
        for frames in batches(sources, batch, limit, max_pixels):
            images = [frame.pixels for frame in frames if frame.pixels is not None]
            samples = iter(_samples(predictor, images))
            for frame in frames:
                reason = frame.fault
                if reason is None:
                    reason = _write(predictor, output, frame, next(samples), done + 1, score)
                if reason is None:
                    done += 1
                else:
                    skipped.append(Skipped(_called(frame), reason))
            bar.update(len(frames))
    except KeyboardInterrupt:
        raise Interrupted(f'{done} images done, {len(skipped)} skipped; in {out}') from None
    finally:
        bar.close()
        output.finish()
    return Outcome(done, skipped)


def _samples(predictor: Predictor, images: list[np.ndarray]) -> list[Any]:
    """What is predicted on each of ``images``; a `Failure` on those where the network fails."""
    if not images:
        return []
    found: list[Any] | None = None
    try:
        found = list(predictor(images))
    except UserError:
        raise
    except Exception as error:  # of any library: out of memory, a side of 0 px after resizing ...
        if len(images) == 1:
            return [Failure(why(error, images[0]))]
    if found is None:  # without the error, which keeps the memory of what failed
        return [sample for image in images for sample in _samples(predictor, [image])]
    if len(found) != len(images):
        raise RuntimeError(f'{len(found)} predictions on {len(images)} images')
    return found


def _write(
    predictor: Predictor, output: Output, frame: Frame, sample: Any, number: int, score: float
) -> str | None:
    """Draw and write the prediction on an image; None, or why that is not possible.

    Args:
        predictor: of the network.
        output: gets it.
        frame: with pixels.
        sample: what was predicted on it, or a `Failure`.
        number: of the image, from 1.
        score: objects below it are left out.

    Raises:
        FileError: the disk is full.
    """
    if isinstance(sample, Failure):
        return sample.reason
    pixels: Any = frame.pixels
    task, image = predictor.task, image_entry(frame, number)
    try:
        output.draw(frame.name, predictor.draw(pixels, sample, score))
        entries = task.write(output.out, frame.name, sample, image, predictor.classes, score)
        output.add(entries)
    except UserError:
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno in FULL:
            with writing(output.out):
                raise
        return why(error, pixels)
    return None


class Failure(NamedTuple):
    """Stands for the prediction on an image where the network failed."""

    reason: str


def why(error: Exception, image: np.ndarray) -> str:
    """One line that names what failed on ``image``, and where."""
    text = ' '.join(str(error).split())[:300]
    place = traceback.extract_tb(error.__traceback__)[-1]
    size = f'{image.shape[1]}x{image.shape[0]} px'
    at = f'{Path(place.filename).name}, line {place.lineno}'
    return f'failed on its {size} ({type(error).__name__}: {text or "no message"}; {at})'


def _called(frame: Frame) -> str:
    return frame.file if frame.number is None else f'{frame.file}, frame {frame.number}'


def image_entry(frame: Frame, number: int) -> dict[str, Any]:
    """What predictions.json says of an image: its ``number``, its file, its place in a video."""
    image: dict[str, Any] = dict(image_id=number, file_name=frame.file)
    return image if frame.number is None else dict(image, frame=frame.number)
