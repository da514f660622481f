"""What looking at a data set found: counts, sizes, and problems with the files they are in."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from .text import printable

# kind of problem -> what is done about it in training
REMEDIES = {
    'file name that leads out of the folder': 'left out',
    'missing image': 'left out',
    'unreadable image': 'left out',
    'image more than 100 times as long as wide': 'left out',
    'image too small to train on': 'kept out of training by filter_cfg.min_size of the config',
    'image without annotations': 'kept out of training by the config unless it asks for them',
    'size differs from the annotations': "the image's own size is used",
    'grey image': 'read as colour',
    '16-bit image': 'read as 8 bit colour',
    'palette image': 'read as colour',
    'CMYK image': 'read as colour',
    'alpha image': 'read without transparency',
    'image listed twice': 'read once, with the annotations of all its entries',
    'EXIF rotation': 'read as the annotations were made; turned where they do not tell',
    'box that is not four numbers': 'left out',
    'box of no size': 'left out',
    'box outside its image': 'left out',
    'box beyond the edge': 'cut at the edge',
    'polygon of fewer than three points': 'left out',
    'polygon far outside its image': 'left out',
    'run-length mask that does not fit its image': 'left out',
    'object without an outline': 'its box is taken as its outline',
    'area that is not a positive number': 'computed from the outline or the box',
    'annotation marked ignore': 'left out',
    'annotation of an unknown image': 'left out',
    'annotation of an unknown category': 'left out',
    'category without instances': 'kept; the network cannot learn it',
    'file that is not read as an image': 'left out: convert it to PNG or JPEG, or take it away',
    'file name that a list cannot hold': 'left out: no blank at its ends, no line break; rename it',
    'image of the same name as another': 'left out: give each a name of its own',
    'image one pixel wide or high': 'left out: mmseg reads its label map as a row of numbers',
    'image without label map': 'left out',
    'label map without image': 'left out',
    'label map of another size': 'left out',
    'label maps of 0 and 255 only': '255 is ignored: write 1 for the class',
    'label beyond the classes': 'stops',
    'label that is not 0 to 255': 'stops',
    'label map in colours': 'stops',
}


@dataclass
class Findings:
    """Of one split.

    Attributes:
        name: of the split.
        sizes: width and height of each usable image, px.
        instances: objects (or pixels, in label maps) of each class.
        problems: kind -> one line for each file or annotation it was found in.
        rotated: how many images whose sides EXIF exchanges are annotated 'as stored' and
            'as shown'.
        notes: what else there is to say, in whole lines.
        fatal: why training would fail, in words that say how to fix it.
    """

    name: str
    sizes: list[tuple[int, int]] = field(default_factory=list)
    instances: Counter = field(default_factory=Counter)
    problems: dict[str, list[str]] = field(default_factory=dict)
    rotated: Counter = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)
    fatal: list[str] = field(default_factory=list)

    def add(self, kind: str, where: str) -> None:
        """Note a problem of a kind that `REMEDIES` lists."""
        assert kind in REMEDIES, kind
        self.problems.setdefault(kind, []).append(printable(where))

    def note_held_out(self, count: int) -> None:
        """Say that ``count`` images of this split are kept for validation."""
        self.notes.append(f'{self.name}: {count} of them held out: there is no validation split')

    def note_evaluated(self, count: int | None, source: str) -> None:
        """Say which images a model is evaluated on.

        Args:
            count: of those that training holds out; None: all.
            source: name of their file or folder.
        """
        which = (
            f'all images of {source}'
            if count is None
            else f'{count} of the images of {source}, the share that training holds out'
        )
        self.notes.append(f'{self.name}: {which}')

    def lines(self) -> list[str]:
        """The notes and one line for each kind of problem, for a log."""
        return self.notes + [
            f'{self.name}: {len(where)} × {kind} ({REMEDIES[kind]}), such as {where[0]}'
            for kind, where in self.problems.items()
        ]
