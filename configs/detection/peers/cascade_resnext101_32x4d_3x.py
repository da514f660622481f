# Peer: Cascade Mask R-CNN with ResNeXt-101 32x4d, batch 16 (8 GPUs x 2), COCO. Our heads, pipeline and schedule,
# not its own recipe, which is not known here; frozen stage and statistics are mmdet's usual ones.
_base_ = '../cascade_fastervit_0_3x.py'
model = dict(
    backbone=dict(
        _delete_=True,
        type='ResNeXt',
        depth=101,
        groups=32,
        base_width=4,
        out_indices=(0, 1, 2, 3),
        frozen_stages=1,
        norm_cfg=dict(type='BN', requires_grad=True),
        init_cfg=dict(type='Pretrained', checkpoint='open-mmlab://resnext101_32x4d'),
    ),
    neck=dict(in_channels=[256, 512, 1024, 2048]),
)
