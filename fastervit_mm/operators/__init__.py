"""mmcv's compiled operators by torchvision and PyTorch, where mmcv was installed without them."""

from .finder import provide_operators

__all__ = ['provide_operators']
