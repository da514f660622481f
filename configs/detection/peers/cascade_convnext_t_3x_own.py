# Peer: Cascade Mask R-CNN with ConvNeXt-T by its own recipe, batch 16 (8 GPUs x 2), COCO. Source:
# ConvNeXt's detection configs (arXiv 2201.03545): drop path, rate, layer-wise decay, no weight decay for
# norms, biases and layer scales; schedule, images and heads are those of our detectors.
_base_ = './cascade_convnext_t_3x.py'
model = dict(backbone=dict(drop_path_rate=0.4))
optim_wrapper = dict(
    optimizer=dict(lr=2e-4),
    constructor='fastervit_mm.LayerDecayOptimWrapperConstructor',
    paramwise_cfg=dict(layer_decay_rate=0.7, bias_decay_mult=0.0, flat_decay_mult=0.0),
)
