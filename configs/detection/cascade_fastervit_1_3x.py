# Cascade Mask R-CNN, FasterViT-1, 3x schedule, batch 16 (8 GPUs x 2), COCO.
_base_ = './cascade_fastervit_0_3x.py'
model = dict(
    backbone=dict(arch='fastervit_1'),
    neck=dict(in_channels=[80, 160, 320, 640]),
)
