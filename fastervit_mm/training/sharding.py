"""Fully sharded training (FSDP) by mmengine's FlexibleRunner, with FasterViT's blocks as units."""

from __future__ import annotations

from typing import Any

import torch
from mmengine._strategy.fsdp import FSDPStrategy
from mmengine.optim import BaseOptimWrapper
from torch import nn
from torch.distributed.fsdp import FullyShardedDataParallel

from ..network.convolution import ConvBlock
from ..network.hierarchical_attention import WindowBlock
from ..registry import STRATEGIES
from .processes import has_accelerator

# mmengine's 'full' also copies weights to the CPU and frees the originals, which there are the same: a crash
WHOLE = dict(
    state_dict_type='FULL_STATE_DICT',
    state_dict_config=dict(type='FullStateDictConfig', offload_to_cpu=False),
    optim_state_dict_config=dict(type='FullOptimStateDictConfig', offload_to_cpu=False),
)


def wrap_blocks(module: nn.Module, recurse: bool, nonwrapped_numel: int) -> bool:
    """Whether to wrap ``module`` alone: each block of FasterViT is a unit, the rest is one more.

    Args:
        module: of a model.
        recurse: the question is whether to look inside it.
        nonwrapped_numel: parameters of it that no unit has yet; not asked for.
    """
    return recurse or isinstance(module, (ConvBlock, WindowBlock))


@STRATEGIES.register_module()
class BlockFSDPStrategy(FSDPStrategy):
    """mmengine's ``FSDPStrategy``, in which FasterViT's blocks are units and gradients are clipped right.

    mmengine clips by the norm of a process's own share of the gradients; here it is that of all of them.
    Checkpoints are those of an ordinary run: one file, which any tool reads.

    Args:
        model_wrapper: more arguments of ``MMFullyShardedDataParallel``. Default None.
        state_dict_cfg: as in ``FSDPStrategy``. Default 'full'.
        **kwargs: others of ``FSDPStrategy``.
    """

    def __init__(
        self,
        *,
        model_wrapper: dict[str, Any] | None = None,
        state_dict_cfg: str | dict[str, Any] = 'full',
        **kwargs: Any,
    ) -> None:
        units = dict(
            type='MMFullyShardedDataParallel', use_orig_params=True, auto_wrap_policy=wrap_blocks
        )
        if not has_accelerator():
            units['device_id'] = 'cpu'
            state_dict_cfg = WHOLE if state_dict_cfg == 'full' else state_dict_cfg
        super().__init__(
            model_wrapper={**units, **(model_wrapper or {})},
            state_dict_cfg=state_dict_cfg,
            **kwargs,
        )

    def build_optim_wrapper(self, *args: Any, **kwargs: Any) -> BaseOptimWrapper:
        """The optimiser, which asks the sharded model to clip."""
        wrapper = super().build_optim_wrapper(*args, **kwargs)
        if getattr(wrapper, 'clip_func', None) is torch.nn.utils.clip_grad_norm_:
            wrapper.clip_func = self._clip
        return wrapper

    def load_optim_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Resume the optimiser; mmengine gives PyTorch's function its arguments in an older order."""
        share = FullyShardedDataParallel.optim_state_dict_to_load(
            model=self.model, optim=self.optim_wrapper.optimizer, optim_state_dict=state_dict
        )
        self.optim_wrapper.load_state_dict(share)

    def _clip(self, parameters: Any, max_norm: float, norm_type: float = 2.0) -> torch.Tensor:
        """Clip the gradients of the whole model, in every process; their norm before.

        Args:
            parameters: of this process; the model knows its own.
            max_norm: allowed.
            norm_type: of the norm. Default 2.
        """
        return self.model.clip_grad_norm_(max_norm, norm_type)
