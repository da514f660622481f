"""Folders in COCO's format with something wrong in them: by strangers' tools, copies and hands."""

import json
import os
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.config import Config
from mmengine.registry import DATASETS, init_default_scope
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.mask import encode

from tests.data.folders import coco_content, thing, write_coco, write_image

SIZE = (48, 40)
PIXELS = SIZE[0] * SIZE[1]
NAMES = [f'{c}.png' for c in 'abcdef']  # of which some are held out, some not
MAP = np.arange(40 * 48).reshape(40, 48) % 3
Make = Callable[[Path], Any]


def load_everything(cfg: Config) -> int:
    """Build the data sets of training and validation, and load every sample, as a run does."""
    init_default_scope(cfg.default_scope)
    count = 0
    for loader in ('train_dataloader', 'val_dataloader'):
        dataset = DATASETS.build(dict(cfg[loader].dataset, serialize_data=False))
        assert len(dataset) > 0
        for index in range(len(dataset)):
            assert dataset[index]['inputs'].shape[0] == 3
        count += len(dataset)
    if cfg.default_scope == 'mmdet':  # the evaluator makes masks of the truth
        truth = COCO(cfg.val_dataloader.dataset.ann_file)
        for annotation in truth.dataset['annotations']:
            truth.annToMask(annotation)
    return count


def good() -> dict:
    return coco_content(dict.fromkeys(NAMES, SIZE))


def with_content(change: Callable[[dict], Any]) -> Make:
    """A folder in COCO's format whose annotation file was changed."""

    def make(folder: Path) -> None:
        content = good()
        write_coco(folder, content=content)
        change(content)
        (folder / 'annotations/instances_train.json').write_text(json.dumps(content))

    return make


def annotations(**entries) -> Make:
    """Every second object has other entries."""
    return with_content(lambda c: [a.update(entries) for a in c['annotations'][::2]])


def images(**entries) -> Make:
    return with_content(lambda c: [i.update(entries) for i in c['images'][::2]])


def named(*names: str) -> Make:
    """Images of other names are listed, which are not there."""
    return with_content(lambda c: _add(c, names))


def _add(content: dict, names) -> None:
    for number, name in enumerate(names, start=500):
        content['images'].append(dict(id=number, file_name=name, width=SIZE[0], height=SIZE[1]))
        content['annotations'].append(thing(number, 7) | dict(id=number))


def with_file(name: str, write: Callable[[Path], Any]) -> Make:
    """One more image is listed, and written by ``write``."""

    def make(folder: Path) -> None:
        with_content(lambda c: _add(c, [name]))(folder)
        path = folder / 'train' / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write(path)

    return make


def text_of(encode: Callable[[dict], bytes]) -> Make:
    """The annotation file is other bytes."""

    def make(folder: Path) -> None:
        write_coco(folder, content=good())
        (folder / 'annotations/instances_train.json').write_bytes(encode(good()))

    return make


def saved(mode: str = 'RGB', size=SIZE, **options) -> Callable[[Path], Any]:
    return lambda path: Image.new(mode, size, 0).save(path, **options)


def huge(path: Path) -> None:
    """A header that states 40000×40000 px."""
    write_image(path, SIZE)
    data = bytearray(path.read_bytes())
    data[16:24] = (40000).to_bytes(4, 'big') * 2
    data[29:33] = zlib.crc32(bytes(data[12:29])).to_bytes(4, 'big')
    path.write_bytes(bytes(data))


def turned(suffix: str, rotation: int) -> Callable[[Path], Any]:
    def write(path: Path) -> None:
        exif = Image.Exif()
        exif[0x0112] = rotation
        Image.new('RGB', SIZE).save(path, exif=exif)

    return write


def linked(folder: Path) -> None:
    """The images are elsewhere, with links that lead in circles."""
    with_content(lambda c: [i.update(file_name=f'below/{i["file_name"]}') for i in c['images']])(
        folder
    )
    elsewhere = folder.parent / f'{folder.name}_elsewhere'
    (folder / 'train').rename(elsewhere)
    (folder / 'photos').mkdir()
    (folder / 'photos/below').symlink_to(elsewhere)
    (elsewhere / 'up').symlink_to(folder)
    (elsewhere / 'self').symlink_to(elsewhere)


def a_file_for_a_folder(folder: Path) -> None:
    write_coco(folder, content=good(), images=False)
    (folder / 'train').write_text('no folder')


def a_folder_for_a_file(folder: Path) -> None:
    write_coco(folder, content=good())
    (folder / 'annotations/other.json').mkdir()


