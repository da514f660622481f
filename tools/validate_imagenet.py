"""Top-1 and top-5 of a published network on ImageNet, ImageNet-A, -R or -V2.

    python tools/validate_imagenet.py DATA --model fastervit_2 [--checkpoint F] [--variant 1k|a|r|v2]

DATA holds a folder for each class (or a folder val of them). Prints a row in the columns of timm's own
tables, and adds it to --out. A network fine-tuned with other windows needs them again:
--model-kwargs window_size=[7,7,12,12] (docs/imagenet.md).
"""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import timm
import torch
from timm.utils import ParseKwargs
from tqdm import tqdm

import fastervit_mm.timm_models  # noqa: F401  (timm finds our networks)
from fastervit_mm.classification.imagenet import (
    SUBSETS,
    add_row,
    competing_classes,
    image_folder,
    image_loader,
    measure,
    result_row,
)
from fastervit_mm.classification.published import CROP_PCT_OF_RELATIVES, PUBLISHED
from fastervit_mm.config.argument_types import key_value, positive_int
from fastervit_mm.config.reading import add_trust_option, check_checkpoint
from fastervit_mm.errors import ArgumentError, exit_on_user_error
from fastervit_mm.weights.entrances import guarded_loading

DTYPES = {'fp32': None, 'bf16': torch.bfloat16, 'fp16': torch.float16}


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('data', type=Path, help='folder of images by class')
    parser.add_argument('--model', required=True, help='such as fastervit_2; others of timm too')
    parser.add_argument('--checkpoint', help='file or URL (default: the published weights)')
    parser.add_argument(
        '--model-kwargs',
        nargs='*',
        type=key_value,
        default={},
        action=ParseKwargs,
        help="KEY=VALUE, as timm's tools",
    )
    parser.add_argument('--variant', choices=SUBSETS, default='1k', help='of ImageNet')
    parser.add_argument('--img-size', type=positive_int, help="side, px (default: the model's)")
    parser.add_argument('--crop-pct', type=float, help="share of the image (default: the model's)")
    parser.add_argument('--batch-size', type=positive_int, default=64, help='images')
    parser.add_argument('--workers', type=int, default=4, help='processes that load images')
    parser.add_argument('--device', default='cuda' if torch.cuda.is_available() else 'cpu')
    parser.add_argument('--dtype', choices=DTYPES, default='fp32', help='mixed precision')
    parser.add_argument('--out', type=Path, help='CSV file that the row is added to')
    add_trust_option(parser)
    return parser.parse_args()


def published_line(name: str, variant: str, settings: Mapping[str, Any]) -> str:
    """The published accuracy, and the size and crop that it was measured with.

    Args:
        name: of `PUBLISHED`.
        variant: of ImageNet.
        settings: timm's of the network's weights.
    """
    top1 = PUBLISHED[name].top1.get(variant)
    if top1 is None:
        return 'published top-1: none on these images'
    crop = settings['crop_pct'] if variant == '1k' else CROP_PCT_OF_RELATIVES
    return f'published top-1, {settings["input_size"][-1]} px, crop {crop}: {top1}'


def main() -> None:
    args = parse_args()
    folder = image_folder(args.data)
    if args.model not in timm.list_models(args.model):
        raise ArgumentError(
            f'--model is {args.model!r}; ours are {", ".join(timm.list_models("fastervit_*"))}'
        )
    overlay = {} if args.checkpoint is None else dict(file=check_checkpoint(args.checkpoint))
    with guarded_loading(trust=args.trust_checkpoint):
        model = timm.create_model(
            args.model, pretrained=True, pretrained_cfg_overlay=overlay, **args.model_kwargs
        )
    model.eval().to(args.device)
    loader, settings = image_loader(
        model,
        folder,
        batch_size=args.batch_size,
        workers=args.workers,
        img_size=args.img_size,
        crop_pct=args.crop_pct,
    )
    accuracy = measure(
        model,
        loader,
        competing=competing_classes(args.variant),
        device=args.device,
        dtype=DTYPES[args.dtype],
        progress=lambda batches: tqdm(batches, desc=args.model, unit='batches'),
    )
    row = result_row(args.model, model, settings, accuracy)
    print(', '.join(f'{key} {value}' for key, value in row.items()))
    print(f'{accuracy.images} images of ImageNet-{args.variant.upper()} in {folder}')
    if args.checkpoint is None and args.model in PUBLISHED:
        print(published_line(args.model, args.variant, model.pretrained_cfg))
    if args.out is not None:
        add_row(args.out, row)


if __name__ == '__main__':
    exit_on_user_error(main)
