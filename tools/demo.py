"""Train a small network on drawn shapes, evaluate it and draw its predictions.

    python tools/demo.py [--task detection|segmentation] [--work-dir FOLDER]

The same commands as for COCO and ADE20K, on data this script writes. About a quarter of an hour
(detection) and a few minutes (segmentation) on 2 cores.
"""

import argparse
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from mmengine.config import Config
from mmengine.fileio import load

from fastervit_mm.config.data_sets import point_to_folder
from fastervit_mm.data.drawn_shapes import write_shapes
from fastervit_mm.errors import exit_on_user_error
from fastervit_mm.pictures import side_by_side
from fastervit_mm.report.results import ImageResult
from fastervit_mm.tasks import task_of

ROOT = Path(__file__).resolve().parent.parent
WANTED = 0.80  # AP of boxes and masks, or mIoU, that the demo is expected to reach
SCORE = 0.5  # objects below it are not drawn


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


class Demo(NamedTuple):
    """What differs between the demos.

    Attributes:
        work_dir: its name.
        config: path.
        layout: folder of the drawn data.
        model: its name.
        table: prints the metrics; the one that counts.
    """

    work_dir: str
    config: Path
    layout: str
    model: str
    table: Callable[[dict[str, float]], float]


DEMOS = {
    'detection': Demo(
        'demo',
        ROOT / 'configs' / 'detection' / 'cascade_fastervit_shapes.py',
        'coco',
        'FasterViT, Cascade Mask R-CNN',
        detection_table,
    ),
    'segmentation': Demo(
        'demo-segmentation',
        ROOT / 'configs' / 'segmentation' / 'upernet_fastervit_shapes.py',
        'ade',
        'FasterViT, UperNet',
        segmentation_table,
    ),
}


def draw_pictures(images: Sequence[ImageResult], model: str, out: Path, sheet: Path) -> None:
    """Predictions beside the truth: one picture per image, and a sheet of the first twelve.

    Args:
        images: in the order of the sheet.
        model: the name over its predictions.
        out: folder of the pictures.
        sheet: file.
    """
    out.mkdir(parents=True, exist_ok=True)
    pictures = []
    for image in images:
        picture = image.draw(model)
        picture.save((out / image.name).with_suffix('.png'))
        pictures.append(picture)
    side_by_side(pictures[:12], columns=2, gap=24).save(sheet)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--task', choices=DEMOS, default='detection')
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
    demo = DEMOS[args.task]
    work_dir = args.work_dir or ROOT / 'work_dirs' / demo.work_dir
    cfg = Config.fromfile(demo.config)
    task = task_of(cfg)

    train, val = args.images
    print(f'drawing {train} training and {val} held-out images under {args.data}', flush=True)
    write_shapes(args.data, train, val)
    data, predictions = args.data / demo.layout, task.predictions_path(work_dir)
    options = ['--cfg-options', *args.cfg_options] if args.cfg_options else []
    shared = ['--data', str(data), '--work-dir', str(work_dir), *options]
    run_tool('train.py', str(demo.config), *shared, '--resume')  # where one was interrupted
    checkpoint = (work_dir / 'last_checkpoint').read_text().strip()
    run_tool('test.py', str(demo.config), checkpoint, '--out', str(predictions), *shared)

    point_to_folder(cfg, data)
    sheet = work_dir / f'{args.task}s.png'
    images = task.images(cfg, predictions, SCORE)
    draw_pictures(images, demo.model, work_dir / 'pictures', sheet)
    reached = demo.table(read_metrics(work_dir))
    run_tool('report.py', str(work_dir))
    print(f'\npictures beside the truth: {sheet}, one for each image in {work_dir / "pictures"}')
    if reached < args.expect:
        sys.exit(f'{reached:.3f} is below the {args.expect:.2f} that this demo should reach')


if __name__ == '__main__':
    exit_on_user_error(main)
