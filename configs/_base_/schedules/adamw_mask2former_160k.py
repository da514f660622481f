# 160k iterations at batch 16 (8 GPUs x 2), AdamW, backbone at a tenth of the rate, polynomial decay, fp32.
# Source: mmseg's Mask2Former with Swin-T on ADE20K, equal to published Mask2Former's (arXiv 2112.01527), which
# trains in mixed precision (--amp).
train_cfg = dict(type='IterBasedTrainLoop', max_iters=160000, val_interval=5000)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')

# No decay for norms and learned queries. mmengine spares norms unless a key here names them, and 'backbone' names
# all of the backbone's: so longer keys name its norms too, as in Swin's recipe (stages as deep as any variant's).
backbone_norms = [
    'backbone.patch_embed.conv_down.1',
    'backbone.patch_embed.conv_down.4',
    *(f'backbone.norm{stage}' for stage in range(4)),
    *(f'backbone.levels.{stage}.downsample.norm' for stage in range(3)),
    *(
        f'backbone.levels.{stage}.blocks.{block}.{norm}'
        for stage, depth in enumerate((3, 3, 16, 8))
        for block in range(depth)
        for norm in ('norm', 'hat_norm')
    ),
]
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=1e-4, betas=(0.9, 0.999), weight_decay=0.05),
    clip_grad=dict(max_norm=0.01, norm_type=2),
    paramwise_cfg=dict(
        norm_decay_mult=0.0,
        custom_keys={
            'backbone': dict(lr_mult=0.1),
            **{name: dict(lr_mult=0.1, decay_mult=0.0) for name in backbone_norms},
            **{name: dict(decay_mult=0.0) for name in ('query_embed', 'query_feat', 'level_embed')},
        },
    ),
)
param_scheduler = [dict(type='PolyLR', eta_min=0.0, power=0.9, by_epoch=False, begin=0, end=160000)]

# --auto-scale-lr scales the learning rate by the real batch over this one
auto_scale_lr = dict(enable=False, base_batch_size=16)
