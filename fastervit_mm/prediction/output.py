"""What predictions are written to: pictures, what the task writes, and the list of all."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from typing import IO, Any

from PIL import Image

from ..errors import writing
from ..tasks.prepared_data import save_whole

LIST, LINES = 'predictions.json', 'predictions.jsonl'


class Output:
    """The folder that predictions are written to.

    The list grows in ``predictions.jsonl``, a line (a JSON list of objects) for each image, and
    becomes ``predictions.json`` at the end: what a killed run had found is in its lines.

    Args:
        out: folder; made where there is none.
        listed: there is such a list.

    Attributes:
        earlier: lines of a run that was killed here, under a new name; None: there are none.

    Raises:
        FileError: it cannot be written to.
    """

    def __init__(self, out: Path, listed: bool) -> None:
        self.out, self.lines, self.earlier = out, out / LINES, None
        self._file: IO[str] | None = None
        with writing(out):
            (out / 'pictures').mkdir(parents=True, exist_ok=True)
            if listed:
                self.earlier = put_aside(self.lines)
                (out / LIST).unlink(missing_ok=True)  # of another run than the pictures to come
                self._file = open(self.lines, 'w', encoding='utf-8')

    def draw(self, name: str, picture: Image.Image) -> None:
        """Write ``picture`` as ``pictures/NAME.jpg``."""
        save_whole(picture, self.out / 'pictures' / f'{name}.jpg', quality=92)

    def add(self, entries: Sequence[dict[str, Any]]) -> None:
        """Add what was found on the next image to the list."""
        if self._file is not None:
            self._file.write(json.dumps(list(entries)) + '\n')
            self._file.flush()

    def finish(self) -> None:
        """Make ``predictions.json`` of the lines, in one step; they stay where that fails."""
        if self._file is None:
            return
        part = self.lines.with_suffix('.part')
        with writing(self.out / LIST, f'make room; the predictions are in {self.lines}'):
            self._file.close()
            try:
                _join(self.lines, part)
                part.replace(self.out / LIST)
            finally:
                part.unlink(missing_ok=True)
            self.lines.unlink()


def _join(lines: Path, path: Path) -> None:
    """Write the objects of all ``lines`` as one list to ``path``."""
    with open(lines, encoding='utf-8') as source, open(path, 'w', encoding='utf-8') as file:
        separator = '['
        for line in source:
            objects = line.strip()[1:-1]
            if objects and line.endswith('\n'):  # the last one is torn where the disk was full
                file.write(separator + objects)
                separator = ', '
        file.write(']' if separator != '[' else '[]')


def put_aside(lines: Path) -> Path | None:
    """Give the lines that a killed run left a name of their own; None where there are none."""
    if not lines.is_file():
        return None
    names = (lines.with_name(f'{lines.stem}_{number}{lines.suffix}') for number in count(1))
    path = next(path for path in names if not path.exists())
    return lines.rename(path)


def lines_of(path: Path) -> int:
    """How many images the whole lines in ``path`` are of."""
    with open(path, 'rb') as file:
        return sum(line.endswith(b'\n') for line in file)
