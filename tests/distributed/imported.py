"""What every forked process needs: imported once, by the process that they are forked from."""

from importlib import import_module

for name in (
    'fastervit_mm',  # first: mmcv's operators may have to come from it
    'fastervit_mm.models.dino',
    'fastervit_mm.network.backbone',
    'fastervit_mm.tasks',
    'fastervit_mm.training.hooks',
    'fastervit_mm.training.runner',
    'mmdet.datasets',
    'mmseg.datasets',
    'mmdet.models',
    'mmseg.models',
):
    import_module(name)
