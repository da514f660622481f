"""One page about a finished run: curves, classes, mistakes, best and worst images.

    python tools/report.py WORK_DIR [--out FILE]

Evaluates the run's best (or last) checkpoint first, where its predictions are not there yet.
"""

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from fastervit_mm.config.data_sets import check_data_files
from fastervit_mm.config.reading import read_config
from fastervit_mm.config.settings import check_there
from fastervit_mm.errors import FileError, exit_on_user_error, writing
from fastervit_mm.report.run_page import report_page
from fastervit_mm.report.work_dir import find_checkpoint, find_config, is_complete
from fastervit_mm.tasks import task_of

TOOLS = Path(__file__).resolve().parent


def make_predictions(work_dir: Path, config: Path, path: Path, files: Sequence[Path]) -> None:
    """Let tools/test.py predict on the validation images, where that was not done before.

    Args:
        work_dir: of the run.
        config: its resolved config.
        path: where the predictions are kept.
        files: what they are; where one is missing or older than the checkpoint, all are made.
    """
    checkpoint = find_checkpoint(work_dir)
    if is_complete(files, checkpoint):
        return
    command = [
        sys.executable,
        str(TOOLS / 'test.py'),
        str(config),
        str(checkpoint),
        '--work-dir',
        str(work_dir),
        '--out',
        str(path),
    ]
    print('$', ' '.join(command), flush=True)
    if subprocess.run(command).returncode:
        raise FileError(f'the evaluation of {checkpoint} failed (its messages are above)')


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('work_dir', type=Path, help='of tools/train.py')
    parser.add_argument('--out', type=Path, help='default: WORK_DIR/report.html')
    args = parser.parse_args()
    if not args.work_dir.is_dir():
        raise FileError(f'{args.work_dir} is not a folder; training writes its work dir')
    config = find_config(args.work_dir)
    cfg = read_config(config)
    task = task_of(cfg)
    check_there(cfg, ('test_dataloader',))
    check_data_files(cfg, ('test_dataloader',))
    path = task.predictions_path(args.work_dir)
    make_predictions(args.work_dir, config, path, task.prediction_files(cfg, path))
    results = task.results(cfg, path)
    out = args.out or args.work_dir / 'report.html'
    page = report_page(args.work_dir, results)
    with writing(out, 'name another place with --out'):
        out.write_text(page, encoding='utf-8')
    print(f'report: {out}')


if __name__ == '__main__':
    exit_on_user_error(main)
