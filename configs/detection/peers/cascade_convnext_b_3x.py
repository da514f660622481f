# Peer: Cascade Mask R-CNN with ConvNeXt-B, our heads, pipeline and schedule, batch 16
# (8 GPUs x 2).
_base_ = '../cascade_fastervit_0_3x.py'
model = dict(
    backbone=dict(
        _delete_=True,
        type='fastervit_mm.TimmFeatures',
        model_name='convnext_base.fb_in1k',
        drop_path_rate=0.5,
    ),
    neck=dict(in_channels=[128, 256, 512, 1024]),
)
