"""Self-contained HTML pages: tables, and pictures inside the file."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence
from typing import Any

from PIL import Image

from ..pictures import plain_names

STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 75rem; padding: 0 1rem;
  color: #1a1a1a; background: #fff }
h1 { font-size: 1.6rem } h2 { margin-top: 2.2rem; border-bottom: 1px solid #ccc }
table { border-collapse: collapse } td, th { padding: .25rem .7rem; text-align: left;
  border-bottom: 1px solid #e3e3e3; vertical-align: top } td.number { text-align: right }
img { max-width: 100% } figure { display: inline-block; margin: .4rem; vertical-align: top }
figcaption { font-size: .85rem; color: #444; max-width: 26rem; overflow-wrap: anywhere }
pre { background: #f4f4f4; padding: .7rem; overflow-x: auto } .bad { color: #b00020 }
"""


def escape(value: Any) -> str:
    """``value`` as text of a page; numbers with three decimals."""
    return html.escape(f'{value:.3f}' if isinstance(value, float) else str(value))


def table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A table; numbers are aligned to the right.

    Args:
        head: of each column.
        rows: of values.
    """

    def cell(value: Any) -> str:
        number = isinstance(value, (int, float))
        return f'<td class="number">{escape(value)}</td>' if number else f'<td>{escape(value)}</td>'

    lines = [''.join(f'<th>{escape(name)}</th>' for name in head)]
    lines += [''.join(map(cell, row)) for row in rows]
    return '<table>' + ''.join(f'<tr>{line}</tr>\n' for line in lines) + '</table>'


def picture(image: Image.Image, caption: str = '', width: int | None = None) -> str:
    """An image inside the page.

    Args:
        image: of any size.
        caption: under it.
        width: px it is shown at; None: its own.
    """
    buffer = io.BytesIO()
    image.convert('RGB').save(buffer, 'JPEG', quality=88)
    data = base64.b64encode(buffer.getvalue()).decode()
    size = f' width="{width}"' if width else ''
    return (
        f'<figure><img alt="{escape(caption)}"{size} src="data:image/jpeg;base64,{data}">'
        f'<figcaption>{escape(caption)}</figcaption></figure>'
    )


def figure(plot: Any, caption: str = '') -> str:
    """A matplotlib figure inside the page, as SVG, with ``caption`` under it.

    Its texts are names from files: dollars in them are dollars, not formulas.
    """
    from matplotlib.text import Text

    buffer = io.BytesIO()
    for text in plot.findobj(Text):
        text.set_parse_math(False)
    with plain_names():  # ticks are made while drawing
        plot.savefig(buffer, format='svg', bbox_inches='tight')
    data = base64.b64encode(buffer.getvalue()).decode()
    return (
        f'<figure><img alt="{escape(caption)}" src="data:image/svg+xml;base64,{data}">'
        f'<figcaption>{escape(caption)}</figcaption></figure>'
    )


def new_figure(width: float = 7, height: float = 3.2, columns: int = 1) -> tuple[Any, Any]:
    """A matplotlib figure that needs no screen.

    Args:
        width: inches.
        height: inches.
        columns: axes side by side.

    Returns:
        The figure, and its axes: one, or an array of one for each column.
    """
    from matplotlib.figure import Figure

    plot = Figure(figsize=(width, height))
    return plot, plot.subplots(1, columns)


def page(title: str, sections: Sequence[tuple[str, str]]) -> str:
    """A whole page.

    Args:
        title: plain text.
        sections: heading (plain text) and content (HTML) of each.
    """
    body = ''.join(f'<h2>{escape(head)}</h2>\n{content}\n' for head, content in sections)
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}'
        f'</title><style>{STYLE}</style></head>\n<body><h1>{escape(title)}</h1>\n{body}'
        '</body></html>\n'
    )
