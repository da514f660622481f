# UperNet, FasterViT-1, 160k iterations, crop 512, batch 16 (8 GPUs x 2), ADE20K.
_base_ = './upernet_fastervit_0_160k.py'
model = dict(
    backbone=dict(arch='fastervit_1'),
    decode_head=dict(in_channels=[80, 160, 320, 640]),
    auxiliary_head=dict(in_channels=320),
)
