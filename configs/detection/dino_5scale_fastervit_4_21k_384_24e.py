# DINO 5-scale, FasterViT-4 of ImageNet-21K at 384 px, 24 epochs, batch 16 (8 GPUs x 2), COCO.
# The step is the authors'.
_base_ = './dino_5scale_fastervit_4_21k_384_12e.py'
train_cfg = dict(max_epochs=24)
param_scheduler = [
    dict(type='MultiStepLR', by_epoch=True, begin=0, end=24, milestones=[18], gamma=0.1)
]
