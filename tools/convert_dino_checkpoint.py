"""Convert the authors' released DINO detector to a checkpoint of ours.

    python tools/convert_dino_checkpoint.py RELEASED OUT

RELEASED is DINO_4scale_faster_vit_4_21k_224_ms_coco.pth or a file like it. OUT loads strictly into
configs/detection/dino_4scale_fastervit_4_21k_224_12e_released.py.
"""

import argparse
from pathlib import Path

import torch

from fastervit_mm.config.host import build_model
from fastervit_mm.config.reading import read_config
from fastervit_mm.errors import FileError, exit_on_user_error, writing
from fastervit_mm.weights.download import LICENCE_NOTE
from fastervit_mm.weights.released_dino import check_complete, convert_detector

CONFIG = Path(__file__).resolve().parent.parent / (
    'configs/detection/dino_4scale_fastervit_4_21k_224_12e_released.py'
)


def released_network() -> dict[str, torch.Tensor]:
    """Names and shapes of the network that the released config builds."""
    cfg = read_config(CONFIG)
    return build_model(cfg, 'meta').state_dict()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('released', type=Path, help="the authors' file")
    parser.add_argument('out', type=Path, help='file to write')
    args = parser.parse_args()
    if not args.out.parent.is_dir():
        raise FileError(f'{args.out.parent} is not a folder; make it first')
    converted, skipped = convert_detector(args.released)
    check_complete(converted, released_network())
    with writing(args.out), open(args.out, 'wb') as file:
        torch.save(dict(state_dict=converted, meta=dict(source=args.released.name)), file)
    print(f'{args.out}: {len(converted)} entries')
    print(f'note: {LICENCE_NOTE}')
    for reason, names in skipped.items():
        print(f'left out {len(names)} entries: {reason}')


if __name__ == '__main__':
    exit_on_user_error(main)
