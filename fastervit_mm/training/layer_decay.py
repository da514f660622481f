"""Layer-wise learning-rate decay: the deeper a parameter, the closer its rate to the base rate."""

from __future__ import annotations

from typing import Any

from mmengine.optim import DefaultOptimWrapperConstructor
from torch import nn

from ..errors import ArgumentError
from ..registry import OPTIM_WRAPPER_CONSTRUCTORS

# decay type -> the backbone's method that tells (depth, number of depths) of a parameter
METHODS = {'layer_wise': 'get_layer_depth', 'stage_wise': 'get_stage_depth'}


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class LayerDecayOptimWrapperConstructor(DefaultOptimWrapperConstructor):
    """mmengine's constructor, with rates that fall by a factor from layer to layer downwards.

    The backbone tells depths itself, by ``get_layer_depth(param_name, prefix='')`` -> (depth,
    number of depths), as mmpretrain's backbones do; what lies outside of it has the base rate.

    It takes the arguments of `mmengine.optim.DefaultOptimWrapperConstructor`; ``paramwise_cfg``
    holds beside the usual keys (norm_decay_mult, custom_keys ...):

    * ``layer_decay_rate``: the factor, 0 .. 1.
    * ``layer_decay_type``: 'layer_wise', or 'stage_wise' for backbones that have a
      ``get_stage_depth`` of the same form. Default 'layer_wise'.

    Raises:
        ValueError: no such rate or type, or the model's ``backbone`` does not tell depths.
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
        if rate is None or not 0 < rate <= 1:
            raise ArgumentError(f'paramwise_cfg.layer_decay_rate is {rate}; it must lie in 0 .. 1')
        backbone: Any = getattr(model, 'backbone', model)
        prefix = '' if backbone is model else 'backbone.'
        depth_of = self._method(backbone)
        names = {id(p): name for name, p in model.named_parameters()}
        merged: dict[tuple, dict] = {}
        for group in params:
            for parameter in group['params']:
                name = names[id(parameter)]
                below = 0
                if name.startswith(prefix):
                    depth, depths = depth_of(name, prefix)
                    below = depths - 1 - depth
                settings = {k: v for k, v in group.items() if k != 'params'}
                settings['lr'] = settings.get('lr', self.base_lr) * rate**below
                key = tuple(sorted(settings.items()))
                merged.setdefault(key, dict(settings, params=[]))['params'].append(parameter)
        return list(merged.values())

    def _method(self, backbone: Any) -> Any:
        """The method of ``backbone`` that tells depths."""
        kind = self.paramwise_cfg.get('layer_decay_type', 'layer_wise')
        if kind not in METHODS:
            raise ArgumentError(
                f'paramwise_cfg.layer_decay_type is {kind!r}; allowed: {", ".join(METHODS)}'
            )
        method = getattr(backbone, METHODS[kind], None)
        if method is None:
            raise ArgumentError(
                f'{kind} decay needs a backbone with a method {METHODS[kind]}(param_name, prefix), '
                f'such as fastervit_mm.FasterViT; this is a {type(backbone).__name__}'
            )
        return method
