# 50 epochs of COCO in iterations (368,750 at batch 16, 8 GPUs x 2), lr / 10 at 327,778 and 355,092; the optimiser is
# that of 160k. Source: mmdet's Mask2Former, equal to published Mask2Former's (arXiv 2112.01527).
_base_ = './adamw_mask2former_160k.py'
train_cfg = dict(max_iters=368750)
param_scheduler = [
    dict(
        type='MultiStepLR',
        by_epoch=False,
        begin=0,
        end=368750,
        milestones=[327778, 355092],
        gamma=0.1,
    )
]
