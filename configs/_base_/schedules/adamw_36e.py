# The 3x schedule: 36 epochs at batch 16 (8 GPUs x 2), AdamW, lr / 10 at 27 and 33, mixed precision.
# Source: FasterViT paper (arXiv 2306.06189), equal to Swin's 3x recipe. No weight decay for norms, decay
# for everything else (docs/recipes.md has the table).
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=36, val_interval=1)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')

optim_wrapper = dict(
    type='AmpOptimWrapper',
    optimizer=dict(type='AdamW', lr=1e-4, betas=(0.9, 0.999), weight_decay=0.05),
    paramwise_cfg=dict(norm_decay_mult=0.0),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=1000),
    dict(type='MultiStepLR', by_epoch=True, begin=0, end=36, milestones=[27, 33], gamma=0.1),
]

# --auto-scale-lr scales the learning rate by the real batch over this one
auto_scale_lr = dict(enable=False, base_batch_size=16)
