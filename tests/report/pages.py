"""Reading a page of ours again: its headings, tables and pictures."""

import base64
import io
import re
from html import unescape
from html.parser import HTMLParser
from typing import NamedTuple

from PIL import Image


class Picture(NamedTuple):
    """One picture of a page."""

    caption: str
    alt: str
    width: str | None
    kind: str  # such as image/jpeg
    content: bytes

    @property
    def image(self) -> Image.Image:
        return Image.open(io.BytesIO(self.content))


class _Tables(HTMLParser):
    def __init__(self):
        super().__init__()
        self.tables, self.cell = [], None

    def handle_starttag(self, tag, attrs):
        if tag == 'table':
            self.tables.append([])
        elif tag == 'tr':
            self.tables[-1].append([])
        elif tag in ('td', 'th'):
            self.cell = ''

    def handle_data(self, data):
        if self.cell is not None:
            self.cell += data

    def handle_endtag(self, tag):
        if tag in ('td', 'th'):
            self.tables[-1][-1].append(self.cell)
            self.cell = None


def tables(page: str) -> list[list[list[str]]]:
    """The text of every cell of every row of every table."""
    parser = _Tables()
    parser.feed(page)
    return parser.tables


def sections(page: str) -> dict[str, str]:
    """Heading -> what follows it, in the page's order."""
    _, *parts = re.split(r'<h2>(.*?)</h2>', page)
    return {unescape(head): body for head, body in zip(parts[::2], parts[1::2], strict=True)}


def pictures(page: str) -> list[Picture]:
    """The pictures inside the page, in its order."""
    found = re.findall(
        r'<figure><img alt="([^"]*)"(?: width="(\d+)")? src="data:([^;]*);base64,([^"]*)">'
        r'<figcaption>(.*?)</figcaption></figure>',
        page,
        flags=re.S,
    )
    return [
        Picture(unescape(caption), unescape(alt), width or None, kind, base64.b64decode(data))
        for alt, width, kind, data, caption in found
    ]
