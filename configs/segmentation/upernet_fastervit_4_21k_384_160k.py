# UperNet, FasterViT-4 of ImageNet-21K at 384 px, 160k iterations, crop 640, batch 16 (8 GPUs x 2),
# ADE20K. Crops of 640 px are ours, for weights of ImageNet-21K that saw more than 224 px; nothing is published.
_base_ = [
    '../_base_/models/upernet.py',
    '../_base_/datasets/ade20k_640.py',
    '../_base_/schedules/adamw_160k.py',
    '../_base_/runtime/seg_runtime.py',
]
model = dict(
    data_preprocessor=dict(size=(640, 640)),
    backbone=dict(
        arch='fastervit_4_21k_384',
        drop_path_rate=0.2,  # as upernet_fastervit_0_160k.py
        init_cfg=dict(type='Pretrained'),
    ),
    decode_head=dict(in_channels=[196, 392, 784, 1568]),
    auxiliary_head=dict(in_channels=784),
)
