# Peer: Cascade Mask R-CNN with Swin-S by its own recipe, batch 16 (8 GPUs x 2), COCO.
_base_ = './cascade_swin_t_3x_own.py'
model = dict(
    backbone=dict(
        depths=(2, 2, 18, 2),
        init_cfg=dict(
            checkpoint='https://github.com/SwinTransformer/storage/releases/download/v1.0.0/'
            'swin_small_patch4_window7_224.pth',
        ),
    )
)
