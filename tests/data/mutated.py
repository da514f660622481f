"""Whole files made broken by chance, with a seed, and what reading and training make of them.

    python -m tests.data.mutated FOLDER FIRST_SEED COUNT

One line of JSON a case, in a process of its own: a crash ends that, and the last line tells where.
Every seed gives one image, one label map, one annotation file and one classes.txt.
"""

import json
import random
import shutil
import signal
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from pycocotools.mask import encode

from fastervit_mm.data.folder import read_folder
from fastervit_mm.data.reading import LEAST_SIDE, Reading
from fastervit_mm.errors import UserError
from fastervit_mm.tasks.use_folder import train_on
from tests.data.folders import coco_content, thing, write_ade, write_coco
from tests.data.malformed import MAP, NAMES, SIZE, load_everything
from tests.tasks.folders import SCENES, SHAPES, config

SECONDS = 20  # for one case: more is a hang
IMAGES = [  # suffix, mode, how it is saved
    ('jpg', 'RGB', {}),
    ('jpg', 'L', dict(progressive=True)),
    ('jpg', 'CMYK', {}),
    ('png', 'RGB', {}),
    ('png', 'P', {}),
    ('png', 'I;16', {}),
    ('png', 'LA', {}),
    ('bmp', 'RGB', {}),
    ('bmp', 'P', {}),
    ('tif', 'RGB', {}),
    ('tif', 'RGB', dict(compression='tiff_lzw')),
    ('tif', 'RGB', dict(compression='jpeg')),
    ('tif', 'L', dict(compression='tiff_adobe_deflate')),
    ('webp', 'RGB', {}),
    ('webp', 'RGBA', dict(lossless=True)),
]
MAPS = [('png', 'L'), ('png', 'P'), ('png', 'I;16'), ('tif', 'L'), ('bmp', 'L')]
ODD: list[Any] = [
    *(None, True, False, 0, -1, 1, 0.5, -0.0, 1e-320, 1e308, -1e308, float('nan'), float('inf')),
    *(2**31, 2**32, 2**63, -(2**63), 10**30, 10**400, 7, 10, 90, 48, 40),
    *(
        '',
        ' ',
        'x',
        '7',
        '48',
        'a.png',
        '../a.png',
        '/',
        'a.png/',
        '\0',
        '\ud800',
        'é',
        '{{$HOME:x}}',
    ),
    *('x' * 5000, 'a\nb', '10', '[]', 'Pl1', '\x1b[2J', 'http://x/a.png'),
    *(
        [],
        {},
        [[]],
        [None],
        [0],
        [[0] * 6],
        [1, 2, 3, 4],
        ['1', '2', '3', '4'],
        [1e8] * 6,
        [[1e8] * 6],
    ),
    *([[-1e9, 1e9] * 3], dict(counts=[1], size=[40, 48]), dict(counts='01', size=[40, 48])),
    *(dict(counts=[0, 1920], size=[40, 48]), dict(size=[40, 48]), dict(counts=[1920, 0])),
    *([[[[[[[[[[]]]]]]]]]], [dict(id=1)], dict(a=dict(b=dict(c=[1])))),
]


def mutated_bytes(data: bytes, rng: random.Random) -> bytes:
    """One to four changes: bytes flipped, replaced, taken away, added, repeated; the end cut off."""
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        if not data:
            return data
        near = rng.randrange(min(len(data), 100))
        start = rng.choice((near, *(rng.randrange(len(data)) for _ in range(3))))
        end = min(len(data), start + rng.choice((1, 1, 2, 4, 30)))
        new = {
            'flip': bytes([data[start] ^ 1 << rng.randrange(8)]) + data[start + 1 : end],
            'replace': rng.choice((rng.randbytes(end - start), b'\xff' * (end - start))),
            'zero': bytes(end - start),
            'take': b'',
            'add': data[start:end] + rng.randbytes(rng.choice((1, 3, 50))),
            'repeat': data[start:end] * rng.choice((2, 3, 20)),
        }
        kind = rng.choice([*new, 'flip', 'flip', 'cut'])
        data = data[:start] + (b'' if kind == 'cut' else new[kind] + data[end:])
    return data


def places(node: Any) -> list[tuple[Any, Any]]:
    """Every container and key in a tree of JSON."""
    keys = range(len(node)) if isinstance(node, list) else node if isinstance(node, dict) else ()
    return [p for key in keys for p in ((node, key), *places(node[key]))]


def mutated_json(content: Any, rng: random.Random) -> bytes:
    """One to three changes: a value is odd, or taken away, or one from elsewhere; a key is there twice.

    One file in three has bytes changed instead.
    """
    if rng.random() < 1 / 3:
        return mutated_bytes(json.dumps(content).encode(), rng)
    content = json.loads(json.dumps(content))
    twice = None
    for _ in range(rng.randint(1, 3)):
        node, key = rng.choice(places(content))
        kind = rng.choice(('odd', 'odd', 'odd', 'take', 'swap', 'twice', 'mark'))
        if kind == 'take':
            del node[key]
        elif kind == 'swap':
            other, there = rng.choice(places(content))
            node[key] = json.loads(json.dumps(other[there]))
        elif kind == 'twice' and isinstance(node, dict):
            twice = f'"TWICE": 0, {json.dumps(key)}: {json.dumps(rng.choice(ODD))}'
            node['TWICE'] = 0
        elif kind == 'mark' and isinstance(node, dict):
            node[rng.choice(('ignore', 'iscrowd', 'img_id', 'width', 'file_name'))] = rng.choice(
                ODD
            )
        else:
            node[key] = rng.choice(ODD)
    text = json.dumps(content)
    return (text if twice is None else text.replace('"TWICE": 0', twice, 1)).encode()


