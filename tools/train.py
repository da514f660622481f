"""Train a detector or a segmentor.

    python tools/train.py configs/detection/cascade_fastervit_2_3x.py [--data FOLDER] ...

--data FOLDER is used as it is where its files fit the config (layout and classes). Otherwise the
config is fitted to it: files, classes, class counts.
"""

import argparse
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from mmengine.config import Config
from mmengine.dist import is_main_process
from mmengine.runner import Runner
from tqdm import tqdm

from fastervit_mm.config.argument_types import positive_int
from fastervit_mm.config.data_sets import check_data_files
from fastervit_mm.config.host import building
from fastervit_mm.config.reading import (
    add_common_options,
    apply_options,
    check_checkpoint,
    check_launcher,
    load_config,
)
from fastervit_mm.config.run_folder import (
    check_not_overwritten,
    checkpoint_folder,
    claimed,
    unchanged_if_refused,
)
from fastervit_mm.config.settings import check_there
from fastervit_mm.errors import ArgumentError, exit_on_user_error
from fastervit_mm.pictures import plain_names
from fastervit_mm.tasks.use_folder import train_on, training_loaders
from fastervit_mm.training.learning_rate import RULES, rule_for, scale_learning_rate
from fastervit_mm.training.processes import (
    end_processes,
    lost_process_named,
    say,
    start_processes,
)
from fastervit_mm.training.resuming import settle_start
from fastervit_mm.training.run_record import write_record
from fastervit_mm.training.runner import build_runner, request_amp, request_tensorboard
from fastervit_mm.training.schedule import fit_schedule, training_images
from fastervit_mm.training.warm_start import start_from
from fastervit_mm.weights.entrances import guarded_loading


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('config', help='config file')
    add_common_options(parser)
    parser.add_argument('--amp', action='store_true', help='mixed precision')
    parser.add_argument(
        '--auto-scale-lr',
        nargs='?',
        const='linear',
        choices=RULES,
        help="scale the learning rate by the real batch over the config's, or its square root; "
        'without it, --data takes the square root for Adam and its kin',
    )
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        metavar='CHECKPOINT',
        help='continue from CHECKPOINT, or from the last one in the work dir',
    )
    parser.add_argument(
        '--from',
        dest='start',
        metavar='CHECKPOINT',
        help='start from what fits of CHECKPOINT, which may have other classes',
    )
    parser.add_argument(
        '--fresh',
        action='store_true',
        help='where the work dir holds a run already, train in a new folder beside it',
    )
    parser.add_argument(
        '--epochs', type=positive_int, help='train for so long; the schedule follows'
    )
    parser.add_argument('--iters', type=positive_int, help='the same in iterations')
    parser.add_argument('--tensorboard', action='store_true', help='write curves for it too')
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    if args.fresh and args.resume is not None:
        raise ArgumentError('--fresh and --resume exclude each other: start anew, or go on')
    with guarded_loading(trust=args.trust_checkpoint), lost_process_named(), plain_names():
        train(args)


def train(args: argparse.Namespace) -> None:
    """Train as the command line says."""
    if args.start is not None:
        check_checkpoint(args.start)  # before the data are looked at
    cfg = load_config(args)
    check_launcher(args.launcher)
    check_there(cfg, ('model', 'train_dataloader', 'train_cfg', 'optim_wrapper'))
    start_processes(cfg)
    # a job that is started again with the same options goes on; the first start has nothing to resume
    checkpoint = settle_start(cfg, args.resume, args.fresh, warm=args.start is not None)
    folder, name, made = Path(cfg.work_dir), Path(args.config).name, list[Runner]()
    with ExitStack() as stack:
        if is_main_process():
            for place in {folder, checkpoint_folder(cfg)}:
                stack.enter_context(claimed(place))
            check_not_overwritten(Path(args.config), folder)
            if checkpoint is not None:
                begun = partial(has_begun, made)
                stack.enter_context(unchanged_if_refused(folder, name, begun))
            write_record(folder, name)  # whose config it will be, whatever ends it
        made.append(prepare(cfg, args, checkpoint))
        if is_main_process():
            write_record(folder, name)  # with mmcv's operators, which are known by now
        with building():  # most of it is built when the training begins
            made[0].train()
    end_processes()


def has_begun(made: list[Runner]) -> bool:
    """Whether a run has taken up the checkpoint that it goes on from."""
    return any(runner._has_loaded for runner in made)


def prepare(cfg: Config, args: argparse.Namespace, checkpoint: str | None) -> Runner:
    """The runner of a training.

    Args:
        cfg: changed in place.
        args: of the command line.
        checkpoint: that it goes on from, or None.
    """
    if args.data is not None:
        lines = train_on(
            cfg,
            Path(args.data),
            ignore_zero=args.ignore_zero,
            progress=lambda items: tqdm(items, desc='looking at images', unit='images'),
        )
        say('\n'.join(lines))
        settled = cfg.work_dir
        apply_options(cfg, args)
        cfg.work_dir, cfg.resume = settled, False  # as `settle_start` left them
    if args.amp:
        request_amp(cfg)
    by_hand = tuple(args.cfg_options or {})
    rule = rule_for(cfg, args.auto_scale_lr, args.data is not None, by_hand)
    if rule is not None:
        say(scale_learning_rate(cfg, rule))
    if args.tensorboard:
        request_tensorboard(cfg)
    if checkpoint is None and args.start is not None:
        for line in start_from(cfg, args.start, Path(cfg.work_dir)):
            say(line)
    check_data_files(cfg, training_loaders(cfg))
    if args.data is not None or args.epochs is not None or args.iters is not None:
        iterations = fit_schedule(cfg, training_images(cfg), args.epochs, args.iters, by_hand)
        say(f'training for {iterations} iterations; the log says how long it will take')
    return build_runner(cfg, resume=checkpoint)


if __name__ == '__main__':
    exit_on_user_error(main)
