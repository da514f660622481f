"""Tiny folders of labelled images, small configs to fit to them, and what training then reads."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.config import Config
from mmengine.registry import init_default_scope
from PIL import Image

from fastervit_mm.data.folder import read_folder
from fastervit_mm.tasks import task_of
from fastervit_mm.tasks.prepared_data import point_to_prepared_data, prepared_data_folder

RED, BLUE, GREY = (250, 0, 0), (0, 0, 250), (90, 90, 90)
ORIENTATION = 0x0112  # EXIF
ANIMALS = {7: 'cat', 90: 'dog'}


def write_image(path: Path, size=(10, 8), colour=GREY, mode='RGB', rotation=None, noise=False):
    """A photograph of ``size`` as stored; ``rotation``: its EXIF orientation."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.new('RGB', size, colour)
    if noise:  # a file that can be cut short
        values = np.random.default_rng(0).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
        image = Image.fromarray(values)
    exif = Image.Exif()
    if rotation is not None:
        exif[ORIENTATION] = rotation
    image.convert(mode).save(path, exif=exif)
    return path


def cut_short(path: Path, count: int = 1500) -> None:
    """Take the last bytes from a file: its header stays whole."""
    path.write_bytes(path.read_bytes()[:-count])


def thing(image: int, category: int, box=(2, 2, 4, 3), **entries) -> dict[str, Any]:
    """An annotation of the image with the id ``image``, with its box as its outline."""
    x, y, w, h = box
    return (
        dict(
            id=1,
            image_id=image,
            category_id=category,
            bbox=list(box),
            area=w * h,
            iscrowd=0,
            segmentation=[[x, y, x + w, y, x + w, y + h, x, y + h]],
        )
        | entries
    )


def coco_content(images: dict | int = 2, things: list | None = None, categories=None) -> dict:
    """The content of an annotation file.

    Args:
        images: file name -> width and height; a number: so many of 10×8 px, a.png, b.png, ...
            Their ids are 10, 20, 30 and so on.
        things: annotations, numbered from 1; None: one on each image, categories in turn.
        categories: id -> name; None: cat is 7, dog is 90.
    """
    if isinstance(images, int):
        images = {f'{chr(97 + i)}.png': (10, 8) for i in range(images)}
    categories = ANIMALS if categories is None else categories
    if things is None:
        ids = list(categories)
        things = [thing(10 * (i + 1), ids[i % len(ids)]) for i in range(len(images))]
    return dict(
        images=[
            dict(id=10 * i, file_name=name, width=size[0], height=size[1])
            for i, (name, size) in enumerate(images.items(), start=1)
        ],
        annotations=[dict(a, id=i) for i, a in enumerate(things, start=1)],
        categories=[dict(id=i, name=name) for i, name in categories.items()],
    )


def write_coco(folder: Path, split='train', content=None, colour=GREY, images=True) -> Path:
    """One split in COCO's layout; ``images``: write those that are not there yet."""
    content = coco_content() if content is None else content
    path = folder / 'annotations' / f'instances_{split}.json'
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    for image in content['images'] if images else ():
        file = folder / split / image['file_name']
        if not file.exists():
            write_image(file, (image['width'], image['height']), colour)
    return folder


def write_map(path: Path, values, dtype=np.uint8) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.array(values, dtype)).save(path)
    return path


def write_ade(folder: Path, split='training', maps=None, classes=None, colour=GREY, suffix='.jpg'):
    """One split in ADE20K's layout; ``maps``: name -> rows of labels, or None for no label map."""
    maps = {'a': [[0, 1], [2, 2]], 'b': [[1, 1], [2, 0]]} if maps is None else maps
    for name, rows in maps.items():
        size = (2, 2) if rows is None else np.array(rows).shape[::-1]
        write_image(folder / 'images' / split / f'{name}{suffix}', size, colour)
        if rows is not None:
            write_map(folder / 'annotations' / split / f'{name}.png', rows)
    if classes is not None:
        (folder / 'classes.txt').write_text('\n'.join(classes))
    return folder


