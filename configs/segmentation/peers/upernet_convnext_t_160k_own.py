# Peer: UperNet with ConvNeXt-T by its own recipe, batch 16 (8 GPUs x 2), ADE20K. Source: ConvNeXt's
# segmentation configs (arXiv 2201.03545): drop path, rate, weight decay, stage-wise decay, no weight decay
# for norms, biases and layer scales, testing by sliding windows; schedule, crops and heads are those of
# our segmentors.
_base_ = './upernet_convnext_t_160k.py'
model = dict(
    backbone=dict(drop_path_rate=0.4),
    test_cfg=dict(mode='slide', crop_size=(512, 512), stride=(341, 341)),
)
optim_wrapper = dict(
    optimizer=dict(lr=1e-4, weight_decay=0.05),
    constructor='fastervit_mm.LayerDecayOptimWrapperConstructor',
    paramwise_cfg=dict(
        layer_decay_rate=0.9,
        layer_decay_type='stage_wise',
        bias_decay_mult=0.0,
        flat_decay_mult=0.0,
    ),
)
