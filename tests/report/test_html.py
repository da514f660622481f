"""Pages: escaped text, aligned numbers, pictures inside the file."""

import numpy as np
import pytest
from PIL import Image

from fastervit_mm.report import html
from tests.report.pages import pictures


@pytest.mark.parametrize(
    'value, text',
    [
        ('<script>"&\'', '&lt;script&gt;&quot;&amp;&#x27;'),
        (0.12345, '0.123'),
        (2.0, '2.000'),
        (np.float64(0.9996), '1.000'),
        (7, '7'),
        (None, 'None'),
    ],
)
def test_values_as_text(value, text):
    assert html.escape(value) == text


def test_a_table_aligns_its_numbers():
    table = html.table(['<b>', 'AP'], [['<i>', 0.5], ['n', 3], ['–', '7']])
    assert table == (
        '<table><tr><th>&lt;b&gt;</th><th>AP</th></tr>\n'
        '<tr><td>&lt;i&gt;</td><td class="number">0.500</td></tr>\n'
        '<tr><td>n</td><td class="number">3</td></tr>\n'
        '<tr><td>–</td><td>7</td></tr>\n</table>'
    )
    assert 'td.number { text-align: right }' in html.page('', [])


def test_a_picture_of_a_page_is_the_picture():
    pixels = np.zeros((40, 60, 3), np.uint8)
    pixels[:, :30] = (200, 30, 10)
    (shown,) = pictures(html.picture(Image.fromarray(pixels), 'a<b>.jpg', width=560))
    assert shown[:4] == ('a<b>.jpg', 'a<b>.jpg', '560', 'image/jpeg')
    assert shown.image.format == 'JPEG' and shown.image.size == (60, 40)
    seen = np.asarray(shown.image).astype(int)
    assert abs(seen[:, :24] - (200, 30, 10)).max() < 12 and seen[:, 40:].max() < 12


def test_pictures_are_kept_well():
    """A smooth picture differs from what the page shows by little."""
    ramp = np.linspace(0, 255, 64)
    pixels = np.stack(np.broadcast_arrays(ramp, ramp[:, None], 128), -1).astype(np.uint8)
    (shown,) = pictures(html.picture(Image.fromarray(pixels)))
    assert np.abs(np.asarray(shown.image).astype(int) - pixels).mean() < 2
    assert len(shown.content) < pixels.size / 4


@pytest.mark.parametrize('mode', ['L', 'RGBA', 'P'])
def test_any_kind_of_picture_is_shown_at_its_own_size(mode):
    shown = html.picture(Image.new(mode, (3, 5)))
    (only,) = pictures(shown)
    assert only[:3] == ('', '', None) and only.image.size == (3, 5) and 'width' not in shown


def test_a_figure_is_drawn_as_lines():
    plot, axes = html.new_figure(6, 3)
    axes.set_title('steps')
    (shown,) = pictures(html.figure(plot, 'a & b'))
    assert shown[:4] == ('a & b', 'a & b', None, 'image/svg+xml')
    text = shown.content.decode()
    assert '</svg>' in text and '<!-- steps -->' in text
    assert plot.get_size_inches().tolist() == [6, 3]
    assert pictures(html.figure(plot))[0][:3] == ('', '', None)


def test_axes_of_a_figure():
    plot, axes = html.new_figure()
    assert plot.get_size_inches().tolist() == [7, 3.2] and plot.axes == [axes]
    plot, (left, right) = html.new_figure(columns=2)
    boxes = [a.get_position() for a in (left, right)]
    assert boxes[0].x1 < boxes[1].x0 and boxes[0].y0 == boxes[1].y0  # beside each other
    assert plot.axes == [left, right]


def test_a_page_of_sections():
    page = html.page('a<b', [('first & last', '<p>one</p>'), ('second', '<i>two</i>')])
    assert page.startswith('<!doctype html>\n<html lang="en">')
    assert '<meta charset="utf-8"><title>a&lt;b</title>' in page
    assert page.endswith(
        '<body><h1>a&lt;b</h1>\n'
        '<h2>first &amp; last</h2>\n<p>one</p>\n<h2>second</h2>\n<i>two</i>\n</body></html>\n'
    )
