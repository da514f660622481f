"""Parameters and arithmetic of every config: the measured columns of the README's model zoo.

    python tools/zoo.py [CONFIG ...] [--out zoo.json]

Multiply-adds of one image, 800×1280 px for detectors (1000 proposals, 100 masks in two-stage ones)
and 512×2048 px for segmentors, counted by PyTorch's FlopCounterMode: convolutions, matrix products
and attention; not the sampling inside deformable attention and RoIAlign.
"""

import argparse
import json
from pathlib import Path

import torch
from mmengine.config import Config
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from fastervit_mm.config.run_config import build_model

ROOT = Path(__file__).resolve().parent.parent
SIZES = {'mmdet': (800, 1280), 'mmseg': (512, 2048)}
PROPOSALS, MASKS = 1000, 100


def run_two_stage(model: nn.Module, image: torch.Tensor) -> None:
    """Every part once, on as many regions as it sees in a test; no operator of mmcv is needed."""
    model.rpn_head(model.extract_feat(image))
    head = model.roi_head
    channels = head.bbox_roi_extractor[0].out_channels
    for stage in head.bbox_head:
        stage(image.new_empty(PROPOSALS, channels, 7, 7))
    for stage in head.mask_head:  # test-time masks are the mean of all stages'
        stage(image.new_empty(MASKS, channels, 14, 14))


def run_dino(model: nn.Module, image: torch.Tensor) -> None:
    from mmdet.structures import DetDataSample

    size = tuple(image.shape[-2:])
    sample = DetDataSample(metainfo=dict(img_shape=size, batch_input_shape=size))
    inputs = model.forward_transformer(model.extract_feat(image), [sample])
    model.bbox_head(inputs['hidden_states'], inputs['references'])


def measure(path: Path) -> dict[str, float]:
    """Parameters (M) and multiply-adds (G) of the config at ``path``."""
    cfg = Config.fromfile(path)
    # deformable attention and Swin compute on what they build, so they need real memory
    real = 'DINO' in cfg.model.type or 'Swin' in cfg.model.backbone.type
    device = torch.device('cpu' if real else 'meta')
    with device, torch.no_grad():
        model = build_model(cfg).eval()
        image = torch.zeros(1, 3, *SIZES[cfg.default_scope], device=device)
        with FlopCounterMode(display=False) as counter:
            if cfg.default_scope == 'mmseg':
                model.decode_head(model.extract_feat(image))
            elif hasattr(model, 'roi_head'):
                run_two_stage(model, image)
            else:
                run_dino(model, image)
    return dict(
        params_m=round(sum(p.numel() for p in model.parameters()) / 1e6, 1),
        gmacs=round(counter.get_total_flops() / 2e9, 1),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('configs', nargs='*', type=Path, help='default: all')
    parser.add_argument('--out', type=Path, help='also write the figures to this JSON file')
    args = parser.parse_args()
    paths = args.configs or sorted(
        p for p in (ROOT / 'configs').rglob('*.py') if '_base_' not in p.parts
    )
    figures = {}
    for i, path in enumerate(paths, 1):
        figures[path.stem] = measure(path)
        row = figures[path.stem]
        print(
            f'[{i}/{len(paths)}] {path.stem:<50}{row["params_m"]:>8} M{row["gmacs"]:>9} GMACs',
            flush=True,
        )
    if args.out is not None:
        args.out.write_text(json.dumps(figures, indent=1) + '\n')


if __name__ == '__main__':
    main()
