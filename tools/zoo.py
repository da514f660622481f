"""The model zoo: measure a config's parameters and arithmetic, write its page.

    python tools/zoo.py [CONFIG ...] [--out zoo.json]
    python tools/zoo.py --page

Multiply-adds of one image, 800×1280 px for detectors (1000 proposals, 100 masks in two-stage ones)
and 512×2048 px for segmentors, counted by PyTorch's FlopCounterMode: convolutions, matrix products
and attention; not the sampling inside deformable attention and RoIAlign. ``--page`` measures nothing:
it writes docs/zoo.md from the metafiles, which hold those figures and the published ones, and from the
published results of the classifiers (fastervit_mm/classification/published.py).
"""

import argparse
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import timm
import torch
import yaml
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

import fastervit_mm.timm_models  # noqa: F401  (timm finds our networks)
from fastervit_mm.classification.published import CROP_PCT_OF_RELATIVES, PUBLISHED
from fastervit_mm.config.host import build_model
from fastervit_mm.config.reading import read_config
from fastervit_mm.config.settings import check_there
from fastervit_mm.errors import ArgumentError, exit_on_user_error, writing

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / 'docs' / 'zoo.md'
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
    """The transformer and its heads, on an image without padding."""
    from mmdet.structures import DetDataSample

    size = tuple(image.shape[-2:])
    sample = DetDataSample(metainfo=dict(img_shape=size, batch_input_shape=size))
    inputs = model.forward_transformer(model.extract_feat(image), [sample])
    model.bbox_head(inputs['hidden_states'], inputs['references'])


def run_queries(model: nn.Module, image: torch.Tensor) -> None:
    """Mask2Former's head, mmdet's or mmseg's; it wants samples, and reads nothing of them."""
    head = model.panoptic_head if hasattr(model, 'panoptic_head') else model.decode_head
    head(model.extract_feat(image), [])


def run_segmentor(model: nn.Module, image: torch.Tensor) -> None:
    """The head that predicts; the auxiliary one is for training."""
    model.decode_head(model.extract_feat(image))


class Family(NamedTuple):
    """How a kind of model is measured: image size (height, width), px, and what is run."""

    size: tuple[int, int]
    run: Callable[[nn.Module, torch.Tensor], None]


# by the type of the model, or of a segmentor's head
FAMILIES = {
    'CascadeRCNN': Family((800, 1280), run_two_stage),
    'fastervit_mm.DINO': Family((800, 1280), run_dino),
    'Mask2Former': Family((800, 1280), run_queries),
    'Mask2FormerHead': Family((512, 2048), run_queries),
    'EncoderDecoder': Family((512, 2048), run_segmentor),
}


def measure(path: Path) -> dict[str, float]:
    """Parameters (M) and multiply-adds (G) of the config at ``path``."""
    cfg = read_config(path)
    check_there(cfg, ('model',))
    head = cfg.model.get('decode_head', {}).get('type')
    kind = head if head in FAMILIES else cfg.model.type
    if kind not in FAMILIES:
        raise ArgumentError(
            f'{path}: models of type {kind} are not measured; allowed: {", ".join(FAMILIES)}'
        )
    family = FAMILIES[kind]
    # deformable attention and Swin compute on what they build, so they need real memory
    real = family.run in (run_dino, run_queries) or 'Swin' in cfg.model.backbone.type
    device = 'cpu' if real else 'meta'
    model = build_model(cfg, device, init=False).eval()
    with torch.no_grad(), torch.device(device), FlopCounterMode(display=False) as counter:
        family.run(model, torch.zeros(1, 3, *family.size))
    return dict(
        params_m=round(sum(p.numel() for p in model.parameters()) / 1e6, 1),
        gmacs=round(counter.get_total_flops() / 2e9, 1),
    )


def all_configs() -> list[Path]:
    """Every config of the project that is no base of others alone."""
    return sorted(p for p in (ROOT / 'configs').rglob('*.py') if '_base_' not in p.parts)


class Table(NamedTuple):
    """One table of the page: its heading, metafile, text, and columns (heading: where it stands)."""

    heading: str
    metafile: str
    text: str
    columns: dict[str, tuple[str, ...]]


