"""Train a small network on drawn shapes, evaluate it and draw its predictions.

    python tools/demo.py [--task detection|segmentation] [--work-dir FOLDER]

The same commands as for COCO and ADE20K, on data this script writes. About a quarter of an hour
(detection) and a few minutes (segmentation) on 2 cores.
"""

import argparse
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from mmengine.fileio import load
from PIL import Image

from fastervit_mm.errors import exit_on_user_error
from fastervit_mm.data.drawn_shapes import CLASSES, SEMANTIC_CLASSES, write_shapes
from fastervit_mm.pictures import draw_labels, draw_objects, side_by_side, titled

ROOT = Path(__file__).resolve().parent.parent
WANTED = 0.80  # AP of boxes and masks, or mIoU, that the demo is expected to reach


class Task(NamedTuple):
    """What differs between the demos."""

    config: Path
    layout: str  # folder of the drawn data
    predictions: str  # what tools/test.py --out writes
    model: str


TASKS = {
    'detection': Task(
        ROOT / 'configs' / 'detection' / 'cascade_fastervit_shapes.py',
        'coco',
        'predictions.pkl',
        'FasterViT, Cascade Mask R-CNN',
    ),
    'segmentation': Task(
        ROOT / 'configs' / 'segmentation' / 'upernet_fastervit_shapes.py',
        'ade',
        'label_maps',
        'FasterViT, UperNet',
    ),
}


def run_tool(name: str, *arguments: str) -> None:
    """Run a tool of this folder as a user would, and leave with its status when it fails."""
    command = [sys.executable, str(ROOT / 'tools' / name), *arguments]
    print('\n$', ' '.join(command), flush=True)
    status = subprocess.run(command).returncode
    if status:
        sys.exit(status)


def read_metrics(work_dir: Path) -> dict[str, float]:
    """The metrics that the newest run of tools/test.py wrote."""
    newest = max(work_dir.glob('*/*.json'), key=lambda path: path.stat().st_mtime)
    return load(newest)


def detection_table(metrics: dict[str, float]) -> float:
    """Print AP of boxes and masks; the lower of the two."""
    columns = {'AP': 'mAP', 'AP50': 'mAP_50', 'AP75': 'mAP_75'}
    print(f'\n{"held-out images":<16}' + ''.join(f'{name:>8}' for name in columns))
    for kind, title in (('bbox', 'boxes'), ('segm', 'masks')):
        values = ''.join(f'{metrics[f"coco/{kind}_{key}"]:8.3f}' for key in columns.values())
        print(f'{title:<16}{values}')
    return min(metrics['coco/bbox_mAP'], metrics['coco/segm_mAP'])


def segmentation_table(metrics: dict[str, float]) -> float:
    """Print the mean over the classes; mIoU as a share."""
    print(f'\n{"held-out images":<16}{"mIoU":>8}{"mAcc":>8}{"aAcc":>8}')
    values = ''.join(f'{metrics[key] / 100:8.3f}' for key in ('mIoU', 'mAcc', 'aAcc'))
    print(f'{"label maps":<16}{values}')
    return metrics['mIoU'] / 100


Pair = tuple[str, Image.Image, Image.Image]


def detection_pairs(data: Path, predictions: Path, score: float = 0.5) -> Iterator[Pair]:
    """File name, truth and detections above ``score`` of each held-out image."""
    from pycocotools import mask as coco_mask
    from pycocotools.coco import COCO

    coco = COCO(data / 'annotations' / 'instances_val2017.json')
    for prediction in load(predictions):
        name = coco.loadImgs(prediction['img_id'])[0]['file_name']
        image = np.asarray(Image.open(data / 'val2017' / name).convert('RGB'))
        truth = coco.loadAnns(coco.getAnnIds(prediction['img_id']))
        boxes = np.array([[x, y, x + w, y + h] for x, y, w, h in (a['bbox'] for a in truth)])
        left = draw_objects(
            image,
            boxes,
            [a['category_id'] - 1 for a in truth],
            CLASSES,
            masks=[coco.annToMask(a).astype(bool) for a in truth],
        )
        found = prediction['pred_instances']
        kept = [i for i, s in enumerate(found['scores']) if s >= score]
        right = draw_objects(
            image,
            found['bboxes'].numpy()[kept],
            [int(found['labels'][i]) for i in kept],
            CLASSES,
            [float(found['scores'][i]) for i in kept],
            [coco_mask.decode(found['masks'][i]).astype(bool) for i in kept],
        )
        yield name, left, right


