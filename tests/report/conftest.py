"""What drawing leaves behind to be looked at: figures as objects, texts with their places."""

import pytest
from matplotlib.figure import Figure
from PIL import ImageDraw


@pytest.fixture
def figures(monkeypatch) -> list[Figure]:
    """The matplotlib figures that get written, in that order."""
    seen: list[Figure] = []
    save = Figure.savefig

    def savefig(self, *args, **kwargs):
        seen.append(self)
        return save(self, *args, **kwargs)

    monkeypatch.setattr(Figure, 'savefig', savefig)
    return seen


@pytest.fixture
def written(monkeypatch) -> list[tuple]:
    """The texts that get drawn on pictures: (text, x, y, colour, font size), in that order."""
    seen: list[tuple] = []
    write = ImageDraw.ImageDraw.text

    def text(self, xy, text, fill=None, font=None, **kwargs):
        seen.append((text, *xy, fill, font.size))
        return write(self, xy, text, fill=fill, font=font, **kwargs)

    monkeypatch.setattr(ImageDraw.ImageDraw, 'text', text)
    return seen
