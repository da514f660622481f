"""Starting from a checkpoint of another number of classes: all that fits, and what does not, said."""

from __future__ import annotations

import os
from pathlib import Path

import torch
from mmengine.config import Config

from ..weights.checkpoint import load_file, network_entries
from ..errors import ArgumentError
from ..config.run_config import build_model


def model_shapes(cfg: Config) -> dict[str, torch.Size]:
    """Names and shapes of the model that ``cfg`` describes."""
    # Swin computes on what it builds, so it cannot be built without memory
    device = 'cpu' if 'Swin' in str(cfg.model.backbone.type) else 'meta'
    with torch.device(device):
        model = build_model(cfg)
    return {name: value.shape for name, value in model.state_dict().items()}


def start_from(cfg: Config, checkpoint: str, work_dir: Path) -> list[str]:
    """Let ``cfg`` start from what fits of ``checkpoint``; lines that say what was left out.

    Raises:
        ArgumentError: its backbone does not fit, or it is no checkpoint.
    """
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
    folder = work_dir / 'data'
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / 'start.pth'
    whole = path.with_suffix(f'.{os.getpid()}')  # every process of a distributed run writes it
    torch.save(dict(state_dict=fitting), whole)
    whole.replace(path)
    cfg.load_from, cfg.resume = str(path), False
    cfg.model.backbone.init_cfg = None
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
