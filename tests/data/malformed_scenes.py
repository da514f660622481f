"""Folders in ADE20K's layout with something wrong in them; see `malformed`."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tests.data.folders import write_ade, write_image
from tests.data.malformed import MAP, SIZE, Make, huge, saved


def scenes(change: Make | None = None, classes=None, names='abcdef', **options) -> Make:
    """A folder in ADE20K's layout, changed."""

    def make(folder: Path) -> None:
        write_ade(folder, maps=dict.fromkeys(names, MAP), classes=classes, **options)
        if change is not None:
            change(folder)

    return make


def classes_txt(data: bytes) -> Make:
    return scenes(lambda f: (f / 'classes.txt').write_bytes(data))


def scene(name: str, write: Callable[[Path], Any] | None = None, labels=MAP) -> Make:
    """One more image with a label map, in other names or by other hands."""

    def change(folder: Path) -> None:
        write_ade(folder, maps={'z': labels})
        image = (folder / 'images/training/z.jpg').rename(folder / 'images/training' / name)
        label_map = folder / 'annotations/training/z.png'
        label_map.rename(label_map.with_name(image.with_suffix('.png').name))
        if write is not None:
            image.unlink()
            write(image)

    return scenes(change)


def label_map(write: Callable[[Path], Any]) -> Make:
    """One more image whose label map is written by ``write``."""

    def change(folder: Path) -> None:
        write_ade(folder, maps={'z': MAP})
        path = folder / 'annotations/training/z.png'
        path.unlink()
        write(path)

    return scenes(change)


def scenes_behind_links(folder: Path) -> None:
    scenes()(folder)
    for part in ('images', 'annotations'):
        elsewhere = folder.parent / f'{folder.name}_{part}'
        (folder / part / 'training').rename(elsewhere)
        (folder / part / 'training').mkdir()
        (folder / part / 'training/below').symlink_to(elsewhere)
        (elsewhere / 'circle').symlink_to(folder / part)


def labels(values: Any, dtype: Any = np.uint8) -> Callable[[Path], Any]:
    return lambda path: Image.fromarray(np.array(values, dtype)).save(path)


SEGMENTATION: dict[str, Make] = {
    'nothing': scenes(),
    'one row': scene('z.jpg', labels=MAP[:1]),
    'one column': scene('z.jpg', labels=MAP[:, :1]),
    'one pixel': scene('z.jpg', labels=MAP[:1, :1]),
    'a line of pixels': scene('z.jpg', labels=np.zeros((1, 4000), int)),
    'a blank before the dot': scene('photo .jpg'),
    'a blank at the start': scene(' photo.jpg'),
    'a hard blank at the end': scene('photo\xa0.jpg'),
    'a line break': scene('pho\nto.jpg'),
    'a carriage return': scene('photo\r.jpg'),
    'a line separator': scene('pho\u2028to.jpg'),
    'no UTF-8': scene('photo\udce9.jpg'),
    'umlauts': scene('fünf.jpg'),
    'two dots': scene('photo.1.jpg'),
    'a name of dots': scene('...jpg'),
    'another suffix': scene('photo.tga'),
    'capitals': scene('photo.JPG'),
    'a folder named like an image': scene('photo.jpg', Path.mkdir),
    'an empty image': scene('photo.jpg', Path.touch),
    'a pipe': scene('photo.jpg', os.mkfifo),
    'a link to nowhere': scene('photo.jpg', lambda p: p.symlink_to('nowhere')),
    'a TGA named JPEG': scene('photo.jpg', saved(format='TGA')),
    'PostScript': scene('photo.jpg', saved(format='EPS')),
    'a huge image': scene('photo.jpg', lambda p: huge(p.with_suffix('.png'))),
    'two images of a name': scenes(lambda f: write_image(f / 'images/training/a.png', SIZE)),
    'links': scenes_behind_links,
    'a map of palette': label_map(saved('P')),
    'a map of bits': label_map(saved('1')),
    'a map with alpha': label_map(saved('LA')),
    'a map in colours': label_map(saved()),
    'a map of 16 bits': label_map(labels(MAP, np.uint16)),
    'a map of 16 bits and 300': label_map(labels(MAP + 299, np.uint16)),
    'a map that is empty': label_map(Path.touch),
    'a map that is a folder': label_map(Path.mkdir),
    'a map that is a pipe': label_map(os.mkfifo),
    'a map that is huge': label_map(huge),
    'a map that is PostScript': label_map(saved('L', format='EPS')),
    'a map that is text': label_map(lambda p: p.write_text('0 1 2')),
    'a map of 255': label_map(labels(np.full((40, 48), 255))),
    'Latin-1': classes_txt('é\nb\nc'.encode('latin-1')),
    'UTF-16': classes_txt('a\nb\nc'.encode('utf-16')),
    'a byte order mark': classes_txt(b'\xef\xbb\xbfa\nb\nc\n'),
    'Windows': classes_txt(b'a\r\nb\r\nc\r\n'),
    'a NUL': classes_txt(b'a\0\nb\nc'),
    'one name twice': classes_txt(b'a\nb\na'),
    'no names': classes_txt(b'\n\n'),
    'a folder for classes.txt': scenes(lambda f: (f / 'classes.txt').mkdir()),
    'a file for a folder': scenes(lambda f: (f / 'images/validation').write_text('x')),
    'Windows and the Mac were here': scenes(
        lambda f: [
            (f / 'images/training' / name).write_bytes(b'x') for name in ('.DS_Store', 'Thumbs.db')
        ]
    ),
}
