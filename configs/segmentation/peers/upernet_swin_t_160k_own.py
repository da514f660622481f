# Peer: UperNet with Swin-T by its own recipe, batch 16 (8 GPUs x 2), ADE20K. Source: Swin's segmentation
# configs (arXiv 2103.14030): drop path, and no weight decay for position tables and LayerNorms; rate,
# schedule, crops and heads are those of our segmentors.
_base_ = './upernet_swin_t_160k.py'
model = dict(backbone=dict(drop_path_rate=0.3))
optim_wrapper = dict(
    paramwise_cfg=dict(
        _delete_=True,
        custom_keys={
            'absolute_pos_embed': dict(decay_mult=0.0),
            'relative_position_bias_table': dict(decay_mult=0.0),
            'norm': dict(decay_mult=0.0),
        },
    )
)
