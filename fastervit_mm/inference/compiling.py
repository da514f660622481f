"""`compile_backbones`: torch.compile for images of any size, in training too."""

from __future__ import annotations

from typing import Any

import torch
from mmengine.logging import print_log
from torch import nn

from ..network.backbone import backbones_in


def with_layouts_kept(options: dict[str, Any]) -> dict[str, Any]:
    """``options`` for torch.compile that train with any size of image on a CPU too.

    There inductor otherwise moves everything before a convolution to channels-last. In a graph
    of symbolic sizes it then fails at a permuted map that the backward pass needs
    ("cannot determine truth value of Relational"), or compiles anew for each size.

    Args:
        options: for `torch.compile` with the backend ``'inductor'``; ``dynamic`` is among them.

    Returns:
        The same with ``layout_optimization=False`` in ``options``, unless it is there, and with
        the settings of ``mode`` there too, in its place.

    Raises:
        RuntimeError: torch knows no such mode.
    """
    changes = {'layout_optimization': False}
    if options.get('mode'):  # a name for inductor's settings, which torch refuses beside others
        changes.update(torch._inductor.list_mode_options(options['mode'], options['dynamic']))
    changes.update(options.get('options') or {})
    return {**{k: v for k, v in options.items() if k != 'mode'}, 'options': changes}


def compile_backbones(model: nn.Module, **options: Any) -> nn.Module:
    """Compile every FasterViT backbone in ``model``, in place, once for images of any size.

    The first forward compiles, which takes minutes on a small CPU. One more compilation follows
    where a stage's map fits into a single window (images up to 112 or 224 px), and training and
    evaluation are compiled apart.

    Args:
        model: a backbone, or a detector or segmentor that holds one. Fuse it before, not after.
        options: for `torch.compile`, such as ``mode``; ``dynamic=True`` and ``fullgraph=True``
            unless given. With the default backend and sizes that vary, ``options`` holds
            ``layout_optimization=False`` unless given: without it no training on a CPU.

    Returns:
        ``model`` itself; its parameters and their names stay as they are.

    Raises:
        ValueError: there is no FasterViT in ``model``.
    """
    options = {'dynamic': True, 'fullgraph': True, **options}
    if options.get('backend', 'inductor') == 'inductor' and options['dynamic'] is not False:
        options = with_layouts_kept(options)
    for backbone in backbones_in(model):
        backbone.compile(**options)
    print_log('compiling the backbone at its first image: minutes on a CPU', logger='current')
    return model
