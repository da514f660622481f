# Peer: Cascade Mask R-CNN with ConvNeXt-B by its own recipe, batch 16 (8 GPUs x 2), COCO.
_base_ = './cascade_convnext_t_3x_own.py'
model = dict(
    backbone=dict(model_name='convnext_base.fb_in1k', drop_path_rate=0.7),
    neck=dict(in_channels=[128, 256, 512, 1024]),
)
optim_wrapper = dict(paramwise_cfg=dict(layer_decay_rate=0.8))
