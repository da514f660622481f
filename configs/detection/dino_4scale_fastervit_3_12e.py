# DINO 4-scale, FasterViT-3, 12 epochs, batch 16 (8 GPUs x 2), COCO.
_base_ = './dino_4scale_fastervit_0_12e.py'
model = dict(
    backbone=dict(arch='fastervit_3'),
    neck=dict(in_channels=[256, 512, 1024]),
)
