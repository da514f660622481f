# 12 epochs at batch 16 (8 GPUs x 2), AdamW, backbone at a tenth of the rate, lr / 10 at 11, fp32.
# Source: the authors' config of the released detector, equal to published DINO's (arXiv 2203.03605).
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=12, val_interval=1)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')

optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=1e-4, weight_decay=1e-4),
    clip_grad=dict(max_norm=0.1, norm_type=2),
    paramwise_cfg=dict(custom_keys={'backbone': dict(lr_mult=0.1)}),
)
param_scheduler = [
    dict(type='MultiStepLR', by_epoch=True, begin=0, end=12, milestones=[11], gamma=0.1)
]

# --auto-scale-lr scales the learning rate by the real batch over this one
auto_scale_lr = dict(enable=False, base_batch_size=16)
