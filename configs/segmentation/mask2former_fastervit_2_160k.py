# Mask2Former, FasterViT-2, 160k iterations, crop 512, batch 16 (8 GPUs x 2), ADE20K.
_base_ = [
    '../_base_/models/mask2former_semantic.py',
    '../_base_/datasets/ade20k.py',
    '../_base_/schedules/adamw_mask2former_160k.py',
    '../_base_/runtime/seg_runtime.py',
]
# Drop path: as in mask2former_fastervit_2_50e_panoptic.py.
model = dict(
    backbone=dict(arch='fastervit_2', drop_path_rate=0.3, init_cfg=dict(type='Pretrained')),
    decode_head=dict(in_channels=[96, 192, 384, 768]),
)
# shorter side 256 to 1024 px, as mmseg's Mask2Former; the rest as in ade20k.py
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', reduce_zero_label=True),
    dict(
        type='RandomChoiceResize',
        scales=[int(51.2 * step) for step in range(5, 21)],
        resize_type='ResizeShortestEdge',
        max_size=2048,
    ),
    dict(type='RandomCrop', crop_size=(512, 512), cat_max_ratio=0.75),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PhotoMetricDistortion'),
    dict(type='PackSegInputs'),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
default_hooks = dict(checkpoint=dict(interval=5000))
