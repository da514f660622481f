# Peer: UperNet with ConvNeXt-B by its own recipe, batch 16 (8 GPUs x 2), ADE20K.
_base_ = './upernet_convnext_t_160k_own.py'
model = dict(
    backbone=dict(model_name='convnext_base.fb_in1k'),
    decode_head=dict(in_channels=[128, 256, 512, 1024]),
    auxiliary_head=dict(in_channels=512),
)
