"""Make a small file of a run's checkpoint, to give to others: weights and class names alone.

    python tools/publish_checkpoint.py CHECKPOINT OUT

Leaves out optimiser, schedule, log and config, and writes safetensors, a format that cannot hold
code: OUT-HASH.safetensors, where HASH begins the file's SHA-256. Averaged weights (EMA) are the
checkpoint's own already. The file goes wherever a checkpoint does: test.py, predict.py, --from.
"""

import argparse
from pathlib import Path

from fastervit_mm.errors import FileError, exit_on_user_error
from fastervit_mm.weights.publishing import publish


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('checkpoint', help='of tools/train.py')
    parser.add_argument('out', type=Path, help='file to write; its hash and ending are added')
    args = parser.parse_args()
    if not args.out.parent.is_dir():
        raise FileError(f'{args.out.parent} is not a folder; make it first')
    path, classes = publish(args.checkpoint, args.out)
    named = f'{len(classes)} classes: {", ".join(classes[:10])}' + ' …' * (len(classes) > 10)
    print(f'{path}: {path.stat().st_size / 1e6:.1f} MB; {named if classes else "no class names"}')


if __name__ == '__main__':
    exit_on_user_error(main)
