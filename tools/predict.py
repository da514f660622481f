"""Predict on images, folders, videos or a camera, and draw the predictions.

python tools/predict.py INPUT ... --config C --weights W --out DIR [--score 0.3] [--batch 4]
"""

import argparse
from pathlib import Path

from fastervit_mm.config.argument_types import positive_int, share
from fastervit_mm.config.reading import add_trust_option
from fastervit_mm.errors import FileError, exit_on_user_error
from fastervit_mm.prediction import MAX_PIXELS, Predictor, expand, predict


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        'inputs',
        nargs='+',
        metavar='INPUT',
        help='image, folder, glob, video or number of a camera',
    )
    parser.add_argument('--config', required=True, help="the run's config, in its work dir")
    parser.add_argument('--weights', required=True, help='checkpoint')
    parser.add_argument('--out', required=True, type=Path, help='folder to write to')
    parser.add_argument('--score', type=share, default=0.3, help='objects below it are left out')
    parser.add_argument('--batch', type=positive_int, default=4, help='images at a time')
    parser.add_argument('--device', default='auto', help='auto, cpu, cuda:0 ...')
    parser.add_argument('--limit', type=positive_int, help='stop after so many images')
    parser.add_argument(
        '--max-pixels',
        type=positive_int,
        default=MAX_PIXELS,
        help=f'larger images are skipped: they would take all memory (default: {MAX_PIXELS})',
    )
    add_trust_option(parser)
    args = parser.parse_args()
    sources = expand(args.inputs)
    predictor = Predictor(args.config, args.weights, args.device, trust=args.trust_checkpoint)
    done, skipped = predict(
        predictor,
        sources,
        args.out,
        score=args.score,
        batch=args.batch,
        limit=args.limit,
        max_pixels=args.max_pixels,
    )
    for name, reason in skipped:
        print(f'skipped {name}: {reason}')
    print(f'{done} images done, {len(skipped)} skipped; pictures: {args.out / "pictures"}')
    if done == 0:
        reasons = list(dict.fromkeys(reason for _, reason in skipped))
        raise FileError(
            'none of the inputs could be predicted on: '
            + ', '.join(reasons[:1])
            + f' (and {len(reasons) - 1} more, above)' * (len(reasons) > 1)
        )


if __name__ == '__main__':
    exit_on_user_error(main)
