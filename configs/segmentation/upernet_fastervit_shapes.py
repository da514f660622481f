# The demo for segmentation: a small FasterViT with hierarchical attention and a slim UperNet, on the
# label maps of the drawn scenes of 192 px (`make demo-segmentation` writes them). 1100 iterations,
# batch 16, one CPU. Images are read at 96 px: the small network sees whole shapes sooner, and learns
# in a third of the time. The truth keeps its 192 px.
_base_ = [
    '../_base_/models/upernet.py',
    '../_base_/datasets/ade20k.py',
    '../_base_/runtime/seg_runtime.py',
]
classes = ('background', 'circle', 'square', 'triangle')
# without weights, training from scratch stays at "all background", nine tenths of the pixels
loss = dict(class_weight=[0.2, 1.0, 1.0, 1.0])
model = dict(
    data_preprocessor=dict(size=(96, 96)),
    backbone=dict(
        arch=dict(dim=32, in_dim=16, depths=(1, 1, 2, 1), num_heads=(1, 2, 4, 8)),
        out_norm='bn',
    ),
    decode_head=dict(
        in_channels=[32, 64, 128, 256],
        channels=64,
        dropout_ratio=0.0,
        num_classes=len(classes),
        loss_decode=loss,
    ),
    auxiliary_head=dict(
        in_channels=128,
        channels=64,
        dropout_ratio=0.0,
        num_classes=len(classes),
        loss_decode=loss,
    ),
)

data_root = 'data/shapes/ade/'
# ADE20KDataset admits no other classes than its own
dataset = dict(type='BaseSegDataset', reduce_zero_label=True, data_root=data_root)
metainfo = dict(
    classes=classes, palette=[(120, 120, 120), (220, 60, 60), (60, 160, 60), (60, 90, 220)]
)
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', reduce_zero_label=True),
    dict(type='Resize', scale=(96, 96), keep_ratio=True),
    dict(type='RandomFlip', prob=[0.3, 0.3], direction=['horizontal', 'vertical']),
    dict(type='PackSegInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(96, 96), keep_ratio=True),
    dict(type='LoadAnnotations', reduce_zero_label=True),
    dict(type='PackSegInputs'),
]
train_dataloader = dict(
    batch_size=16,
    num_workers=1,
    dataset=dict(**dataset, metainfo=metainfo, pipeline=train_pipeline),
)
val_dataloader = dict(
    num_workers=1, dataset=dict(**dataset, metainfo=metainfo, pipeline=test_pipeline)
)
test_dataloader = val_dataloader

train_cfg = dict(type='IterBasedTrainLoop', max_iters=1100, val_interval=550)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=2e-3, weight_decay=0.05),
    paramwise_cfg=dict(norm_decay_mult=0.0),
    clip_grad=dict(max_norm=5.0),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=100),
    dict(type='CosineAnnealingLR', by_epoch=False, begin=100, end=1100, eta_min=1e-5),
]
auto_scale_lr = dict(enable=False, base_batch_size=16)
default_hooks = dict(logger=dict(interval=10), checkpoint=dict(interval=550))
env_cfg = dict(cudnn_benchmark=False)
randomness = dict(seed=0)
