"""Train a detector or a segmentor.

python tools/train.py configs/detection/cascade_fastervit_2_3x.py [--data FOLDER] ...
"""

import argparse

from fastervit_mm.errors import exit_on_user_error
from fastervit_mm.tooling.data_folder import check_data
from fastervit_mm.tooling.run_config import (
    add_common_options,
    build_runner,
    load_config,
    request_amp,
    request_auto_scale_lr,
    request_resume,
)


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
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    cfg = load_config(args)
    if args.amp:
        request_amp(cfg)
    if args.auto_scale_lr:
        request_auto_scale_lr(cfg)
    if args.resume is not None:
        request_resume(cfg, args.resume)
    loaders = (
        ('train_dataloader', 'val_dataloader') if cfg.get('val_cfg') else ('train_dataloader',)
    )
    check_data(cfg, loaders)
    build_runner(cfg).train()


if __name__ == '__main__':
    exit_on_user_error(main)
