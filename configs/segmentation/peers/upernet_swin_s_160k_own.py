# Peer: UperNet with Swin-S by its own recipe, batch 16 (8 GPUs x 2), ADE20K.
_base_ = './upernet_swin_t_160k_own.py'
model = dict(
    backbone=dict(
        depths=(2, 2, 18, 2),
        init_cfg=dict(
            checkpoint='https://mmassets.onedl.ai/mmsegmentation/v0.5/pretrain/swin/'
            'swin_small_patch4_window7_224_20220317-7ba6d6dd.pth',
        ),
    )
)
