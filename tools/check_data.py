"""Look through a folder of labelled images: what is in it, and what training would trip over.

    python tools/check_data.py FOLDER [--out DIR] [--ignore-zero]

Prints a table and writes DIR/data.html. Exit status 1 where training would fail.
"""

import argparse
import sys
from pathlib import Path

from tqdm import tqdm

from fastervit_mm.data.folder import read_folder
from fastervit_mm.data.reading import LEAST_SIDE
from fastervit_mm.errors import FileError, check_folder, exit_on_user_error, writing
from fastervit_mm.report.data_page import data_page


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('folder', type=Path, help="in COCO's or ADE20K's layout")
    parser.add_argument(
        '--out',
        type=Path,
        default=Path('data_check'),
        help='folder of the page (default: data_check)',
    )
    parser.add_argument(
        '--ignore-zero',
        action='store_true',
        default=None,
        help='label 0 of the label maps means "unlabelled"',
    )
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    if not args.folder.is_dir():
        raise FileError(f'{args.folder} is not a folder')
    path = args.out / 'data.html'
    check_folder(args.out, '--out')
    reading = read_folder(
        args.folder,
        ignore_zero=args.ignore_zero,
        progress=lambda items: tqdm(items, unit='images'),
    )
    reading.note_small_images(LEAST_SIDE)
    for head, rows in reading.tables():
        print(f'\n{head}')
        for row in rows:
            print('  ' + '  '.join(str(cell) for cell in row))
    page = data_page(reading)
    with writing(path):
        args.out.mkdir(parents=True, exist_ok=True)
        path.write_text(page, encoding='utf-8')
    print(f'\npage: {path}')
    for reason in reading.fatal:
        print(f'training would fail: {reason}', file=sys.stderr)
    if reading.fatal:
        sys.exit(1)


if __name__ == '__main__':
    exit_on_user_error(main)
