# Cascade Mask R-CNN, FasterViT-4 of ImageNet-21K at 384 px, 3x schedule, batch 16 (8 GPUs x 2), COCO.
_base_ = './cascade_fastervit_4_3x.py'
model = dict(backbone=dict(arch='fastervit_4_21k_384'))
