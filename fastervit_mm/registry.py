"""Where OpenMMLab finds our modules: child registries of mmengine's.

They make ``type='fastervit_mm.FasterViT'`` resolve from mmdet, mmseg, mmpretrain and others
without ``custom_imports``; the host library's ``default_scope`` stays as it is.
"""

from mmengine import registry as mmengine_registry
from mmengine.registry import Registry

MODELS = Registry(
    'model',
    parent=mmengine_registry.MODELS,
    scope='fastervit_mm',
    locations=['fastervit_mm.network.backbone', 'fastervit_mm.models.timm_features'],
)
HOOKS = Registry(
    'hook',
    parent=mmengine_registry.HOOKS,
    scope='fastervit_mm',
    locations=['fastervit_mm.training.hooks', 'fastervit_mm.training.finite_loss'],
)
OPTIM_WRAPPER_CONSTRUCTORS = Registry(
    'optimizer wrapper constructor',
    parent=mmengine_registry.OPTIM_WRAPPER_CONSTRUCTORS,
    scope='fastervit_mm',
    locations=['fastervit_mm.training.layer_decay'],
)
STRATEGIES = Registry(
    'strategy',
    parent=mmengine_registry.STRATEGIES,
    scope='fastervit_mm',
    locations=['fastervit_mm.training.sharding'],
)
