"""Top-1 and top-5 of a classifier on ImageNet-1K, -A, -R and -V2, by timm's data pipeline.

Every folder of images is named after its class: by WordNet id ('n01440764'), as ImageNet, -A and -R
are, or by the class's number, as -V2 is. Classes count in ImageNet-1K's order; on -A and -R only
their 200 classes compete (https://arxiv.org/abs/1907.07174, https://arxiv.org/abs/2006.16241).
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

import torch
from timm.data import ImageDataset, create_loader, resolve_data_config
from torch import Tensor, nn

from ..errors import ArgumentError, FileError

SYNSETS = 'imagenet_synsets.txt'  # of timm: the 1000 classes in their order
SUBSETS = {'1k': None, 'a': 'imagenet_a_synsets.txt', 'r': 'imagenet_r_synsets.txt', 'v2': None}
SPLITS = ('val', 'validation')  # a folder of this name in the data is taken
COLUMNS = (
    *('model', 'top1', 'top1_err', 'top5', 'top5_err'),
    *('param_count', 'img_size', 'crop_pct', 'interpolation'),
)

Progress = Callable[[Iterable], Iterable]


class Accuracy(NamedTuple):
    """What an evaluation counted.

    Attributes:
        images: how many there were.
        top1: right ones, in percent.
        top5: those whose class is among the first five, in percent.
    """

    images: int
    top1: float
    top5: float


def read_synsets(name: str) -> list[str]:
    """WordNet ids of a list that timm brings."""
    return (files('timm.data') / '_info' / name).read_text().split()


def competing_classes(variant: str) -> list[int] | None:
    """Numbers of the classes of a variant of ImageNet among the 1000; None: all.

    Args:
        variant: a key of `SUBSETS`.
    """
    name = SUBSETS[variant]
    if name is None:
        return None
    number = {synset: i for i, synset in enumerate(read_synsets(SYNSETS))}
    return sorted(number[synset] for synset in read_synsets(name))


def class_numbers(folder: Path) -> dict[str, int]:
    """The class of each folder of images in ``folder``, by its name.

    Raises:
        FileError: no folder is named after a class.
    """
    known = {synset: i for i, synset in enumerate(read_synsets(SYNSETS))}
    names = sorted(path.name for path in folder.iterdir() if path.is_dir())
    found = {name: known[name] for name in names if name in known}
    found |= {n: int(n) for n in names if n.isdecimal() and int(n) < len(known)}
    if not found:
        raise FileError(
            f'{folder} holds no folder that is named after a class of ImageNet (n01440764, … or 0 to 999; '
            f'there are {", ".join(names[:3]) or "none"}); give the folder of those folders'
        )
    return found


def image_folder(data: Path) -> Path:
    """The folder of the classes' folders: ``data``, or its validation split.

    Raises:
        FileError: no such folder.
    """
    if not data.is_dir():
        raise FileError(
            f'{data} is not a folder; give that of ImageNet, or of its validation images'
        )
    return next((data / name for name in SPLITS if (data / name).is_dir()), data)


def image_loader(
    model: nn.Module,
    data: Path,
    *,
    batch_size: int = 64,
    workers: int = 4,
    img_size: int | None = None,
    crop_pct: float | None = None,
) -> tuple[Any, dict[str, Any]]:
    """Batches of images (B, 3, H, W) and classes (B,), as timm evaluates, and the settings of that.

    Args:
        model: of timm, whose ``pretrained_cfg`` says size, crop, interpolation, mean and std.
        data: of `image_folder`.
        batch_size: images.
        workers: processes that load.
        img_size: side, px. Default None: the model's.
        crop_pct: share of the image. Default None: the model's.

    Raises:
        FileError: no classes, or no images.
    """
    numbers = class_numbers(data)
    stated = dict(input_size=img_size and (3, img_size, img_size), crop_pct=crop_pct)
    settings = resolve_data_config(
        {key: value for key, value in stated.items() if value is not None}, model=model
    )
    try:
        dataset = ImageDataset(str(data), class_map=numbers)
    except RuntimeError as error:  # timm's: none is found
        raise FileError(f'{data}: {error}; its folders must hold images') from None
    loader = create_loader(
        dataset,
        input_size=settings['input_size'],
        batch_size=batch_size,
        is_training=False,
        use_prefetcher=False,
        interpolation=settings['interpolation'],
        mean=settings['mean'],
        std=settings['std'],
        crop_pct=settings['crop_pct'],
        crop_mode=settings['crop_mode'],
        num_workers=workers,
        persistent_workers=False,
    )
    return loader, settings


@torch.inference_mode()
def measure(
    model: nn.Module,
    loader: Iterable[tuple[Tensor, Tensor]],
    *,
    competing: list[int] | None = None,
    device: str = 'cpu',
    dtype: torch.dtype | None = None,
    progress: Progress = iter,
) -> Accuracy:
    """Accuracy of a classifier.

    Args:
        model: (B, 3, H, W) -> (B, 1000) logits, in evaluation mode.
        loader: of `image_loader`.
        competing: classes that compete, of `competing_classes`. Default None: all.
        device: where it runs. Default 'cpu'.
        dtype: of mixed precision. Default None: none.
        progress: wraps the loop, such as tqdm.
    """
    kind = torch.device(device).type
    images, right = 0, torch.zeros(2)
    for batch, labels in progress(loader):
        with torch.autocast(kind, dtype=dtype, enabled=dtype is not None):
            logits = model(batch.to(device))
        ranks = _ranks(logits.float().cpu(), labels, competing)
        images += len(labels)
        right += torch.stack([(ranks < k).sum() for k in (1, 5)])
    return Accuracy(images, *(100 * right / max(images, 1)).tolist())


def _ranks(logits: Tensor, labels: Tensor, competing: list[int] | None) -> Tensor:
    """(B,) how many competing classes score higher than the right one.

    Raises:
        ArgumentError: an image's class does not compete.
    """
    if competing is not None:
        place = torch.full((logits.shape[1],), -1)
        place[competing] = torch.arange(len(competing))
        logits, labels = logits[:, competing], place[labels]
        if (labels < 0).any():
            raise ArgumentError(
                f'some images are of classes that are not among the {len(competing)} of this variant of '
                'ImageNet; leave out --variant, or give its own folder'
            )
    return (logits > logits.gather(1, labels[:, None])).sum(1)


def result_row(
    name: str, model: nn.Module, settings: dict[str, Any], accuracy: Accuracy
) -> dict[str, Any]:
    """A row in the columns of timm's own tables of results (`COLUMNS`)."""
    top1, top5 = round(accuracy.top1, 3), round(accuracy.top5, 3)
    values = (
        name,
        *(top1, round(100 - top1, 3), top5, round(100 - top5, 3)),
        round(sum(p.numel() for p in model.parameters()) / 1e6, 2),
        settings['input_size'][-1],
        settings['crop_pct'],
        settings['interpolation'],
    )
    return dict(zip(COLUMNS, values, strict=True))


def add_row(path: Path, row: dict[str, Any]) -> None:
    """Add a row to a table, which is begun where it is not there."""
    begun = path.is_file() and path.stat().st_size > 0
    with open(path, 'a', newline='') as file:
        writer = csv.DictWriter(file, COLUMNS)
        if not begun:
            writer.writeheader()
        writer.writerow(row)
