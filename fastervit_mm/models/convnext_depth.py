"""ConvNeXt's own two ways to group its parameters by depth, for the decay of learning rates.

Source: the ConvNeXt paper (arXiv 2201.03545, appendix A) and mmdet's constructor for it, which the
tests compare with.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

# of timm's feature networks: stem_0, stages_2.blocks.7, stages_2.downsample
_PART = re.compile(r'(?:(stem)_\d|stages_(\d)\.(?:blocks\.(\d+)|(downsample)))')
BLOCKS_IN_A_GROUP = 3  # of stage 2


def _part(name: str) -> tuple[int | None, int | None]:
    """Stage and block of a parameter: stage -1 the stem, block None a downsampling, or (None, None)."""
    match = _PART.match(name)
    if match is None:
        return None, None
    stem, stage, block, _ = match.groups()
    return (-1, None) if stem else (int(stage), None if block is None else int(block))


def layer_depth(name: str, depths: Sequence[int]) -> tuple[int, int]:
    """Depth by layers, and how many depths there are: three blocks of stage 2 count as one layer.

    Args:
        name: of a parameter of timm's feature network.
        depths: blocks of the four stages.
    """
    last = 3 + -(-depths[2] // BLOCKS_IN_A_GROUP)  # the layer of stage 3
    stage, block = _part(name)
    if stage is None:
        return last + 1, last + 2
    if stage == 3:
        return last, last + 2
    if block is None:  # the stem, and the downsampling before stages 1 and 2
        return {-1: 0, 0: 1, 1: 2, 2: 3}[stage], last + 2
    return {0: 1, 1: 2, 2: 3 + block // BLOCKS_IN_A_GROUP}[stage], last + 2


def stage_depth(name: str, depths: Sequence[int]) -> tuple[int, int]:
    """Depth by stages, and how many depths there are: as many as by layers.

    All downsampling counts with the stem, and the heads lie well above the last stage: so it is in
    the published recipes.

    Args:
        name: as in `layer_depth`.
        depths: as in `layer_depth`.
    """
    _, count = layer_depth(name, depths)
    stage, block = _part(name)
    if stage is None:
        return count - 1, count
    return (0 if block is None else stage + 1), count
