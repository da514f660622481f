"""Measure what a small training needs: the table of docs/recipes.md, on drawn scenes.

    python tools/study_small_trainings.py --from DETECTOR [--work-dir FOLDER]

Trains the demo's network on scenes of classes that its detector does not know: 20, 100 and 400
images, from random weights and from DETECTOR (`make demo` writes work_dirs/demo/epoch_10.pth), by
the 3x schedule as it stands (warm-up of 1000 iterations, the learning rate for batches of 16 at
batches of 2, no clipping) and as --data fits it; three seeds of images, weights and order. Within an
hour on 2 cores. A training that was done before is not done again.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

from fastervit_mm.data.drawn_shapes import OTHER_CLASSES, write_shapes
from fastervit_mm.errors import exit_on_user_error
from fastervit_mm.report.work_dir import read_curves

ROOT = Path(__file__).resolve().parent.parent
CONFIG = ROOT / 'configs' / 'detection' / 'cascade_fastervit_shapes.py'
EPOCHS = {20: 12, 100: 4, 400: 2}  # training images -> epochs, of batches of 2
HELD_OUT = 40
SEEDS = (0, 1, 2)
STARTS = ('random weights', 'a detector')
RULES = ('as it stands', 'fitted')
# --cfg-options have the last word over what --data fits
AS_IT_STANDS = (
    'optim_wrapper.clip_grad=None',
    'param_scheduler.0.end=1000',
    'param_scheduler.1.by_epoch=True',
    'param_scheduler.1.end=36',
    'param_scheduler.1.milestones=[27,33]',
)
# the 3x schedule, and a learning rate for batches of 16 that this small network learns by
STUDY = """
_base_ = {config!r}
train_cfg = dict(max_epochs={epochs}, val_interval={epochs})
train_dataloader = dict(batch_size=2)
optim_wrapper = dict(
    _delete_=True,
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=1e-3, weight_decay=0.05),
    paramwise_cfg=dict(norm_decay_mult=0.0),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=1000),
    dict(type='MultiStepLR', by_epoch=True, begin=0, end=36, milestones=[27, 33], gamma=0.1),
]
auto_scale_lr = dict(enable=False, base_batch_size=16)
default_hooks = dict(checkpoint=dict(max_keep_ckpts=1, save_best=None, save_optimizer=False))
"""


class Case(NamedTuple):
    """One training.

    Attributes:
        images: number of training images.
        start: one of `STARTS`.
        rule: one of `RULES`.
        seed: of images, weights and order.
    """

    images: int
    start: str
    rule: str
    seed: int

    def name(self) -> str:
        return f'{self.images}_{self.start}_{self.rule}_{self.seed}'.replace(' ', '_')


def cases() -> Iterator[Case]:
    """All trainings: a whole seed before the next, so that a study that is stopped says something."""
    for seed in SEEDS:
        for images in EPOCHS:
            for start in STARTS:
                for rule in RULES:
                    yield Case(images, start, rule, seed)


def scenes(case: Case, work_dir: Path) -> Path:
    """Folder of a training's scenes, which all with its number of images and seed share."""
    return work_dir / 'data' / f'{case.images}_{case.seed}'


def command(case: Case, work_dir: Path, detector: Path) -> list[str]:
    """The command line of a training; its config and data are under ``work_dir``."""
    data = scenes(case, work_dir) / 'coco'
    run = work_dir / case.name()
    line = [sys.executable, str(ROOT / 'tools' / 'train.py'), str(run / 'written' / 'study.py')]
    line += ['--data', str(data), '--work-dir', str(run), '--resume']  # one that was interrupted
    if case.start == 'a detector':
        line += ['--from', str(detector)]
    options = [f'randomness.seed={case.seed}']
    if case.rule == 'as it stands':
        line += ['--auto-scale-lr', 'none']
        options += AS_IT_STANDS
    return [*line, '--cfg-options', *options]


def train(case: Case, work_dir: Path, detector: Path) -> float:
    """Box AP on the held-out scenes after a training; from its log where it was done before."""
    run = work_dir / case.name()
    result = run / 'result.json'
    if not result.is_file():
        (run / 'written').mkdir(parents=True, exist_ok=True)
        text = STUDY.format(config=str(CONFIG), epochs=EPOCHS[case.images])
        (run / 'written' / 'study.py').write_text(text)
        with open(run / 'output.txt', 'w') as output:
            subprocess.run(
                command(case, work_dir, detector),
                stdout=output,
                stderr=output,
                check=True,
                env=dict(os.environ, OMP_NUM_THREADS='1'),
            )
        result.write_text(json.dumps({'box AP': last_box_ap(run)}))
        for checkpoint in run.glob('*.pth'):
            checkpoint.unlink()
    return json.loads(result.read_text())['box AP']


def last_box_ap(run: Path) -> float:
    """The last box AP in a run's log of scalars."""
    return read_curves(run)['coco/bbox_mAP'][-1][1]


def table(results: dict[Case, float]) -> str:
    """Means over the seeds, and the lowest and highest, in Markdown."""
    lines = [
        '| training images | start | ' + ' | '.join(f'schedule {rule}' for rule in RULES) + ' |',
        '| ---: | --- |' + ' ---: |' * len(RULES),
    ]
    for images in EPOCHS:
        for start in STARTS:
            cells = []
            for rule in RULES:
                found = [ap for c, ap in results.items() if c[:3] == (images, start, rule)]
                cells.append(
                    f'{statistics.mean(found):.3f} ({min(found):.3f} … {max(found):.3f})'
                    if found
                    else ''
                )
            lines.append(f'| {images} | {start} | ' + ' | '.join(cells) + ' |')
    return '\n'.join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--from', dest='detector', type=Path, required=True, metavar='DETECTOR')
    parser.add_argument('--work-dir', type=Path, default=ROOT / 'work_dirs' / 'small_trainings')
    parser.add_argument('--jobs', type=int, default=2, help='trainings at once (default: 2)')
    args = parser.parse_args()
    start = time.perf_counter()
    work_dir, detector = args.work_dir.absolute(), args.detector.absolute()
    for case in cases():  # first: trainings that run at once read the same ones
        folder = scenes(case, work_dir)
        # none of the demo's scenes
        write_shapes(folder, case.images, HELD_OUT, seed=100 + case.seed, classes=OTHER_CLASSES)
    run = partial(train, work_dir=work_dir, detector=detector)
    results = {}
    with ThreadPoolExecutor(args.jobs) as pool, tqdm(total=len(list(cases()))) as bar:
        for case, ap in zip(cases(), pool.map(run, cases()), strict=True):
            results[case] = ap
            bar.update()
            bar.write(f'{case.name():<44} box AP {ap:.3f}')
    text = table(results)
    (args.work_dir / 'table.md').write_text(text + '\n')
    print(f'{text}\n\n{(time.perf_counter() - start) / 60:.0f} min; {args.work_dir / "table.md"}')


if __name__ == '__main__':
    exit_on_user_error(main)
