# UperNet, FasterViT-3, 160k iterations, crop 512, batch 16 (8 GPUs x 2), ADE20K.
_base_ = './upernet_fastervit_0_160k.py'
model = dict(
    backbone=dict(arch='fastervit_3'),
    decode_head=dict(in_channels=[128, 256, 512, 1024]),
    auxiliary_head=dict(in_channels=512),
)
