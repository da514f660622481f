# DINO 5-scale, FasterViT-4, 12 epochs, batch 16 (8 GPUs x 2), COCO: stride 4
# joins in. Without activation checkpointing, as in the authors' 5-scale configs.
_base_ = './dino_4scale_fastervit_4_12e.py'
model = dict(
    num_feature_levels=5,
    backbone=dict(out_indices=(0, 1, 2, 3), with_cp=False),
    neck=dict(in_channels=[196, 392, 784, 1568], num_outs=5),
    encoder=dict(layer_cfg=dict(self_attn_cfg=dict(num_levels=5))),
    decoder=dict(layer_cfg=dict(cross_attn_cfg=dict(num_levels=5))),
)
