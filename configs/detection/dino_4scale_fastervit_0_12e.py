# DINO 4-scale, FasterViT-0, 12 epochs, batch 16 (8 GPUs x 2), COCO.
_base_ = [
    '../_base_/models/dino.py',
    '../_base_/datasets/coco_detection.py',
    '../_base_/schedules/adamw_dino_12e.py',
    '../_base_/runtime/det_runtime.py',
]
model = dict(
    backbone=dict(arch='fastervit_0', init_cfg=dict(type='Pretrained')),
    neck=dict(in_channels=[128, 256, 512]),
)