def deep(levels: int, key: str) -> Make:
    """An object with an entry nested many levels deep."""

    def encode(content: dict) -> bytes:
        content['annotations'][0][key] = content['images'][0]['date'] = content['info'] = 'HERE'
        return json.dumps(content).replace('"HERE"', '[' * levels + ']' * levels).encode()

    return text_of(encode)


def number(text: str, key: str = 'bbox') -> Make:
    def encode(content: dict) -> bytes:
        content['annotations'][0][key] = [2, 2, 'HERE', 5] if key == 'bbox' else 'HERE'
        return json.dumps(content).replace('"HERE"', text).encode()

    return text_of(encode)


def small(folder: Path) -> None:
    write_coco(folder, content=coco_content(dict.fromkeys(NAMES, (31, 90))))


def some_small(folder: Path) -> None:
    write_coco(
        folder,
        content=coco_content(
            dict.fromkeys(NAMES, SIZE) | {f's{i}.png': (30, 30) for i in range(4)}
        ),
    )


def only_crowds(folder: Path) -> None:
    annotations(iscrowd=1)(folder)


def rle(counts: Any, size: Any = (40, 48)) -> Make:
    return annotations(segmentation=dict(counts=counts, size=list(size)))


FAR = [2, 2, 1e8, 2, 1e8, 30]
DETECTION: dict[str, Make] = {
    'polygon of 1e8': annotations(segmentation=[FAR]),
    'polygon of -1e8': annotations(segmentation=[[-v for v in FAR]]),
    'polygon of 1e9 and more': annotations(segmentation=[[2, 2, 10**12, 2, 1e300, 30]]),
    'polygon near the edge': annotations(segmentation=[[-40, -40, 90, 2, 60, 80]]),
    'polygon of lists': annotations(segmentation=[[[2, 2], [4, 4], [5, 6]], 3, 'x', None]),
    'polygon of texts': annotations(segmentation=[['2', '2', '30', '2', '30', '30']]),
    'RLE too long': rle([0, PIXELS + 1]),
    'RLE too short': rle([0, PIXELS - 1]),
    'RLE far too long': rle([0, 2**31, 2**31]),
    'RLE of negative counts': rle([PIXELS + 5, -5]),
    'RLE of fractions': rle([0.5, PIXELS - 0.5]),
    'RLE of texts': rle(['0', str(PIXELS)]),
    'RLE of lists': rle([[0], [PIXELS]]),
    'RLE without counts': rle([]),
    'RLE of truth values': rle([False, PIXELS - 1, True]),
    'RLE that fits': rle([0, 900, PIXELS - 900]),
    'RLE of another size': rle([0, PIXELS], (48, 40)),
    'RLE of a negative size': rle([0, PIXELS], (-40, -48)),
    'RLE in text that fits': rle(encode(np.ones(SIZE[::-1], np.uint8, 'F'))['counts'].decode()),
    'RLE in text that does not': rle(encode(np.ones((41, 48), np.uint8, 'F'))['counts'].decode()),
    'RLE in garbage': rle('garbage\x00\x7f~~~~'),
    'RLE in nothing': rle(''),
    'RLE in unfinished text': rle('oooooooooooooooo'),
    'RLE in other letters': rle('éüß'),
    'RLE of a number': rle(5),
    'RLE without size': annotations(segmentation=dict(counts=[0, PIXELS])),
    'outline of text': annotations(segmentation='x'),
    'marked ignore': annotations(ignore=1),
    'boxes of huge numbers': annotations(bbox=[-1e308, -1e308, 1e308, 1e308]),
    'a box of 400 digits': number('1' + '0' * 400),
    'a box of NaN': number('NaN'),
    'a box of Infinity': number('-Infinity'),
    'a box of 1e999': number('1e999'),
    'an area of 400 digits': number('1' + '0' * 400, 'area'),
    'ids that are fractions': with_content(
        lambda c: [a.update(image_id=float(a['image_id'])) for a in c['annotations']]
    ),
    'category ids of 30 digits': with_content(
        lambda c: [x.update({k: x[k] + 10**30}) for n, k in IDS for x in c[n]]
    ),
    'category ids with a half': with_content(
        lambda c: [x.update({k: x[k] + 0.5}) for n, k in IDS for x in c[n]]
    ),
    'category ids that are true': with_content(
        lambda c: [x.update({k: x[k] == 7}) for n, k in IDS for x in c[n]]
    ),
    'category ids that are NaN': with_content(lambda c: c['categories'][0].update(id=float('nan'))),
    'image ids that are true': images(id=True),
    'annotation ids that are anything': annotations(id={'a': [1]}),
    'sizes that are texts': images(width='48', height='40'),
    'sizes that are lists': images(width=[48], height={'x': 1}),
    'a name of 300 letters': named('x' * 300 + '.png'),
    'a name of 5000 letters': named('y/' * 2500 + '.png'),
    'a name with NUL': named('a\0.png'),
    'a name with a line break': named('a\nb.png'),
    'a name of half a letter': named('\ud800.png'),
    'an empty name': named('', ' ', '.'),
    'a name with a slash at its end': with_content(
        lambda c: [i.update(file_name=i['file_name'] + '/') for i in c['images'][::2]]
    ),
    'a URL': named('http://example.com/a.png', 's3://bucket/a.png'),
    'all names of 300 letters': with_content(
        lambda c: [i.update(file_name='x' * 300 + i['file_name']) for i in c['images']]
    ),
    'a class of half a letter': with_content(lambda c: c['categories'][0].update(name='\ud800')),
    'a class with NUL': with_content(lambda c: c['categories'][0].update(name='\0\n\x1b[31m')),
    'a blank before the dot': with_file('photo .png', saved()),
    'blanks around a name': with_file(' photo.png ', saved(format='PNG')),
    'a name with a line break that is there': with_file('a\nb.png', saved()),
    'a folder named like an image': with_file('folder.png', Path.mkdir),
    'an empty image': with_file('empty.png', Path.touch),
    'a pipe': with_file('pipe.png', os.mkfifo),
    'a link to nowhere': with_file('link.png', lambda p: p.symlink_to('nowhere')),
    'a link to itself': with_file('link.png', lambda p: p.symlink_to(p)),
    'a huge image': with_file('huge.png', huge),
    'a line of pixels': with_file('line.png', saved(size=(9000, 2))),
    'one pixel': with_file('one.png', saved(size=(1, 1))),
    'EXIF in WebP': with_file('t.webp', turned('webp', 6)),
    'EXIF in TIFF': with_file('t.tif', turned('tif', 6)),
    'EXIF in PNG': with_file('t.png', turned('png', 6)),
    'an EXIF rotation that is none': with_file('t.jpg', turned('jpg', 99)),
    **{
        f'{name} image': with_file(name, saved(mode, **options))
        for name, mode, options in [
            ('x.tga', 'RGB', {}),
            ('x.ico', 'RGB', {}),
            ('x.gif', 'P', {}),
            ('x.jp2', 'RGB', {}),
            ('x.pcx', 'RGB', {}),
            ('x.ppm', 'RGB', {}),
            ('x.dib', 'RGB', {}),
            ('f.tif', 'F', {}),
            ('i.tif', 'I', {}),
            ('16.tif', 'I;16', {}),
            ('16.png', 'I;16', {}),
            ('c.tif', 'CMYK', {}),
            ('lab.tif', 'LAB', {}),
            ('j.tif', 'RGB', dict(compression='jpeg')),
            ('z.tif', 'RGB', dict(compression='lzma')),
            ('m.webp', 'RGB', dict(save_all=True, append_images=[Image.new('RGB', SIZE, 'red')])),
            ('m.png', 'RGB', dict(save_all=True, append_images=[Image.new('RGB', SIZE, 'red')])),
            ('e.jpg', 'RGB', dict(format='EPS')),
            ('t.jpg', 'RGB', dict(format='TGA')),
        ]
    },
    'a byte order mark': text_of(lambda c: b'\xef\xbb\xbf' + json.dumps(c).encode()),
    'UTF-16': text_of(lambda c: json.dumps(c).encode('utf-16')),
    'Latin-1': text_of(
        lambda c: json.dumps(c | dict(info='é'), ensure_ascii=False).encode('latin-1')
    ),
    'nested 50 deep': deep(50, 'extra'),
    'nested 900 deep': deep(900, 'extra'),
    'a box nested 900 deep': deep(900, 'bbox'),
    'an id nested 900 deep': deep(900, 'id'),
    'a class id nested 900 deep': deep(900, 'category_id'),
    'an outline nested 900 deep': deep(900, 'segmentation'),
    'nested 100000 deep': deep(100_000, 'extra'),
    'categories that are a number': with_content(lambda c: c.update(categories=5)),
    'an empty annotation file': text_of(lambda c: b''),
    'categories twice': text_of(
        lambda c: json.dumps(c).encode()[:-1] + b', "categories": [{"id": 3, "name": "x"}]}'
    ),
    'links': linked,
    'a file for a folder': a_file_for_a_folder,
    'a folder named like an annotation file': a_folder_for_a_file,
    'all images too small': small,
    'some images too small': some_small,
    'only crowds': only_crowds,
    'no objects that count': annotations(area=1e-320, bbox=[2, 2, 1, 1]),
}
IDS = (('categories', 'id'), ('annotations', 'category_id'))
