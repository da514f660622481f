"""Drawing objects and label maps legibly at any image size, and laying pictures side by side."""

from __future__ import annotations

import colorsys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
from PIL import Image, ImageDraw, ImageFont

MIN_SIDE = 480  # px: smaller images are enlarged before anything is written on them


@contextmanager
def plain_names() -> Iterator[None]:
    """Inside, matplotlib writes the dollars in a text as they are: names from files are no formulas.

    The host libraries' visualizers draw by it. A text keeps what held when it was made.
    """
    import matplotlib

    with matplotlib.rc_context({'text.parse_math': False}):
        yield


def class_colour(index: int) -> tuple[int, int, int]:
    """A colour for class ``index``, far from those of its neighbours."""
    hue = (index * 0.618034) % 1
    red, green, blue = colorsys.hsv_to_rgb(hue, 0.75, 0.95)
    return int(255 * red), int(255 * green), int(255 * blue)


def enlargement(width: int, height: int) -> int:
    """Whole factor by which an image is enlarged so that text on it can be read."""
    return max(1, -(-MIN_SIDE // max(width, height, 1)))


def _enlarged(image: np.ndarray) -> tuple[Image.Image, int]:
    """``image`` (H, W, 3) as a picture that can be written on, and by how much it was enlarged."""
    height, width = image.shape[:2]
    factor = enlargement(width, height)
    size = (width * factor, height * factor)
    return Image.fromarray(image).resize(size, Image.Resampling.BICUBIC), factor


def _text_size(picture: Image.Image) -> int:
    """Height of text, px, that can be read on ``picture``."""
    return max(13, max(picture.size) // 55)


def _paint(
    picture: Image.Image, mask: np.ndarray, colour: tuple[int, int, int], strength: float
) -> Image.Image:
    """``picture`` with ``colour``, of ``strength`` 0 to 1, where ``mask`` (H, W) is set."""
    alpha = Image.fromarray((mask * 255 * strength).astype(np.uint8)).resize(
        picture.size, Image.Resampling.NEAREST
    )
    return Image.composite(Image.new('RGB', picture.size, colour), picture, alpha)


def _write(
    draw: ImageDraw.ImageDraw,
    x: float,
    y: float,
    text: str,
    colour: tuple[int, int, int],
    size: int,
    limits: tuple[int, int],
) -> None:
    """``text`` on a patch of ``colour``, kept inside the picture.

    Args:
        draw: of the picture.
        x: left edge, px.
        y: top edge, px.
        text: one line.
        colour: of the patch; the text is black or white, whichever can be read on it.
        size: height of the text, px.
        limits: width and height of the picture, px.
    """
    font = ImageFont.load_default(size)
    left, top, right, bottom = draw.textbbox((0, 0), text, font=font)
    width, height = right - left + 6, bottom - top + 6
    x, y = min(max(x, 0), max(limits[0] - width, 0)), min(max(y, 0), max(limits[1] - height, 0))
    draw.rectangle([x, y, x + width, y + height], fill=colour)
    dark = sum(colour) > 380
    draw.text(
        (x + 3 - left, y + 3 - top), text, fill=(0, 0, 0) if dark else (255, 255, 255), font=font
    )


def draw_objects(
    image: np.ndarray,
    boxes: np.ndarray,
    labels: Sequence[int],
    names: Sequence[str],
    scores: Sequence[float] | None = None,
    masks: Sequence[np.ndarray] | None = None,
) -> Image.Image:
    """Boxes, masks, names and scores on an image.

    Args:
        image: (H, W, 3) uint8 RGB.
        boxes: (N, 4) x0, y0, x1, y1 in px of ``image``.
        labels: N class indices into ``names``.
        names: of the classes.
        scores: N, 0 to 1; None for the truth.
        masks: N arrays (H, W) of bool; None: there are none.

    Returns:
        The image, enlarged where it is small.
    """
    picture, factor = _enlarged(image)
    if masks is not None:
        for mask, label in zip(masks, labels, strict=True):
            picture = _paint(picture, mask, class_colour(label), 0.4)
    draw = ImageDraw.Draw(picture)
    line = max(2, max(picture.size) // 400)
    text_size = _text_size(picture)
    for i, label in enumerate(labels):
        x0, y0, x1, y1 = (float(v) * factor for v in boxes[i])
        draw.rectangle((x0, y0, x1, y1), outline=class_colour(label), width=line)
    for i, label in enumerate(labels):  # text above all lines
        text = names[label] + ('' if scores is None else f' {scores[i]:.2f}')
        _write(
            draw,
            boxes[i][0] * factor,
            boxes[i][1] * factor - text_size - 6,
            text,
            class_colour(label),
            text_size,
            picture.size,
        )
    return picture


def titled(picture: Image.Image, title: str) -> Image.Image:
    """``picture`` under a line of text."""
    size = 18
    canvas = Image.new('RGB', (picture.width, picture.height + size + 10), 'white')
    canvas.paste(picture, (0, size + 10))
    ImageDraw.Draw(canvas).text((4, 4), title, fill='black', font=ImageFont.load_default(size))
    return canvas


def side_by_side(
    pictures: Sequence[Image.Image], columns: int | None = None, gap: int = 8
) -> Image.Image:
    """Pictures in rows, each cell as large as the largest.

    Args:
        pictures: at least one.
        columns: of the rows; None: all in one row.
        gap: between pictures, px.
    """
    columns = columns or len(pictures)
    width, height = (max(p.size[axis] for p in pictures) + gap for axis in (0, 1))
    rows = -(-len(pictures) // columns)  # rounded up
    canvas = Image.new('RGB', (columns * width - gap, rows * height - gap), 'white')
    for i, picture in enumerate(pictures):
        canvas.paste(picture, (i % columns * width, i // columns * height))
    return canvas


def draw_labels(image: np.ndarray, labels: np.ndarray, names: Sequence[str]) -> Image.Image:
    """A label map over its image, with a legend of the classes that occur in it.

    Args:
        image: (H, W, 3) uint8 RGB.
        labels: (H, W) class indices into ``names``; anything outside is left unpainted.
        names: of the classes.

    Returns:
        The image, enlarged where it is small.
    """
    picture, _ = _enlarged(image)
    present = [i for i in np.unique(labels).tolist() if 0 <= i < len(names)]
    for i in present:
        picture = _paint(picture, labels == i, class_colour(i), 0.55)
    draw = ImageDraw.Draw(picture)
    text_size = _text_size(picture)
    row_height = text_size + 8
    for row, i in enumerate(present[: picture.height // row_height]):
        _write(draw, 0, row * row_height, names[i], class_colour(i), text_size, picture.size)
    return picture
