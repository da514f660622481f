"""What stands for ``mmcv._ext``: the operators we have, and an error with a way out for the rest."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import torch

from ..errors import UserError
from . import boxes, carafe, convolutions, deformable_attention, focal_loss, rois

PROVIDED: tuple[Callable[..., Any], ...] = (
    boxes.nms,
    boxes.softnms,
    boxes.nms_match,
    carafe.carafe_forward,
    carafe.carafe_backward,
    carafe.carafe_naive_forward,
    carafe.carafe_naive_backward,
    convolutions.deform_conv_forward,
    convolutions.deform_conv_backward_input,
    convolutions.deform_conv_backward_parameters,
    convolutions.modulated_deform_conv_forward,
    convolutions.modulated_deform_conv_backward,
    convolutions.masked_im2col_forward,
    convolutions.masked_col2im_forward,
    deformable_attention.ms_deform_attn_forward,
    deformable_attention.ms_deform_attn_backward,
    focal_loss.sigmoid_focal_loss_forward,
    focal_loss.sigmoid_focal_loss_backward,
    focal_loss.softmax_focal_loss_forward,
    focal_loss.softmax_focal_loss_backward,
    rois.roi_align_forward,
    rois.roi_align_backward,
    rois.roi_pool_forward,
    rois.roi_pool_backward,
)
MM_SYNC_BN = "a config with MMSyncBN (SyncBN is PyTorch's own)"
USERS = {  # models of mmdet and mmseg that use an operator which is not provided
    'deform_roi_pool_forward': "mmdet's Faster R-CNN with deformable RoI pooling",
    'deform_roi_pool_backward': "mmdet's Faster R-CNN with deformable RoI pooling",
    'line_nms_forward': "mmdet's CLRNet",
    'psamask_forward': "mmseg's PSANet",
    'psamask_backward': "mmseg's PSANet",
    'sync_bn_backward_data': MM_SYNC_BN,
    'sync_bn_backward_param': MM_SYNC_BN,
    'sync_bn_forward_mean': MM_SYNC_BN,
    'sync_bn_forward_output': MM_SYNC_BN,
    'sync_bn_forward_var': MM_SYNC_BN,
}
NO_COMPILER = 'none: operators by torchvision (fastervit_mm)'


def get_compiler_version() -> str:
    """What ``mmcv.utils.collect_env`` shows as the compiler."""
    return NO_COMPILER


def get_compiling_cuda_version() -> str:
    """What ``mmcv.utils.collect_env`` shows as the compiler for CUDA."""
    return NO_COMPILER


def missing(name: str) -> Callable[..., Any]:
    """A function for the operator ``name`` that raises `UserError` when it is called."""

    def operator(*args: Any, **kwargs: Any) -> None:
        users = USERS.get(name, 'no model of mmdet or mmseg')
        raise UserError(
            f'{name} is an operator of mmcv that only its compiled extension has ({users} uses '
            'it): FASTERVIT_MM_OPS=compiled make setup builds it, or see docs/operators.md'
        )

    operator.__name__ = name
    return operator


def fill(module: ModuleType) -> None:
    """Make ``module`` answer to every operator's name.

    Args:
        module: takes the place of ``mmcv._ext``.
    """

    def other(name: str) -> Callable[..., Any]:
        if name.startswith('__'):  # what Python itself asks of a module
            raise AttributeError(f'module {module.__name__} has no attribute {name}')
        return missing(name)

    for function in (*PROVIDED, get_compiler_version, get_compiling_cuda_version):
        # dynamo would trace what compiled ones hide from it, and lose gradients of filled buffers
        setattr(module, function.__name__, torch.compiler.disable(function))
    module.__getattr__ = other  # type: ignore[method-assign]
