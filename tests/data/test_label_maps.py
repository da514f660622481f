"""Label maps: which can be used, what their numbers mean, and what is said of the rest."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fastervit_mm.data.folder import read_folder
from fastervit_mm.errors import ArgumentError
from tests.data.folders import (
    cut_short,
    fit,
    innermost,
    segmentor,
    write_ade,
    write_image,
    write_map,
)

ROWS = [[0, 1], [2, 2]]


def names(cfg, split='train') -> list[str]:
    return Path(innermost(cfg, split)['ann_file']).read_text().splitlines()


def test_pixels_are_counted_by_class(tmp_path):
    folder = write_ade(tmp_path / 'mine', maps={'a': ROWS, 'b': [[1, 1], [255, 0]]})
    write_ade(folder, 'validation', maps={'c': [[1, 1, 1], [1, 1, 1]]})
    cfg, (train, val) = fit(segmentor(), folder)
    assert (train.name, val.name) == ('training', 'validation')
    assert train.instances == {'class 0': 2, 'class 1': 3, 'class 2': 2}
    assert val.instances == {'class 1': 6}
    assert (train.sizes, val.sizes) == ([(2, 2)] * 2, [(3, 2)])
    assert train.lines() == []
    assert val.problems == {'category without instances': ['class 0', 'class 2']}
    assert (names(cfg), names(cfg, 'val'), names(cfg, 'test')) == (['a', 'b'], ['c'], ['c'])


def test_images_and_label_maps_without_the_other(tmp_path):
    folder = write_ade(tmp_path / 'mine', maps={'b': ROWS, 'a': ROWS, 'c': None, 'd': ROWS})
    (folder / 'images/training/d.jpg').unlink()
    write_map(folder / 'annotations/training/sub/a.png', ROWS)
    _, (findings,) = fit(segmentor(), folder)
    assert findings.lines()[1:] == [
        'training: 2 × label map without image (left out), such as d.png',
        'training: 1 × image without label map (left out), such as c.jpg',
    ]
    assert findings.problems['label map without image'] == ['d.png', 'a.png']  # d, sub/a
    assert len(findings.sizes) == 2


def test_sub_folders_keep_their_names(tmp_path):
    folder = write_ade(tmp_path / 'mine', maps={'x/1': ROWS, 'y/1': ROWS, 'y/2.5': ROWS})
    write_ade(folder, 'validation', maps={'x/1': ROWS})
    cfg, _ = fit(segmentor(), folder)
    assert names(cfg) == ['x/1', 'y/1', 'y/2.5'] and names(cfg, 'val') == ['x/1']


def test_what_cannot_be_used_is_left_out_and_named(tmp_path):
    folder = write_ade(tmp_path / 'mine', maps=dict.fromkeys('abcdef', ROWS))
    images, maps = folder / 'images/training', folder / 'annotations/training'
    cut_short(write_image(images / 'a.jpg', (64, 48), noise=True))
    write_map(maps / 'a.png', np.ones((48, 64)))
    write_map(maps / 'b.png', [[0, 1, 2], [0, 1, 2]])
    (maps / 'c.png').write_bytes(b'no picture')
    for name in 'cd':  # of c, nothing is used
        write_image(images / f'{name}.jpg', (2, 2), mode='L')
    _, (findings,) = fit(segmentor(), folder)
    cut, broken = findings.problems.pop('unreadable image')
    assert cut.startswith('a.jpg: unreadable (image file is truncated')
    assert broken.startswith('c.png: cannot identify image file')
    assert findings.problems == {
        'label map of another size': ['b.png: 3×2 for b.jpg of 2×2'],
        'grey image': ['d.jpg'],
    }
    assert findings.sizes == [(2, 2)] * 3 and not findings.fatal
    assert findings.instances == {'class 0': 3, 'class 1': 3, 'class 2': 6}


@pytest.mark.parametrize(
    'values, dtype, suffix',
    [
        (ROWS, np.uint16, 'png'),
        (ROWS, np.int32, 'tif'),
        ([[False, True], [True, True]], bool, 'png'),
        ([[0, 254], [255, 255]], np.uint8, 'png'),
        ([[0, 254], [255, 255]], np.uint16, 'png'),
    ],
)
def test_numbers_from_0_to_255_of_any_kind(values, dtype, suffix, tmp_path):
    folder = write_ade(tmp_path / 'mine', maps={'a': None, 'b': None})
    for name in 'ab':
        write_map(folder / f'annotations/training/{name}.{suffix}', values, dtype)
    cfg, (findings,) = fit(segmentor(), folder)
    found, counts = np.unique(np.array(values, int), return_counts=True)
    wanted = {f'class {v}': 2 * n for v, n in zip(found, counts, strict=True) if v != 255}
    assert findings.instances == wanted and len(findings.sizes) == 2
    assert cfg.model.decode_head.num_classes == max(v for v in found if v != 255) + 1


def test_palettes_are_numbers(tmp_path):
    """Pictures with a palette, as many labelling programs write them."""
    folder = write_ade(tmp_path / 'mine')
    picture = Image.fromarray(np.array(ROWS, np.uint8)).convert('P')
    picture.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0])
    picture.save(folder / 'annotations/training/a.png')
    _, (findings,) = fit(segmentor(), folder)
    assert findings.instances == {'class 0': 2, 'class 1': 3, 'class 2': 3}


@pytest.mark.parametrize(
    'values, dtype, said',
    [
        ([[300, 7], [7, 7]], np.uint16, (7, 300)),
        ([[1, 1], [1, 256]], np.uint16, (1, 256)),
        ([[-1, 1], [3, 0]], np.int32, (-1, 3)),
        ([[0.0, 1.0], [1.0, 0.5]], np.float32, (0.0, 1.0)),
    ],
)
def test_other_numbers_stop(values, dtype, said, tmp_path):
    folder = write_ade(tmp_path / 'mine', maps={'a': None, 'b': ROWS, 'c': ROWS})
    path = write_map(folder / 'annotations/training/a.tif', values, dtype)
    check = read_folder(folder)
    (findings,) = check.findings
    assert findings.problems == {'label that is not 0 to 255': [f'a.tif: {said[1]}']}
    with pytest.raises(ArgumentError) as caught:
        fit(segmentor(), folder)
    assert (
        str(caught.value)
        == check.fatal[0]
        == (
            f'{path} holds labels from {said[0]} to {said[1]}; a label is a whole number from 0 to 255 '
            '(255 is ignored): number the classes from 0 on'
        )
    )


def test_label_maps_in_colours_stop(tmp_path):
    folder = write_ade(tmp_path / 'mine')
    path = write_image(folder / 'annotations/training/a.png', (2, 2))
    with pytest.raises(ArgumentError) as caught:
        fit(segmentor(), folder)
    assert str(caught.value) == (
        f'{path} has colours; a label map has one number, 0 to 255, for each pixel: convert it '
        '(8 bit grey or palette PNG)'
    )
    assert read_folder(folder).findings[0].problems['label map in colours'] == ['a.png']


def test_nothing_usable_stops(tmp_path):
    folder = write_ade(tmp_path / 'mine')
    for path in (folder / 'annotations/training').iterdir():
        path.rename(path.with_name(f'x{path.name}'))
    with pytest.raises(ArgumentError) as caught:
        fit(segmentor(), folder)
    assert str(caught.value) == (
        f'no image of {folder}/images/training has a usable label map in '
        f'{folder}/annotations/training; maps are PNG files of the same name'
    )


@pytest.mark.parametrize('error', [OSError, ValueError, SyntaxError, Image.DecompressionBombError])
def test_every_fault_of_pillow_is_told(error, tmp_path, monkeypatch):
    folder, opened = write_ade(tmp_path / 'mine', maps=dict.fromkeys('abc', ROWS)), Image.open

    def open_but_one(path):
        if str(path).endswith('a.png'):
            raise error('x')
        return opened(path)

    monkeypatch.setattr(Image, 'open', open_but_one)
    _, (findings,) = fit(segmentor(), folder)
    assert findings.problems == {'unreadable image': ['a.png: x']}


def test_each_image_is_looked_at_once(tmp_path):
    folder = write_ade(write_ade(tmp_path / 'mine'), 'validation', {'c': ROWS, 'd': None})
    seen = []

    def progress(items):
        seen.append([stem for stem, _ in items])
        return iter(items)

    fit(segmentor(), folder, progress=progress)
    assert seen == [['a', 'b'], ['c', 'd']]
