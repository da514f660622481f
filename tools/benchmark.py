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
    Workload,
    published_accuracy,
    read_subjects,
)
from fastervit_mm.benchmark.timing import Measurement, measure
from fastervit_mm.config.argument_types import positive_int
from fastervit_mm.errors import ArgumentError, check_folder, exit_on_user_error, writing


def parse_size(text: str) -> tuple[int, int]:
    """'800x1280' or '224' -> height, width, px."""
    match = re.fullmatch(r'([1-9]\d*)(?:[x×]([1-9]\d*))?', text)
    if match is None:
        raise argparse.ArgumentTypeError(
            f'{text!r} is no size; give HEIGHTxWIDTH, such as 800x1280'
        )
    return int(match[1]), int(match[2] or match[1])


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        'subjects',
        nargs='+',
        metavar='SUBJECT',
        help='variant, config, timm:NAME or published:NAME, with changes after "+": '
        + ', '.join((*CHANGES, *DTYPES)),
    )
    parser.add_argument('--size', nargs='+', type=parse_size, default=[(800, 1280)], metavar='HxW')
    parser.add_argument('--batch', nargs='+', type=positive_int, default=[1])
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
    parser.add_argument(
        '--rounds', type=positive_int, default=7, help='timed calls of each subject'
    )
    parser.add_argument(
        '--threads', type=positive_int, help='CPU threads (default: as PyTorch chooses)'
    )
    parser.add_argument('--no-memory', action='store_true', help='do not measure peak memory')
    parser.add_argument('--out', type=Path, help='folder for JSON, CSV, Markdown and pictures')
    return parser.parse_args()


def chosen_device(wanted: str) -> str:
    """'cpu' or 'cuda', where ``wanted`` may be 'auto'."""
    if wanted == 'cuda' and not torch.cuda.is_available():
        raise ArgumentError('--device cuda: PyTorch sees no GPU here; use --device cpu')
    if wanted == 'auto':
        return 'cuda' if torch.cuda.is_available() else 'cpu'
    return wanted


def workloads(args: argparse.Namespace, device: str) -> list[Workload]:
    """Every combination of the sizes, batches, dtypes and modes asked for."""
    return [
        Workload(height, width, batch, dtype, mode, device)
        for (height, width), batch, dtype, mode in itertools.product(
            args.size, args.batch, args.dtype, args.mode
        )
    ]


def say(text: str) -> None:
    print(text, flush=True)


def main() -> None:
    args = parse_args()
    device = chosen_device(args.device)
    if args.out is not None:
        check_folder(args.out, '--out')
    if args.threads is not None:
        torch.set_num_threads(args.threads)
    changes = dict(compiled=args.compile, fused=args.fuse, channels_last=args.channels_last)
    subjects, refused = read_subjects(
        args.subjects, args.part, frozenset(name for name, wanted in changes.items() if wanted)
    )
    for reason in refused:
        print(f'error: {reason}', file=sys.stderr)
    if not subjects:
        raise ArgumentError('there is no subject left to time')
    facts = machine(device)
    say(', '.join(f'{key} {value}' for key, value in facts.items() if key != 'command'))
    accuracies = {subject.name: published_accuracy(subject) for subject in subjects}
    measurements: list[Measurement] = []
    files: list[Path] = []
    todo = workloads(args, device)
    for i, workload in enumerate(todo, 1):
        say(f'\n[{i}/{len(todo)}] {workload}')
        found = measure(subjects, workload, rounds=args.rounds, memory=not args.no_memory, say=say)
        measurements += found
        say(f'\n{table(found)}')
        if args.out is not None:  # after each workload: a run that ends early keeps what it has
            with writing(args.out):
                files = write_results(measurements, accuracies, facts, args.out)
    if files:
        say('\nwritten: ' + ', '.join(map(str, files)))
    if not measurements:
        raise ArgumentError('no subject could be timed')


if __name__ == '__main__':
    exit_on_user_error(main)
