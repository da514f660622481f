# Cascade Mask R-CNN with Swin-T whose first two stages are hierarchical attention (docs/hat.md), batch 16
# (8 GPUs x 2), COCO. Our heads, pipeline and schedule. Swin-T's weights load into what it shares with it.
_base_ = './peers/cascade_swin_t_3x.py'
custom_imports = dict(imports=['fastervit_mm.models.swin_hat'])
model = dict(backbone=dict(type='fastervit_mm.SwinHAT'))