def segmentation_pairs(data: Path, predictions: Path) -> Iterator[Pair]:
    """File name, truth and predicted label map of each held-out image."""
    for path in sorted((data / 'images' / 'validation').glob('*.jpg')):
        image = np.asarray(Image.open(path).convert('RGB'))
        drawn = [
            draw_labels(
                image,
                np.asarray(Image.open(folder / f'{path.stem}.png')).astype(int) - 1,
                SEMANTIC_CLASSES,
            )
            for folder in (data / 'annotations' / 'validation', predictions)
        ]
        yield path.name, *drawn


def draw_pictures(pairs: Iterator[Pair], model: str, out: Path, sheet: Path) -> None:
    """Predictions beside the truth: one picture per image, and a sheet of the first twelve."""
    out.mkdir(parents=True, exist_ok=True)
    pictures = []
    for name, truth, prediction in pairs:
        picture = side_by_side([titled(truth, 'truth'), titled(prediction, model)])
        picture.save(out / Path(name).with_suffix('.png'))
        pictures.append(picture)
    side_by_side(pictures[:12], columns=2, gap=24).save(sheet)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--task', choices=TASKS, default='detection')
    parser.add_argument('--work-dir', type=Path, help='default: work_dirs/demo, -segmentation')
    parser.add_argument('--data', type=Path, default=ROOT / 'data' / 'shapes')
    parser.add_argument('--cfg-options', nargs='+', default=[], help='passed on to both tools')
    parser.add_argument(
        '--images',
        type=int,
        nargs=2,
        default=(400, 60),
        metavar='N',
        help='training and held-out images (default: 400 60)',
    )
    parser.add_argument(
        '--expect', type=float, default=WANTED, help=f'exit status 1 below it (default: {WANTED})'
    )
    args = parser.parse_args()
    task = TASKS[args.task]
    name = 'demo' if args.task == 'detection' else f'demo-{args.task}'
    work_dir = args.work_dir or ROOT / 'work_dirs' / name

    train, val = args.images
    print(f'drawing {train} training and {val} held-out images under {args.data}', flush=True)
    write_shapes(args.data, train, val)
    data, predictions = args.data / task.layout, work_dir / task.predictions
    options = ['--cfg-options', *args.cfg_options] if args.cfg_options else []
    shared = ['--data', str(data), '--work-dir', str(work_dir), *options]
    run_tool('train.py', str(task.config), *shared)
    checkpoint = (work_dir / 'last_checkpoint').read_text().strip()
    run_tool('test.py', str(task.config), checkpoint, '--out', str(predictions), *shared)

    metrics = read_metrics(work_dir)
    pairs = (detection_pairs if args.task == 'detection' else segmentation_pairs)(data, predictions)
    sheet = work_dir / f'{args.task}s.png'
    draw_pictures(pairs, task.model, work_dir / 'pictures', sheet)
    table = detection_table if args.task == 'detection' else segmentation_table
    reached = table(metrics)
    run_tool('report.py', str(work_dir))
    print(f'\npictures beside the truth: {sheet}, one for each image in {work_dir / "pictures"}')
    if reached < args.expect:
        sys.exit(f'{reached:.3f} is below the {args.expect:.2f} that this demo should reach')


if __name__ == '__main__':
    exit_on_user_error(main)
