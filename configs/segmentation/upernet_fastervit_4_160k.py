# UperNet, FasterViT-4, 160k iterations, crop 512, batch 16 (8 GPUs x 2), ADE20K.
_base_ = './upernet_fastervit_0_160k.py'
model = dict(
    backbone=dict(arch='fastervit_4'),
    decode_head=dict(in_channels=[196, 392, 784, 1568]),
    auxiliary_head=dict(in_channels=784),
)
