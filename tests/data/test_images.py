"""What is told of an image file before training opens it."""

import numpy as np
import pytest
from PIL import Image

from fastervit_mm.data.files import image_files, stem_of
from fastervit_mm.data.images import ImageFacts, probe
from tests.data.folders import cut_short, write_image

MODES = [
    ('RGB', 'png', None),
    ('RGB', 'jpg', None),
    ('YCbCr', 'tif', None),
    ('L', 'png', 'grey'),
    ('1', 'png', 'grey'),
    ('LA', 'png', 'grey'),
    ('P', 'png', 'palette'),
    ('PA', 'tif', 'palette'),
    ('CMYK', 'jpg', 'CMYK'),
    ('RGBA', 'png', 'alpha'),
    ('I;16', 'png', '16-bit'),
]


@pytest.mark.parametrize('mode, suffix, kind', MODES)
def test_kinds_of_pixels(mode, suffix, kind, tmp_path):
    path = tmp_path / f'a.{suffix}'
    Image.new(mode, (5, 3)).save(path)
    with Image.open(path) as image:
        assert image.mode == mode
    assert probe(path, decode=True) == ImageFacts((5, 3), kind, 1, None)


@pytest.mark.parametrize('rotation', range(1, 9))
def test_four_rotations_exchange_the_sides(rotation, tmp_path):
    """Pillow's own turning is the judge."""
    from PIL import ImageOps

    facts = probe(write_image(tmp_path / 'a.jpg', (5, 3), rotation=rotation))
    assert (facts.size, facts.rotation) == ((5, 3), rotation)
    with Image.open(tmp_path / 'a.jpg') as image:
        assert facts.shown_size == ImageOps.exif_transpose(image).size
    assert facts.shown_size == ((3, 5) if rotation >= 5 else (5, 3))


def test_files_that_are_none(tmp_path):
    assert probe(tmp_path / 'a.png') == ImageFacts((0, 0), None, 1, 'missing')
    (tmp_path / 'folder.png').mkdir()
    assert probe(tmp_path / 'folder.png').fault == 'missing'


def test_what_cannot_be_read_says_why(tmp_path, monkeypatch):
    (tmp_path / 'a.png').write_bytes(b'no picture')
    facts = probe(tmp_path / 'a.png')
    assert facts.fault.startswith('unreadable (cannot identify image file')
    assert facts.fault.endswith(')') and facts[:3] == ((0, 0), None, 1)

    def fail(path):
        raise OSError

    monkeypatch.setattr(Image, 'open', fail)
    assert probe(tmp_path / 'a.png').fault == 'unreadable (OSError)'


@pytest.mark.parametrize(
    'error', [OSError('x'), ValueError('x'), SyntaxError('x'), Image.DecompressionBombError('x')]
)
def test_every_fault_of_pillow_is_told(error, tmp_path, monkeypatch):
    def fail(path):
        raise error

    path = write_image(tmp_path / 'a.png')
    monkeypatch.setattr(Image, 'open', fail)
    assert probe(path).fault == 'unreadable (x)'


def test_only_decoding_finds_a_cut(tmp_path):
    path = write_image(tmp_path / 'a.jpg', (64, 48), noise=True)
    cut_short(path)
    assert probe(path).fault is None and probe(path, decode=False).size == (64, 48)
    assert probe(path, decode=True).fault.startswith('unreadable (image file is truncated')


def test_image_files_by_suffix_in_order(tmp_path):
    names = ['b/1.jpg', 'b/a.JPEG', 'a.png', 'c.BMP', 'd.tif', 'e.tiff', 'f.webp']
    others = ['g.gif', 'h.txt', 'i.json', 'jpg', 'k.jpg.txt']
    for name in (*reversed(names), *others):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b'')
    found = image_files(tmp_path)
    assert [str(p.relative_to(tmp_path)) for p in found] == [
        'a.png',
        'b/1.jpg',
        'b/a.JPEG',
        'c.BMP',
        'd.tif',
        'e.tiff',
        'f.webp',
    ]


def test_what_an_image_and_its_label_map_share(tmp_path):
    assert stem_of(tmp_path / 'b' / 'x.1.jpg', tmp_path) == 'b/x.1'
    assert stem_of(tmp_path / 'b' / 'x.1.jpg', tmp_path / 'b') == 'x.1'


@pytest.mark.parametrize('mode', ['I;16', 'P', 'L', 'RGBA', 'CMYK'])
def test_other_pixels_are_read_as_colour(mode, tmp_path):
    """As the remedies say: mmcv gives three channels of 8 bits."""
    from mmcv import imread

    path = tmp_path / ('a.jpg' if mode == 'CMYK' else 'a.png')
    if mode == 'I;16':
        Image.fromarray(np.full((3, 5), 40000, np.uint16)).save(path)
    else:
        write_image(path, (5, 3), mode=mode)
    assert imread(path).shape == (3, 5, 3) and imread(path).dtype == np.uint8
