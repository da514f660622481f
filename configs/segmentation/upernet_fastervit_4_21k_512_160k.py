# UperNet, FasterViT-4 of ImageNet-21K at 512 px, 160k iterations, crop 640, batch 16 (8 GPUs x 2),
# ADE20K.
_base_ = './upernet_fastervit_4_21k_384_160k.py'
model = dict(backbone=dict(arch='fastervit_4_21k_512'))
