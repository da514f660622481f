# Peer: UperNet with ConvNeXt-B, batch 16 (8 GPUs x 2), ADE20K. Our head, pipeline and schedule, not its own
# recipe (upernet_convnext_b_160k_own.py).
_base_ = '../upernet_fastervit_0_160k.py'
model = dict(
    backbone=dict(
        _delete_=True,
        type='fastervit_mm.TimmFeatures',
        model_name='convnext_base.fb_in1k',
        drop_path_rate=0.2,
    ),
    decode_head=dict(in_channels=[128, 256, 512, 1024]),
    auxiliary_head=dict(in_channels=512),
)
