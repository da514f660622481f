"""What a process of a simulated machine finds, gets and starts from."""

import os
from pathlib import Path
from typing import Any

from mmengine.dist import get_rank

from fastervit_mm.errors import UserError
from fastervit_mm.tasks.use_folder import train_on
from fastervit_mm.training.processes import end_processes, in_main_process, start_processes
from fastervit_mm.training.resuming import resume_point
from fastervit_mm.training.runner import build_runner
from fastervit_mm.training.warm_start import start_from
from tests.distributed import toy_run
from tests.tasks.folders import SHAPES, config


def on_a_machine_of_its_own(work: Any, root: Path, *args: Any) -> Any:
    """``work(place, *args)`` where each process is a machine with its own disk, ``root/RANK``."""
    os.environ['GROUP_RANK'] = os.environ['RANK']
    place = root / os.environ['RANK']
    place.mkdir(exist_ok=True)
    try:
        return work(place, *args)
    except (UserError, SystemExit) as error:
        return f'{type(error).__name__}: {error}'


def prepare(place: Path, folder: Path, checkpoint: Path) -> dict[str, Any]:
    """Fit a config to ``folder`` and start from ``checkpoint``; what this process would read."""
    cfg = config(SHAPES, place / 'run')
    cfg.launcher = 'pytorch'
    start_processes(cfg)
    lines = train_on(cfg, folder / str(get_rank()) if (folder / '0').is_dir() else folder)
    start_from(cfg, str(checkpoint), place / 'run')
    found = dict(
        lines=lines[1:],
        ann_file=cfg.train_dataloader.dataset.ann_file,
        load_from=cfg.load_from,
        writer=in_main_process(get_rank, place / 'run'),
    )
    end_processes()
    return found


def resume(place: Path) -> Any:
    """Go on from what this machine has; the iteration that is next."""
    cfg = toy_run.config(str(place / 'run'), '', 0)
    runner = build_runner(cfg, resume=resume_point(place / 'run', 'auto'))
    runner.load_or_resume()
    end_processes()
    return runner.iter


def first_run(place: Path) -> None:
    """Train a little."""
    toy_run.train(place / 'run')
