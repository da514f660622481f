# Cascade Mask R-CNN, FasterViT-3, 3x schedule, batch 16 (8 GPUs x 2), COCO.
_base_ = './cascade_fastervit_0_3x.py'
model = dict(
    backbone=dict(arch='fastervit_3'),
    neck=dict(in_channels=[128, 256, 512, 1024]),
)
