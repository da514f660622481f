# Peer: Cascade Mask R-CNN with Swin-B by its own recipe, batch 16 (8 GPUs x 2), COCO.
_base_ = './cascade_swin_s_3x_own.py'
model = dict(
    backbone=dict(
        embed_dims=128,
        num_heads=(4, 8, 16, 32),
        drop_path_rate=0.3,
        init_cfg=dict(
            checkpoint='https://github.com/SwinTransformer/storage/releases/download/v1.0.0/'
            'swin_base_patch4_window7_224.pth',
        ),
    ),
    neck=dict(in_channels=[128, 256, 512, 1024]),
)
