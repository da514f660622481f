"""Train a detector or a segmentor.

    python tools/train.py configs/detection/cascade_fastervit_2_3x.py [--data FOLDER] ...

With --data, the config follows a folder of your own labelled images: files, classes, class counts.
"""

import argparse
from pathlib import Path

from mmengine.config import Config
from tqdm import tqdm

from fastervit_mm.errors import FileError, exit_on_user_error
from fastervit_mm.data.adapt import fit_to_folder, training_images
from fastervit_mm.training.schedule import fit_schedule
from fastervit_mm.training.warm_start import start_from
from fastervit_mm.config.data_sets import check_data, innermost_dataset
from fastervit_mm.config.run_config import (
    add_common_options,
    build_runner,
    check_checkpoint,
    has_checkpoint,
    load_config,
    request_amp,
    request_auto_scale_lr,
    request_resume,
    request_tensorboard,
    say,
)
from fastervit_mm.training.run_record import write_record


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('config', help='config file')
    add_common_options(parser)
    parser.add_argument('--amp', action='store_true', help='mixed precision')
    parser.add_argument(
        '--auto-scale-lr',
        action='store_true',
        help="scale the learning rate by the real batch over the config's",
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
    parser.add_argument('--epochs', type=int, help='train for so long; the schedule follows')
    parser.add_argument('--iters', type=int, help='the same in iterations')
    parser.add_argument(
        '--ignore-zero',
        action='store_true',
        default=None,
        help='with --data: label 0 of the label maps means "unlabelled"',
    )
    parser.add_argument('--tensorboard', action='store_true', help='write curves for it too')
    return parser.parse_args()


def use_own_data(cfg: Config, folder: Path, ignore_zero: bool | None) -> None:
    """Fit ``cfg`` to ``folder`` and say what was found in it."""
    if not folder.is_dir():
        raise FileError(f'--data {folder} is not a folder')
    found = fit_to_folder(
        cfg,
        folder,
        Path(cfg.work_dir),
        ignore_zero,
        progress=lambda items: tqdm(items, desc='looking at images', unit='images'),
    )
    for findings in found:
        say(f'{findings.name}: {len(findings.sizes)} images')
        for line in findings.lines():
            say(f'  {line}')
    classes = innermost_dataset(cfg, 'train_dataloader').metainfo.classes
    say(f'{len(classes)} classes: {", ".join(classes)}')


def main() -> None:
    args = parse_args()
    if args.start is not None:
        check_checkpoint(args.start)  # before the data are looked at
    cfg = load_config(args, lambda cfg, folder: use_own_data(cfg, folder, args.ignore_zero))
    if args.amp:
        request_amp(cfg)
    if args.auto_scale_lr:
        request_auto_scale_lr(cfg)
    if args.tensorboard:
        request_tensorboard(cfg)
    # a job that is started again with the same options goes on; the first start has nothing to resume
    resumes = args.resume is not None and (
        args.start is None or args.resume != 'auto' or has_checkpoint(cfg.work_dir)
    )
    if resumes:
        request_resume(cfg, args.resume)
    elif args.start is not None:
        for line in start_from(cfg, args.start, Path(cfg.work_dir)):
            say(line)
    loaders = (
        ('train_dataloader', 'val_dataloader') if cfg.get('val_cfg') else ('train_dataloader',)
    )
    check_data(cfg, loaders)
    if args.epochs is not None or args.iters is not None:
        iterations = fit_schedule(cfg, training_images(cfg), args.epochs, args.iters)
        say(f'training for {iterations} iterations; the log says how long it will take')
    runner = build_runner(cfg)
    write_record(Path(cfg.work_dir))
    runner.train()


if __name__ == '__main__':
    exit_on_user_error(main)
