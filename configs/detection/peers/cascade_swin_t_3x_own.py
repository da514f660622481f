# Peer: Cascade Mask R-CNN with Swin-T by its own recipe, batch 16 (8 GPUs x 2), COCO. Source: Swin's
# detection configs (arXiv 2103.14030): drop path, and no weight decay for position tables and LayerNorms;
# rate, schedule, images and heads are those of our detectors.
_base_ = './cascade_swin_t_3x.py'
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
