"""Train a small detector on drawn shapes, evaluate it and draw its detections.

    python tools/demo.py [--work-dir work_dirs/demo]

The same commands as for COCO, on data this script writes. About a quarter of an hour on 2 cores.
"""

import argparse
import subprocess
import sys
from pathlib import Path

import numpy as np
from mmengine.fileio import load
from PIL import Image
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from fastervit_mm.errors import exit_on_user_error
from fastervit_mm.shapes import CLASSES, write_shapes
from fastervit_mm.tooling.pictures import draw_objects, side_by_side, titled

ROOT = Path(__file__).resolve().parent.parent
CONFIG = ROOT / 'configs' / 'detection' / 'cascade_fastervit_shapes.py'
METRICS = {'AP': 'mAP', 'AP50': 'mAP_50', 'AP75': 'mAP_75'}
WANTED = 0.80  # box and mask AP that the demo is expected to reach


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


def print_table(metrics: dict[str, float]) -> None:
    print(f'\n{"held-out images":<16}' + ''.join(f'{name:>8}' for name in METRICS))
    for kind, title in (('bbox', 'boxes'), ('segm', 'masks')):
        values = ''.join(f'{metrics[f"coco/{kind}_{key}"]:8.3f}' for key in METRICS.values())
        print(f'{title:<16}{values}')


def draw_pair(image: np.ndarray, coco: COCO, prediction: dict, score: float) -> list[Image.Image]:
    """The truth and the predictions on one image."""
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
    return [titled(left, 'truth'), titled(right, 'FasterViT, Cascade Mask R-CNN')]


def draw_pictures(data: Path, predictions: list[dict], out: Path, count: int = 12) -> None:
    """Predictions beside the truth: one picture per image, and a sheet of ``count`` of them."""
    out.mkdir(parents=True, exist_ok=True)
    coco = COCO(data / 'annotations' / 'instances_val2017.json')
    pairs = []
    for prediction in predictions:
        name = coco.loadImgs(prediction['img_id'])[0]['file_name']
        image = np.asarray(Image.open(data / 'val2017' / name).convert('RGB'))
        pairs.append(side_by_side(draw_pair(image, coco, prediction, score=0.5)))
        pairs[-1].save(out / Path(name).with_suffix('.png'))
    sheet = side_by_side(pairs[:count], columns=2, gap=24)
    sheet.save(out.parent / 'detections.png')


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--work-dir', type=Path, default=ROOT / 'work_dirs' / 'demo')
    parser.add_argument('--data', type=Path, default=ROOT / 'data' / 'shapes')
    parser.add_argument('--cfg-options', nargs='+', default=[], help='passed on to the training')
    args = parser.parse_args()

    print(f'drawing 400 training and 60 held-out images under {args.data}', flush=True)
    write_shapes(args.data)
    data, work_dir = args.data / 'coco', str(args.work_dir)
    options = ['--cfg-options', *args.cfg_options] if args.cfg_options else []
    shared = ['--data', str(data), '--work-dir', work_dir]
    run_tool('train.py', str(CONFIG), *shared, *options)
    checkpoint = (args.work_dir / 'last_checkpoint').read_text().strip()
    run_tool(
        'test.py', str(CONFIG), checkpoint, *shared, '--out', str(args.work_dir / 'predictions.pkl')
    )

    metrics = read_metrics(args.work_dir)
    draw_pictures(data, load(args.work_dir / 'predictions.pkl'), args.work_dir / 'pictures')
    print_table(metrics)
    print(
        f'\npictures of the detections: {args.work_dir / "detections.png"}, one for each '
        f'image in {args.work_dir / "pictures"}'
    )
    reached = min(metrics['coco/bbox_mAP'], metrics['coco/segm_mAP'])
    if reached < WANTED:
        sys.exit(f'AP {reached:.3f} is below the {WANTED:.2f} that this demo should reach')


if __name__ == '__main__':
    exit_on_user_error(main)
