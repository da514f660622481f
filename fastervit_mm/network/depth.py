"""How deep a parameter of the backbone lies: layer-wise learning-rate decay goes by it."""

from __future__ import annotations

import re
from collections.abc import Sequence

_IN_LEVEL = re.compile(r'levels\.(\d+)\.(?:blocks\.(\d+)|(global_tokenizer)|(downsample))')


def parameter_depth(name: str, depths: Sequence[int]) -> int:
    """Depth of a backbone's parameter: 0 the stem, then one for each block.

    The initialiser of a stage's carrier tokens counts with the stage's first block, the
    downsampling with the first block after it; whatever is no part of the trunk (norms of emitted
    maps, necks, heads) comes after the last block.

    Args:
        name: without the prefix 'backbone.'.
        depths: blocks of each stage.
    """
    if name.startswith('patch_embed.'):
        return 0
    match = _IN_LEVEL.match(name)
    if match is None:
        return sum(depths) + 1
    stage, block, _, downsample = match.groups()
    before = sum(depths[: int(stage)])
    if downsample:
        return before + depths[int(stage)] + 1
    return before + int(block or 0) + 1
