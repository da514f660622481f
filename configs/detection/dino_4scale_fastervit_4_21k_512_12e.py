# DINO 4-scale, FasterViT-4 of ImageNet-21K at 512 px, 12 epochs, batch 16 (8 GPUs x 2), COCO.
_base_ = './dino_4scale_fastervit_4_12e.py'
model = dict(backbone=dict(arch='fastervit_4_21k_512'))
