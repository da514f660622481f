"""Time models side by side in one process, and say how far each is from what the machine can do.

python tools/benchmark.py SUBJECT ... [--size 800x1280 ...] [--batch 1 8 ...] [--device auto]

A subject is a variant (fastervit_2), a config, timm:NAME, or published:NAME for the published package
where it is installed; each may be changed: fastervit_2+fused+compiled, fastervit_2+bf16.
"""

import argparse
import itertools
import re
import sys
from pathlib import Path

import torch

from fastervit_mm.benchmark.results import machine, table, write_results
from fastervit_mm.benchmark.subjects import (
    CHANGES,
    DTYPES,
    Task,
    published_accuracy,
    read_subjects,
)
from fastervit_mm.benchmark.timing import measure
from fastervit_mm.errors import ArgumentError, exit_on_user_error


def parse_size(text: str) -> tuple[int, int]:
    """'800x1280' or '224' -> height, width, px."""
    match = re.fullmatch(r'([1-9]\d*)(?:[x×]([1-9]\d*))?', text)
    if match is None:
        raise argparse.ArgumentTypeError(
            f'{text!r} is no size; give HEIGHTxWIDTH, such as 800x1280'
        )
    return int(match[1]), int(match[2] or match[1])


def positive(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f'{text!r} is no number of at least 1')
    return int(text)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        'subjects',
        nargs='+',
        metavar='SUBJECT',
        help='variant, config, timm:NAME or published:NAME, with changes behind "+": '
        + ', '.join((*CHANGES, *DTYPES)),
    )
    parser.add_argument('--size', nargs='+', type=parse_size, default=[(800, 1280)], metavar='HxW')
    parser.add_argument('--batch', nargs='+', type=positive, default=[1])
    parser.add_argument('--device', choices=('auto', 'cpu', 'cuda'), default='auto')
    parser.add_argument('--dtype', nargs='+', choices=tuple(DTYPES), default=['fp32'])
    parser.add_argument('--mode', nargs='+', choices=('infer', 'train'), default=['infer'])
    parser.add_argument(
        '--part',
        choices=('model', 'backbone'),
        default='model',
        help='what is timed of a config (default: the whole model)',
    )
    parser.add_argument('--compile', action='store_true', help='compile every subject')
    parser.add_argument('--fuse', action='store_true', help='fuse every FasterViT of ours')
    parser.add_argument('--channels-last', action='store_true', help='for every subject')
    parser.add_argument('--rounds', type=positive, default=7, help='measurements of each subject')
    parser.add_argument(
        '--threads', type=positive, help='CPU threads (default: as PyTorch chooses)'
    )
    parser.add_argument('--no-memory', action='store_true', help='do not measure peak memory')
    parser.add_argument('--out', type=Path, help='folder for JSON, CSV, Markdown and pictures')
    return parser.parse_args()


def chosen_device(wanted: str) -> str:
    if wanted == 'cuda' and not torch.cuda.is_available():
        raise ArgumentError('--device cuda: PyTorch sees no GPU here; use --device cpu')
    if wanted == 'auto':
        return 'cuda' if torch.cuda.is_available() else 'cpu'
    return wanted


def main() -> None:
    args = parse_args()
    device = chosen_device(args.device)
    if args.threads is not None:
        torch.set_num_threads(args.threads)
    asked = dict(compiled=args.compile, fused=args.fuse, channels_last=args.channels_last)
    subjects, refused = read_subjects(
        args.subjects, args.part, frozenset(name for name, wanted in asked.items() if wanted)
    )
    for line in refused:
        print(f'error: {line}', file=sys.stderr)
    if not subjects:
        raise ArgumentError('there is no subject left to time')
    facts = machine(device)
    print(', '.join(f'{key} {value}' for key, value in facts.items() if key != 'command'))
    accuracies = {subject.name: published_accuracy(subject) for subject in subjects}
    readings = []
    tasks = [
        Task(height, width, batch, dtype, mode, device)
        for (height, width), batch, dtype, mode in itertools.product(
            args.size, args.batch, args.dtype, args.mode
        )
    ]
    for i, task in enumerate(tasks, 1):
        print(f'\n[{i}/{len(tasks)}] {task}', flush=True)
        found = measure(
            subjects,
            task,
            rounds=args.rounds,
            memory=not args.no_memory,
            say=lambda text: print(text, flush=True),
        )
        readings += found
        print(f'\n{table(found)}', flush=True)
        if args.out is not None:  # after each task: a run that ends early keeps what it has
            files = write_results(readings, accuracies, facts, args.out)
    if args.out is not None:
        print('\nwritten: ' + ', '.join(map(str, files)))
    if not readings:
        raise ArgumentError('no subject could be timed')


if __name__ == '__main__':
    exit_on_user_error(main)
