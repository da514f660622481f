# 160k iterations at batch 16 (8 GPUs x 2), AdamW, linear decay, warm-up 1500, mixed precision.
# Source: FasterViT paper (arXiv 2306.06189), equal to Swin's UperNet recipe. No weight decay for norms,
# decay for everything else (docs/recipes.md has the table).
train_cfg = dict(type='IterBasedTrainLoop', max_iters=160000, val_interval=16000)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')

optim_wrapper = dict(
    type='AmpOptimWrapper',
    optimizer=dict(type='AdamW', lr=6e-5, betas=(0.9, 0.999), weight_decay=0.01),
    paramwise_cfg=dict(norm_decay_mult=0.0),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-6, by_epoch=False, begin=0, end=1500),
    dict(type='PolyLR', eta_min=0.0, power=1.0, by_epoch=False, begin=1500, end=160000),
]

# --auto-scale-lr scales the learning rate by the real batch over this one
auto_scale_lr = dict(enable=False, base_batch_size=16)
