"""Layer-wise learning-rate decay: the deeper a parameter, the closer its rate to the base rate."""

from __future__ import annotations

import re
from collections.abc import Sequence

from mmengine.optim import DefaultOptimWrapperConstructor
from torch import nn

from ..errors import ArgumentError
from ..network.backbone import FasterViT
from ..registry import OPTIM_WRAPPER_CONSTRUCTORS

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


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class LayerDecayOptimWrapperConstructor(DefaultOptimWrapperConstructor):
    """mmengine's constructor, with rates that fall by a factor from block to block downwards.

    It takes the arguments of `mmengine.optim.DefaultOptimWrapperConstructor`; ``paramwise_cfg``
    holds ``layer_decay_rate`` (0 .. 1) beside the usual keys (norm_decay_mult, custom_keys ...).

    Raises:
        ValueError: no such rate, or the model's ``backbone`` is not a FasterViT.
    """

    def add_params(
        self,
        params: list[dict],
        module: nn.Module,
        prefix: str = '',
        is_dcn_module: int | float | None = None,
    ) -> None:
        """As mmengine's, which calls itself for each submodule; the whole model has no prefix."""
        super().add_params(params, module, prefix=prefix, is_dcn_module=is_dcn_module)
        if prefix == '':
            params[:] = self._with_decay(params, module)

    def _with_decay(self, params: list[dict], model: nn.Module) -> list[dict]:
        rate = self.paramwise_cfg.get('layer_decay_rate')
        backbone = getattr(model, 'backbone', model)
        if rate is None or not 0 < rate <= 1:
            raise ArgumentError(f'paramwise_cfg.layer_decay_rate is {rate}; it must lie in 0 .. 1')
        if not isinstance(backbone, FasterViT):
            raise ArgumentError(
                'layer-wise decay needs a fastervit_mm.FasterViT as backbone, '
                f'this is a {type(backbone).__name__}'
            )
        depths = backbone.variant.depths[: len(backbone.levels)]
        names = {id(p): name.removeprefix('backbone.') for name, p in model.named_parameters()}
        merged: dict[tuple, dict] = {}
        for group in params:
            for parameter in group['params']:
                below = sum(depths) + 1 - parameter_depth(names[id(parameter)], depths)
                settings = {k: v for k, v in group.items() if k != 'params'}
                settings['lr'] = settings.get('lr', self.base_lr) * rate**below
                key = tuple(sorted(settings.items()))
                merged.setdefault(key, dict(settings, params=[]))['params'].append(parameter)
        return list(merged.values())
