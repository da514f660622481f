# DINO 5-scale, FasterViT-4, 36 epochs, batch 16 (8 GPUs x 2), COCO. The authors' config of this variant: its
# step stands at 11, as in their configs of 12 epochs.
_base_ = './dino_5scale_fastervit_4_12e.py'
train_cfg = dict(max_epochs=36)
param_scheduler = [
    dict(type='MultiStepLR', by_epoch=True, begin=0, end=36, milestones=[11], gamma=0.1)
]