MEASURED = {'params, M': ('Parameters (M)',), 'GMACs': ('GMACs',)}
NOTE = {'note': ('Note',)}
RESULTS, SPEED = 'Published Results', ('Published Throughput', 'images per second')
TABLES = (
    Table(
        'Cascade Mask R-CNN, COCO val2017, 3×',
        'configs/detection/cascade_metafile.yml',
        'Published: FasterViT paper (arXiv 2306.06189), table 2; throughput as published, on one A100. '
        'Multiply-adds at 800×1280 px, 1000 proposals, 100 masks. Peers stand in '
        '`configs/detection/peers/`, Swin and ConvNeXt in two forms: on exactly our heads, pipeline and '
        'schedule, for comparing networks, and by their own recipes (`_own`), which their published '
        'figures belong to; ResNeXt on our recipe alone: the published figures beside it are those of a '
        'recipe that is not known here.',
        {
            'published box AP': (RESULTS, 'box AP'),
            'published mask AP': (RESULTS, 'mask AP'),
            'published im/s': SPEED,
            **MEASURED,
            **NOTE,
        },
    ),
    Table(
        'DINO, COCO val2017',
        'configs/detection/dino_metafile.yml',
        'Published: the released detector. Multiply-adds at 800×1280 px, without the sampling inside '
        'deformable attention.',
        {'published box AP': (RESULTS, 'box AP'), **MEASURED, **NOTE},
    ),
    Table(
        'UperNet, ADE20K',
        'configs/segmentation/upernet_metafile.yml',
        'Published: as reported by a reader of the FasterViT paper; single scale and multi-scale. '
        'Multiply-adds at 512×2048 px, which is what the publication calls GFLOPs. Its figures for '
        'FasterViT-2, -3, -4 (974, 1076, 1290) do not fit these variants; 974 and 1290 are what '
        'FasterViT-1 and -3 have here, and all rows of Swin agree to 0.1 %. So it is open which variants the '
        'published mIoU belongs to. Peers as above.',
        {
            'published mIoU': (RESULTS, 'mIoU'),
            'multi-scale': (RESULTS, 'multi-scale mIoU'),
            'published im/s': SPEED,
            'published GFLOPs': ('Published GFLOPs',),
            **MEASURED,
            **NOTE,
        },
    ),
    Table(
        'Mask2Former, COCO panoptic',
        'configs/detection/mask2former_metafile.yml',
        'Nothing is published. Multiply-adds as of DINO.',
        {'published PQ': (RESULTS, 'PQ'), **MEASURED, **NOTE},
    ),
    Table(
        'Mask2Former, ADE20K',
        'configs/segmentation/mask2former_metafile.yml',
        'Nothing is published. Multiply-adds as of UperNet, without the sampling inside deformable '
        'attention.',
        {'published mIoU': (RESULTS, 'mIoU'), **MEASURED, **NOTE},
    ),
)


def cell(model: dict[str, Any], where: tuple[str, ...]) -> str:
    """The figure of a metafile's model at ``where`` in its metadata; empty where there is none."""
    value = model.get('Metadata', {})
    for key in where:
        value = value.get(key, {})
    return str(value) if value != {} else ''


def table_lines(table: Table) -> Iterator[str]:
    """A table in Markdown; models without any figure, such as the demos', are left out."""
    yield from (f'## {table.heading}', '', table.text, '')
    yield '| config | ' + ' | '.join(table.columns) + ' |'
    yield '| --- |' + ''.join(' --- |' if c in NOTE else ' ---: |' for c in table.columns)
    for model in yaml.safe_load((ROOT / table.metafile).read_text(encoding='utf-8'))['Models']:
        if 'Metadata' in model:
            cells = [cell(model, where) for where in table.columns.values()]
            yield f'| [`{model["Name"]}`](../{model["Config"]}) | ' + ' | '.join(cells) + ' |'
    yield ''


IMAGENET = (
    "Published: FasterViT paper (arXiv 2306.06189) and its authors' model zoo, top-1 alone; throughput as "
    'published, on one A100, batch 128. Networks with 21K in their names saw ImageNet-21K first. `DATA` is a '
    'folder of class folders; on -A and -R their 200 classes alone compete. The command downloads the '
    'published weights (`--checkpoint FILE` takes others) and prints top-1, top-5 and the published figure. '
    '[imagenet.md](imagenet.md): these networks in timm, fine-tuning to larger images.'
)


def imagenet_lines() -> Iterator[str]:
    """The table of the classifiers in Markdown: a row, with its command, for each published accuracy."""
    yield from ('## Classifiers, ImageNet', '', IMAGENET, '')
    yield '| network | images | px | crop | published top-1 | published im/s | command |'
    yield '| --- | --- | ---: | ---: | ---: | ---: | --- |'
    for name, published in PUBLISHED.items():
        cfg = timm.get_pretrained_cfg(name)
        for variant, top1 in published.top1.items():
            command = f'python tools/validate_imagenet.py DATA --model {name}'
            crop, speed = cfg.crop_pct, published.throughput or ''
            if variant != '1k':
                crop, speed = CROP_PCT_OF_RELATIVES, ''
                command += f' --variant {variant} --crop-pct {crop}'
            cells = f'`{name}` | ImageNet-{variant.upper()} | {cfg.input_size[-1]} | {crop}'
            yield f'| {cells} | {top1} | {speed} | `{command}` |'
    yield ''


def zoo_page() -> str:
    """The text of docs/zoo.md."""
    lines = [
        '# The zoo',
        '',
        'Written by `python tools/zoo.py --page` from the metafiles beside the configs and from '
        '`fastervit_mm/classification/published.py`. "Published" '
        "columns are **other people's** results, from the sources named; nothing of it was reproduced "
        'here yet. Parameters and multiply-adds are measured here (`python tools/zoo.py CONFIG`).',
        '',
    ]
    for table in TABLES:
        lines += table_lines(table)
    lines += imagenet_lines()
    return '\n'.join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('configs', nargs='*', type=Path, help='default: all')
    parser.add_argument('--out', type=Path, help='also write the figures to this JSON file')
    parser.add_argument('--page', action='store_true', help='write docs/zoo.md and stop')
    args = parser.parse_args()
    if args.page:
        PAGE.write_text(zoo_page(), encoding='utf-8')
        print(f'written: {PAGE}')
        return
    paths = args.configs or all_configs()
    figures = {}
    for i, path in enumerate(paths, 1):
        figures[path.stem] = row = measure(path)
        print(
            f'[{i}/{len(paths)}] {path.stem:<50}{row["params_m"]:>8} M{row["gmacs"]:>9} GMACs',
            flush=True,
        )
    if args.out is not None:
        with writing(args.out):
            args.out.write_text(json.dumps(figures, indent=1) + '\n')


if __name__ == '__main__':
    exit_on_user_error(main)
