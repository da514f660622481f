"""Run by torchrun in two processes: what each of them reads, says, gets and raises.

    torchrun --nproc_per_node 2 tests/tasks/in_two_processes.py FOLDER WORK_DIR

Each process writes WORK_DIR/RANK.json.
"""

import json
import sys
import time
from pathlib import Path

from mmengine.dist import get_rank, get_world_size
from PIL import Image

from fastervit_mm.errors import ArgumentError
from fastervit_mm.tasks.use_folder import train_on
from fastervit_mm.training.processes import end_processes, in_main_process, say, start_processes
from fastervit_mm.training.schedule import fit_schedule
from tests.tasks.folders import SHAPES, config

opened = []
open_image = Image.open


def note_and_open(path, *args):
    opened.append(str(path))
    return open_image(path, *args)


def fail(error):
    time.sleep(0.2)  # the other process waits meanwhile
    raise error


def how_it_ends(work):
    """The error, or the status, with which a process leaves `in_main_process`."""
    try:
        return in_main_process(work)
    except (Exception, SystemExit) as end:
        return f'{type(end).__name__}: {end}'


def main():
    folder, work_dir = map(Path, sys.argv[1:])
    cfg = config(SHAPES, work_dir)
    cfg.launcher = 'pytorch'
    start_processes(cfg)
    start_processes(cfg)  # no second time
    Image.open = note_and_open
    lines = train_on(cfg, folder)
    say(lines[0])
    dataset = cfg.train_dataloader.dataset
    found = dict(
        opened=len(opened),
        lines=lines[1:],
        classes=dataset.metainfo.classes,
        ann_file=dataset.ann_file,
        truth=cfg.val_evaluator.ann_file,
        heads=cfg.model.roi_head.mask_head.num_classes,
        world=get_world_size(),
        iterations=fit_schedule(cfg, images=40, epochs=2, iters=None),
        user_error=how_it_ends(lambda: fail(ArgumentError('a line for the user'))),
        defect=how_it_ends(lambda: fail(KeyError('a defect'))),
        after=in_main_process(lambda: f'by {get_rank()}'),
    )
    (work_dir / f'{get_rank()}.json').write_text(json.dumps(found))
    end_processes()


if __name__ == '__main__':
    main()
