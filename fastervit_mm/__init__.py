"""FasterViT (arXiv 2306.06189) as a backbone for the OpenMMLab libraries.

``type='fastervit_mm.FasterViT'`` in a config of mmdet, mmseg or another of them is all it takes.
"""

try:
    import mmengine  # noqa: F401
except ImportError as error:
    raise ImportError(
        'fastervit_mm needs mmengine: pip install "fastervit_mm[maintained]" (the onedl packages, '
        'torch >= 2.4) or pip install "fastervit_mm[original]" (mmengine 0.10.7, mmcv 2.1.0), '
        'never both in one environment'
    ) from error

from .inference.fusing import fuse
from .network.backbone import FasterViT
from .operators import provide_operators
from .registry import HOOKS, MODELS
from .variants import VARIANTS, Variant
from .version import __version__

__all__ = ['HOOKS', 'MODELS', 'VARIANTS', 'FasterViT', 'Variant', '__version__', 'fuse']

provide_operators()