def annotated() -> dict:
    """A whole annotation file, with outlines of each kind."""
    content = coco_content(dict.fromkeys(NAMES, SIZE)) | dict(info=dict(year=2024), licenses=[])
    runs = encode(np.asfortranarray(MAP % 2, np.uint8))
    text = dict(size=[40, 48], counts=runs['counts'].decode())
    for number, outline in ((30, text), (40, dict(size=[40, 48], counts=[3, 900, 1017]))):
        crowd = int(number == 40)
        content['annotations'].append(
            thing(number, 90, segmentation=outline, iscrowd=crowd) | dict(id=number)
        )
    return content


def picture(mode: str, rng: random.Random) -> Image.Image:
    values = np.random.default_rng(rng.randrange(2**32)).integers(0, 255, (*SIZE[::-1], 3))
    image = Image.fromarray(values.astype(np.uint8))
    return image.convert('L').convert(mode) if mode == 'I;16' else image.convert(mode)


def map_of(mode: str) -> Image.Image:
    image = Image.fromarray(MAP.astype(np.uint16 if mode == 'I;16' else np.uint8))
    if mode == 'P':
        image.putpalette(list(range(256)) * 3)
    return image


def saved(image: Image.Image, path: Path, rng: random.Random, **options) -> None:
    """An image with its bytes changed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    exif = Image.Exif()
    exif[0x0112] = rng.choice((1, 1, 3, 6))
    image.save(path, **options, **(dict(exif=exif) if path.suffix in ('.jpg', '.png') else {}))
    path.write_bytes(mutated_bytes(path.read_bytes(), rng))


def image_case(folder: Path, rng: random.Random) -> Path:
    suffix, mode, options = rng.choice(IMAGES)
    content = annotated()
    name = f'z.{suffix}'
    content['images'].append(dict(id=500, file_name=name, width=SIZE[0], height=SIZE[1]))
    content['annotations'].append(thing(500, 7) | dict(id=500))
    (folder / 'train').mkdir(parents=True)
    saved(picture(mode, rng), folder / 'train' / name, rng, **options)
    write_coco(folder, content=content)
    return SHAPES


def annotation_case(folder: Path, rng: random.Random) -> Path:
    write_coco(folder, content=annotated())
    if rng.random() < 0.5:
        write_coco(folder, 'val', content=annotated())
    split = rng.choice([path.name for path in (folder / 'annotations').iterdir()])
    (folder / 'annotations' / split).write_bytes(mutated_json(annotated(), rng))
    return SHAPES


def scene_case(folder: Path, rng: random.Random) -> Path:
    """An image or its label map is broken."""
    suffix, mode = rng.choice(MAPS)
    write_ade(folder, maps=dict.fromkeys('abcd', MAP))
    for path in (folder / 'annotations/training').iterdir():
        path.unlink()
    for name in 'abcd':
        map_of('L' if mode == 'I;16' else mode).save(
            folder / f'annotations/training/{name}.{suffix}'
        )
    if rng.random() < 0.8:
        saved(map_of(mode), folder / f'annotations/training/a.{suffix}', rng)
    else:
        saved(picture('RGB', rng), folder / 'images/training/a.jpg', rng)
    return SCENES


def classes_case(folder: Path, rng: random.Random) -> Path:
    write_ade(folder, maps=dict.fromkeys('abcd', MAP))
    names = rng.choice(('sky\ntree\nroad\n', 'Straße\nété\n空\n', 'a\r\nb\r\nc', 'sky\ntree'))
    (folder / 'classes.txt').write_bytes(mutated_bytes(names.encode(), rng))
    return SCENES


CASES: dict[str, Callable[[Path, random.Random], Path]] = dict(
    image=image_case, annotations=annotation_case, scene=scene_case, classes=classes_case
)


def hang(*_: Any) -> None:
    raise TimeoutError(f'more than {SECONDS} s')


def look(folder: Path) -> Reading | None:
    """The reading of a folder as tools/check_data.py gets it; None: it cannot even be looked at."""
    try:
        reading = read_folder(folder)
        reading.note_small_images(LEAST_SIDE)
        for head, rows in reading.tables():
            f'{head}{rows}'.encode()
        return reading
    except UserError:
        return None


def outcome(cfg_path: Path, folder: Path, work_dir: Path) -> dict[str, Any]:
    """What the check says, what training says, and how many samples it then loads."""
    reading = look(folder)
    cfg = config(cfg_path, work_dir)
    try:
        train_on(cfg, folder)
    except UserError as error:
        return dict(fatal=reading is None or bool(reading.fatal), said=str(error))
    found = [kind for findings in reading.findings for kind in findings.problems] if reading else []
    return dict(
        fatal=reading is None or bool(reading.fatal), found=found, loaded=load_everything(cfg)
    )


def main() -> None:
    warnings.simplefilter('ignore')
    root, first, count = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    signal.signal(signal.SIGALRM, hang)
    with open(root / 'outcomes.jsonl', 'a') as file:
        for seed in range(first, first + count):
            for kind, make in CASES.items():
                file.write(f'{json.dumps(dict(kind=kind, seed=seed))}\n')  # in case it crashes
                file.flush()
                folder, work_dir = root / f'{kind}{seed}', root / f'{kind}{seed}_work'
                signal.alarm(SECONDS)
                try:
                    result = outcome(make(folder, random.Random(f'{kind}{seed}')), folder, work_dir)
                except Exception as error:
                    result = dict(error=f'{type(error).__name__}: {error}')
                signal.alarm(0)
                file.write(f'{json.dumps(dict(kind=kind, seed=seed) | result)}\n')
                file.flush()
                shutil.rmtree(folder)
                shutil.rmtree(work_dir, ignore_errors=True)


if __name__ == '__main__':
    main()
