"""An image of a report: its prediction beside its truth, under titles."""

import numpy as np
from PIL import Image

from fastervit_mm.report.results import ImageResult, Results

RED, BLUE = (250, 0, 0), (0, 0, 250)


def flat(colour):
    return Image.new('RGB', (100, 60), colour)


def test_the_truth_stands_left_of_the_prediction():
    calls = []

    def pictures():
        calls.append(1)
        return flat(RED), flat(BLUE)

    image = ImageResult(0.5, 'a.jpg', pictures)
    assert not calls  # drawn only where it is shown
    drawn = np.asarray(image.draw())
    assert drawn.shape == (88, 208, 3) and len(calls) == 1
    assert (drawn[28:, :100] == RED).all() and (drawn[28:, 108:] == BLUE).all()


def test_titles(monkeypatch):
    from PIL import ImageDraw

    seen = []
    monkeypatch.setattr(
        ImageDraw.ImageDraw, 'text', lambda self, xy, text, **options: seen.append(text)
    )
    image = ImageResult(0.5, 'a.jpg', lambda: (flat(RED), flat(BLUE)))
    image.draw()
    image.draw('our model')
    assert seen == ['truth', 'prediction', 'truth', 'our model']


def test_results_do_not_share_their_lists():
    one, other = Results(('cat',)), Results(('dog',))
    for name in ('head', 'per_class', 'images'):
        getattr(one, name).append(1)
        assert getattr(other, name) == []
    assert other.confusion.shape == (0, 0)
