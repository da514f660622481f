"""Evaluate a checkpoint, and draw or keep its predictions.

    python tools/test.py CONFIG CHECKPOINT [--data FOLDER] [--show-dir pictures] [--out predictions]

--data FOLDER is used as it is where its files fit the config (layout and classes). Otherwise its
classes are told by their names, which must be some of the model's. With a run's own config, from its
work dir, the results go to WORK_DIR/test_on_FOLDER, and the run's files stay as they are.
"""

import argparse
from pathlib import Path

from mmengine.config import Config
from tqdm import tqdm

from fastervit_mm.config.data_sets import check_data_files
from fastervit_mm.config.host import building
from fastervit_mm.config.reading import (
    add_common_options,
    apply_options,
    check_checkpoint,
    check_launcher,
    load_config,
)
from fastervit_mm.config.settings import check_there
from fastervit_mm.errors import exit_on_user_error
from fastervit_mm.pictures import plain_names
from fastervit_mm.tasks import task_of
from fastervit_mm.tasks.use_folder import evaluate_on
from fastervit_mm.training.processes import (
    end_processes,
    lost_process_named,
    say,
    start_processes,
)
from fastervit_mm.training.runner import build_runner
from fastervit_mm.weights.entrances import guarded_loading


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('config', help='config file')
    parser.add_argument('checkpoint', nargs='?', help='checkpoint file or URL')
    add_common_options(parser)
    parser.add_argument(
        '--out',
        metavar='PATH',
        help="keep predictions: a detector's in a .json file (COCO's results format; .pkl for mmdet's "
        "tools), a segmentor's in a folder of label maps",
    )
    parser.add_argument(
        '--eval-only',
        metavar='FILE',
        help="evaluate the predictions that a detector's --out kept, without running it",
    )
    parser.add_argument(
        '--trust',
        action='store_true',
        help='with --eval-only: read any .pkl file, which MAY RUN ANY CODE on this machine',
    )
    parser.add_argument('--show', action='store_true', help='show predictions in a window')
    parser.add_argument(
        '--show-dir',
        metavar='FOLDER',
        help='draw predictions beside the truth; a detector draws to WORK_DIR/TIMESTAMP/FOLDER',
    )
    parser.add_argument('--wait-time', type=float, default=2, help='seconds each is shown')
    parser.add_argument(
        '--fuse', action='store_true', help='fold the backbone for inference: same outputs, faster'
    )
    parser.add_argument(
        '--compile',
        action='store_true',
        help='torch.compile the backbone: pays off over many images, the first takes minutes',
    )
    parser.add_argument('--tta', action='store_true', help='test-time augmentation')
    args = parser.parse_args()
    if (args.checkpoint is None) == (args.eval_only is None):
        parser.error('give a checkpoint, or --eval-only with kept predictions')
    return args


def leave_run_alone(cfg: Config, args: argparse.Namespace) -> None:
    """Test a run's own config on other data in a folder of its own.

    The runner writes its config into the work dir, and would replace that of the run there.

    Args:
        cfg: its work dir is changed in place, unless the user names one.
        args: of the command line, with ``--data``.
    """
    named = args.work_dir or 'work_dir' in (args.cfg_options or {})
    if named or Path(args.config).resolve().parent != Path(cfg.work_dir).resolve():
        return
    cfg.work_dir = str(Path(cfg.work_dir, f'test_on_{Path(args.data).resolve().name}'))
    say(f'{args.config} is the config of a run: what is written goes to {cfg.work_dir}')


def main() -> None:
    args = parse_args()
    with (
        guarded_loading(trust=args.trust_checkpoint, whole=True),
        lost_process_named(),
        plain_names(),
    ):
        test(args)


def test(args: argparse.Namespace) -> None:
    """Test as the command line says."""
    checkpoint = args.checkpoint and check_checkpoint(args.checkpoint)
    cfg = load_config(args)
    check_launcher(args.launcher)
    check_there(cfg, ('model', 'test_dataloader', 'test_evaluator'))
    start_processes(cfg)
    if args.data is not None:
        leave_run_alone(cfg, args)
        lines = evaluate_on(
            cfg,
            Path(args.data),
            ignore_zero=args.ignore_zero,
            progress=lambda items: tqdm(items, desc='looking at images', unit='images'),
        )
        say('\n'.join(lines))
        apply_options(cfg, args)
    check_data_files(cfg, ('test_dataloader',))
    task = task_of(cfg)
    if args.eval_only is not None:
        task.evaluate_file(cfg, args.eval_only, trust=args.trust)
        return
    cfg.load_from, cfg.resume = checkpoint, False
    if args.show or args.show_dir:
        task.draw_predictions(cfg, show=args.show, folder=args.show_dir, wait_time=args.wait_time)
    if args.tta:
        task.use_tta(cfg)
    if args.fuse or args.compile:
        hook = dict(type='fastervit_mm.FasterInferenceHook', fuse=args.fuse, compile=args.compile)
        cfg.custom_hooks = [*cfg.get('custom_hooks', []), hook]
    keep = None if args.out is None else task.keep_predictions(cfg, args.out)
    runner = build_runner(cfg, tests=True)
    if keep is not None:
        runner.test_evaluator.metrics.append(keep)
    with building():
        runner.test()
    end_processes()


if __name__ == '__main__':
    exit_on_user_error(main)
