"""A linear layer that oneDNN runs on a CPU: the one place that calls a private operator of PyTorch.

PyTorch gives fp32 linear layers to MKL, which leaves a quarter of an AMD CPU unused, and GELU a
pass of its own. oneDNN does both in one call and faster, but PyTorch exposes that call,
``torch.ops.mkldnn._linear_pointwise``, to its own compiler only: the leading underscore says that
it may change in any release. It is used where `_onednn_takes` allows it; everywhere else the same
arithmetic goes through public functions.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class TokenLinear(nn.Linear):
    """A linear layer, followed by GELU or not, (..., in) -> (..., out), for inference.

    Args:
        layer: whose parameters are taken.
        activation: 'none' or 'gelu'.
    """

    def __init__(self, layer: nn.Linear, activation: str = 'none') -> None:
        with torch.device('meta'):
            super().__init__(layer.in_features, layer.out_features)
        self.weight, self.bias, self.activation = layer.weight, layer.bias, activation
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        if _onednn_takes(x):
            pointwise = torch.ops.mkldnn._linear_pointwise
            return pointwise(x, self.weight, self.bias, self.activation, [], 'none')
        out = self._as_convolution(x) if x.device.type == 'cpu' else super().forward(x)
        return F.gelu(out) if self.activation == 'gelu' else out

    def _as_convolution(self, x: Tensor) -> Tensor:
        """A 1×1 convolution is oneDNN's too; unlike `pointwise` it has gradients and autocast."""
        tokens = x.reshape(1, 1, -1, self.in_features).permute(0, 3, 1, 2)
        out = F.conv2d(tokens, self.weight[:, :, None, None], self.bias)
        return out.permute(0, 2, 3, 1).reshape(*x.shape[:-1], self.out_features)


def _onednn_takes(x: Tensor) -> bool:
    """Whether its fused linear layer may be used: eager inference in a dtype the CPU has."""
    return (
        x.device.type == 'cpu'
        and not torch.compiler.is_compiling()
        and not torch.jit.is_tracing()
        and not torch.is_grad_enabled()
        and not torch.is_autocast_enabled('cpu')
        and torch.backends.mkldnn.is_available()
        and (
            x.dtype == torch.float32
            or (x.dtype == torch.bfloat16 and torch.ops.mkldnn._is_mkldnn_bf16_supported())
        )
    )