def detector() -> Config:
    """What fitting looks at in a detector's config; the training's data set is wrapped."""

    def dataset(split: str) -> dict:
        return dict(
            type='CocoDataset',
            data_root='data/coco/',
            ann_file=f'annotations/instances_{split}2017.json',
            data_prefix=dict(img=f'{split}2017/'),
            serialize_data=False,  # it collects garbage each time: a second
            pipeline=[
                dict(type='LoadImageFromFile'),
                dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
                dict(type='PackDetInputs'),
            ],
        )

    def evaluator() -> dict:
        return dict(type='CocoMetric', ann_file='data/coco/annotations/instances_val2017.json')

    heads = [dict(type='Head', num_classes=80), dict(type='Head', num_classes=80)]
    return Config(
        dict(
            default_scope='mmdet',
            model=dict(
                roi_head=dict(bbox_head=heads, mask_head=dict(num_classes=80)),
                aux_head=dict(num_classes=None),
            ),
            train_dataloader=dict(
                batch_size=2,
                dataset=dict(type='RepeatDataset', times=2, dataset=dataset('train')),
            ),
            val_dataloader=dict(dataset=dataset('val')),
            test_dataloader=dict(dataset=dataset('val')),
            val_evaluator=[evaluator(), dict(type='DumpDetResults', out_file_path='out.pkl')],
            test_evaluator=evaluator(),
        )
    )


def segmentor() -> Config:
    """What fitting looks at in a segmentor's config."""

    def loader(split: str) -> dict:
        return dict(
            dataset=dict(
                type='ADE20KDataset',
                data_root='data/ade/',
                data_prefix=dict(img_path=f'images/{split}', seg_map_path=f'annotations/{split}'),
                serialize_data=False,
                pipeline=[
                    dict(type='LoadImageFromFile'),
                    dict(type='LoadAnnotations', reduce_zero_label=True),
                    dict(type='PackSegInputs'),
                ],
            )
        )

    tta = [dict(type='TestTimeAug', transforms=[[dict(type='LoadAnnotations')]])]
    return Config(
        dict(
            default_scope='mmseg',
            model=dict(decode_head=dict(num_classes=150), auxiliary_head=[dict(num_classes=150)]),
            tta_pipeline=[*tta, dict(type='LoadAnnotations', reduce_zero_label=True)],
            train_dataloader=loader('training'),
            val_dataloader=loader('validation'),
            test_dataloader=loader('validation'),
            val_evaluator=dict(type='IoUMetric', iou_metrics=['mIoU']),
            test_evaluator=dict(type='IoUMetric', iou_metrics=['mIoU']),
        )
    )


def fit(cfg: Config, folder: Path, work: Path | None = None, **options):
    """``cfg`` fitted to ``folder``, and what was found."""
    return cfg, fit_to_folder(cfg, folder, work or folder.parent / 'work', **options)


def look(tmp_path: Path, content: dict, **writing):
    """What is found in a training split, and what of it is trained on; a validation is beside."""
    folder = write_coco(tmp_path / 'mine', content=content, **writing)
    names = {c['id']: c['name'] for c in content['categories']}
    write_coco(folder, 'val', coco_content({'v.png': (10, 8)}, categories=names))
    cfg, (findings, _) = fit(detector(), folder)
    return findings, written(cfg)


def innermost(cfg: Config, split: str = 'train') -> dict:
    """The data set of a loader that reads files."""
    dataset = cfg[f'{split}_dataloader'].dataset
    return dataset.get('dataset', dataset)


def written(cfg: Config, split: str = 'train') -> dict:
    """The annotations that a loader uses."""
    return json.loads(Path(innermost(cfg, split)['ann_file']).read_text())


def read(cfg: Config, split: str = 'train') -> list:
    """What the host library reads for a loader: packed samples."""
    if cfg.default_scope == 'mmdet':
        from mmdet.registry import DATASETS
    else:
        from mmseg.registry import DATASETS
    init_default_scope(cfg.default_scope)
    dataset = DATASETS.build(innermost(cfg, split))
    return [dataset[i] for i in range(len(dataset))]


def colours(samples: list) -> set[tuple[int, ...]]:
    """Mean colours (RGB, in tens) of the images that were read."""
    return {
        tuple(round(float(v) / 10) * 10 for v in s['inputs'].flip(0).float().mean((1, 2)))
        for s in samples
    }


def fit_to_folder(cfg: Config, folder: Path, work_dir: Path, ignore_zero=None, progress=iter):
    """Point ``cfg`` at a folder as training does; what was found in it, split by split."""
    task = task_of(cfg)
    reading = read_folder(folder, task.labels, ignore_zero=ignore_zero, progress=progress)
    reading.stop_on_fatal()
    prepared = task.training_data(cfg, reading, prepared_data_folder(work_dir))
    point_to_prepared_data(cfg, prepared)
    return reading.findings
