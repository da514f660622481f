# UperNet, FasterViT-4 of ImageNet-21K at 384 px, 160k iterations, crop 640, batch 16 (8 GPUs x 2),
# ADE20K. Crops of 640 px are what Swin and ConvNeXt use with their ImageNet-22K weights; nothing is
# published for FasterViT's.
_base_ = './upernet_fastervit_4_160k.py'
model = dict(
    data_preprocessor=dict(size=(640, 640)),
    backbone=dict(arch='fastervit_4_21k_384'),
)
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', reduce_zero_label=True),
    dict(type='RandomResize', scale=(2560, 640), ratio_range=(0.5, 2.0), keep_ratio=True),
    dict(type='RandomCrop', crop_size=(640, 640), cat_max_ratio=0.75),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PhotoMetricDistortion'),
    dict(type='PackSegInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(2560, 640), keep_ratio=True),
    dict(type='LoadAnnotations', reduce_zero_label=True),
    dict(type='PackSegInputs'),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
