"""Any timm network as a backbone: the peers that the host libraries do not have, such as ConvNeXt.

mmseg has a wrapper of its own, the maintained mmdet has none; this one serves both.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import timm
import torch
from mmengine.logging import print_log
from mmengine.model import BaseModule
from timm.layers import LayerNorm2d
from torch import Tensor, nn

from ..errors import ArgumentError, FileError
from ..registry import MODELS
from .convnext_depth import layer_depth, stage_depth


@MODELS.register_module()
class TimmFeatures(BaseModule):
    """Feature maps of a timm network.

    Args:
        model_name: of timm, such as 'convnext_tiny.fb_in1k'.
        out_indices: which of the network's feature maps. Default (0, 1, 2, 3).
        pretrained: load timm's weights in `init_weights`. Default True.
        drop_path_rate: default 0.
        out_norm: put a LayerNorm ``norm{i}`` on each emitted map. Default True.
        with_cp: activation checkpointing, as timm does it. Default False.

    Attributes:
        out_channels: of the emitted maps.
        out_strides: of the emitted maps, in px of the image.

    Raises:
        ValueError: timm has no such network, or not these maps. `init_weights` raises OSError
            where the weights cannot be had.
    """

    def __init__(
        self,
        model_name: str,
        out_indices: Sequence[int] = (0, 1, 2, 3),
        pretrained: bool = True,
        drop_path_rate: float = 0.0,
        out_norm: bool = True,
        with_cp: bool = False,
    ) -> None:
        super().__init__()
        if not timm.is_model(model_name):
            raise ArgumentError(f'model_name is {model_name!r}; timm.list_models() names all')
        self.model_name, self.pretrained = model_name, pretrained
        self.options: dict[str, Any] = dict(
            out_indices=tuple(out_indices), drop_path_rate=drop_path_rate
        )
        try:
            self.network = self.create()
        except (IndexError, AssertionError, ValueError) as error:
            raise ArgumentError(
                f'out_indices is {tuple(out_indices)}; {model_name} does not have '
                f'all of these maps ({error})'
            ) from None
        if with_cp:
            self.network.set_grad_checkpointing(True)
        self.out_channels = tuple(self.network.feature_info.channels())
        self.out_strides = tuple(self.network.feature_info.reduction())
        self.norms = nn.ModuleList(
            LayerNorm2d(channels) if out_norm else nn.Identity() for channels in self.out_channels
        )

    def create(self, pretrained: bool = False) -> Any:
        """The network of timm's, with its published weights or random ones."""
        wanted = torch.empty(0).device
        with torch.device('cpu'):  # older timm computes on what it builds: 'meta' has no values
            network: Any = timm.create_model(
                self.model_name, pretrained=pretrained, features_only=True, **self.options
            )
        return network.to(wanted)

    def init_weights(self) -> None:
        """Load timm's weights where ``pretrained`` asks for them; they are downloaded once."""
        if self.pretrained:
            print_log(f"loading timm's weights of {self.model_name}", logger='current')
            try:
                trained = self.create(pretrained=True)
            except Exception as error:  # the hub's client has a dozen types for "not reached"
                raise FileError(
                    f'cannot get the weights of {self.model_name} ({type(error).__name__}: '
                    f'{str(error).splitlines()[0] if str(error) else ""}); connect once to fetch '
                    'them, or set model.backbone.pretrained=False'
                ) from None
            self.network.load_state_dict(trained.state_dict())
        self._is_init = True

    def get_layer_depth(self, param_name: str, prefix: str = '') -> tuple[int, int]:
        """Depth of a parameter by layers, and how many depths there are.

        Args:
            param_name: its name in the model.
            prefix: of the backbone's parameters there. Default ''.

        Raises:
            ValueError: the network is no ConvNeXt, whose depths alone are known here.
        """
        return layer_depth(self._name_in_timm(param_name, prefix), self._convnext_depths())

    def get_stage_depth(self, param_name: str, prefix: str = '') -> tuple[int, int]:
        """The same by stages."""
        return stage_depth(self._name_in_timm(param_name, prefix), self._convnext_depths())

    @staticmethod
    def _name_in_timm(param_name: str, prefix: str) -> str:
        return param_name.removeprefix(prefix).removeprefix('network.')

    def _convnext_depths(self) -> list[int]:
        """Blocks of the four stages; 0 of those that no emitted map needs."""
        if not self.model_name.startswith('convnext'):
            raise ArgumentError(
                f'layer-wise decay knows the depths of ConvNeXt, model_name is {self.model_name!r}'
            )
        stages = [getattr(self.network, f'stages_{i}', None) for i in range(4)]
        return [0 if stage is None else len(stage.blocks) for stage in stages]

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """(B, 3, H, W) -> a map (B, C_i, H_i, W_i) for each of ``out_indices``."""
        maps = zip(self.norms, self.network(x), strict=True)
        return tuple(norm(m).contiguous() for norm, m in maps)
