"""Starting from a checkpoint of another number of classes: all that fits, and what does not, said."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import torch
from mmengine.config import Config

from ..config.host import build_skeleton
from ..errors import ArgumentError
from ..weights.download import fetch
from ..weights.published import network_entries
from ..weights.safe_loading import load_file
from .processes import in_main_process


def model_shapes(cfg: Config) -> dict[str, torch.Size]:
    """Names and shapes of the model that ``cfg`` describes."""
    return {name: value.shape for name, value in build_skeleton(cfg).state_dict().items()}


def start_from(cfg: Config, checkpoint: str, work_dir: Path) -> list[str]:
    """Let ``cfg`` start from what fits of ``checkpoint``; lines that say what was left out.

    Args:
        cfg: changed in place.
        checkpoint: path or URL, of the same backbone; the rest may have other shapes.
        work_dir: gets ``data/start.pth``, what fits, written once on each disk.

    Raises:
        ArgumentError: its backbone does not fit.
        FileError: it is no checkpoint.
    """
    path = start_file(work_dir)
    file = str(fetch(checkpoint))  # by all processes, which wait for each other there
    lines = in_main_process(partial(_write_start, cfg, file, path), work_dir)
    note_start(cfg, path)
    return lines


def start_file(work_dir: Path) -> Path:
    """Where `start_from` writes what fits."""
    return (work_dir / 'data' / 'start.pth').resolve()


def note_start(cfg: Config, path: Path) -> None:
    """Let ``cfg`` say that the run started from the weights in ``path``, and no others."""
    cfg.load_from, cfg.resume = str(path), False
    cfg.model.backbone.init_cfg = None


def _write_start(cfg: Config, checkpoint: str, path: Path) -> list[str]:
    """Write what fits of ``checkpoint`` to ``path``; lines that say what was left out."""
    entries = network_entries(load_file(checkpoint), prefix='')
    shapes = model_shapes(cfg)
    fitting = {n: v for n, v in entries.items() if n in shapes and shapes[n] == v.shape}
    reshaped = [n for n in entries if n in shapes and n not in fitting]
    unknown = [n for n in entries if n not in shapes]
    absent = [n for n in shapes if n not in entries]
    backbone = [n for n in shapes if n.startswith('backbone.') and n not in fitting]
    if backbone:
        raise ArgumentError(
            f"{checkpoint} does not fit the config's backbone: {len(backbone)} of "
            f'its entries are missing or of another shape, such as {backbone[0]}; '
            'use the config that the checkpoint was trained with'
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(dict(state_dict=fitting), path)
    lines = [f'{checkpoint}: {len(fitting)} of {len(shapes)} entries taken over']
    for what, names in (
        ('left out, of another shape (other classes)', reshaped),
        ('left out, not in this model', unknown),
        ('not in the file, start afresh', absent),
    ):
        if names:
            lines.append(
                f'{len(names)} {what}: {", ".join(names[:4])}' + (', …' if len(names) > 4 else '')
            )
    return lines
