# Cascade Mask R-CNN, FasterViT-4, 3x schedule, batch 16 (8 GPUs x 2), COCO.
_base_ = './cascade_fastervit_0_3x.py'
model = dict(
    backbone=dict(arch='fastervit_4'),
    neck=dict(in_channels=[196, 392, 784, 1568]),
)
