"""mmcv's compiled operators by torchvision and PyTorch, where mmcv was installed without them."""

from .finder import operators_in_use, provide_operators

__all__ = ['operators_in_use', 'provide_operators']
