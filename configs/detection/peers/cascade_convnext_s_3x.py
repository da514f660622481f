# Peer: Cascade Mask R-CNN with ConvNeXt-S, batch 16 (8 GPUs x 2), COCO. Our heads, pipeline and schedule,
# not its own recipe (cascade_convnext_s_3x_own.py).
_base_ = '../cascade_fastervit_0_3x.py'
model = dict(
    backbone=dict(
        _delete_=True,
        type='fastervit_mm.TimmFeatures',
        model_name='convnext_small.fb_in1k',
        drop_path_rate=0.2,
    ),
    neck=dict(in_channels=[96, 192, 384, 768]),
)
