"""FasterViT (arXiv 2306.06189) as a backbone for the OpenMMLab libraries.

``type='fastervit_mm.FasterViT'`` in a config of mmdet, mmseg or another of them is all it takes.
"""

from .compatibility import check_versions

check_versions()  # before what would fail for a reason that is hard to see

from .inference.fusing import fuse
from .network.backbone import FasterViT
from .network.layer import HierarchicalAttention
from .operators import provide_operators
from .registry import HOOKS, MODELS
from .variants import VARIANTS, Variant
from .version import __version__

__all__ = [
    'HOOKS',
    'MODELS',
    'VARIANTS',
    'FasterViT',
    'HierarchicalAttention',
    'Variant',
    '__version__',
    'fuse',
]

provide_operators()
