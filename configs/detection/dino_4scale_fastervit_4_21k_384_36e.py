# DINO 4-scale, FasterViT-4 of ImageNet-21K at 384 px, 36 epochs, batch 16 (8 GPUs x 2), COCO.
# The step is the authors'.
_base_ = './dino_4scale_fastervit_4_21k_384_12e.py'
train_cfg = dict(max_epochs=36)
param_scheduler = [
    dict(type='MultiStepLR', by_epoch=True, begin=0, end=36, milestones=[30], gamma=0.1)
]
