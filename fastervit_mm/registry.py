"""Where OpenMMLab finds our modules: child registries of mmengine's.

They make ``type='fastervit_mm.FasterViT'`` resolve from mmdet, mmseg, mmpretrain and others
without ``custom_imports``; the host library's ``default_scope`` stays as it is.
"""

from mmengine.registry import HOOKS as MMENGINE_HOOKS
from mmengine.registry import MODELS as MMENGINE_MODELS
from mmengine.registry import Registry

MODELS = Registry(
    'model', parent=MMENGINE_MODELS, scope='fastervit_mm', locations=['fastervit_mm.backbone']
)
HOOKS = Registry(
    'hook', parent=MMENGINE_HOOKS, scope='fastervit_mm', locations=['fastervit_mm.hooks']
)
