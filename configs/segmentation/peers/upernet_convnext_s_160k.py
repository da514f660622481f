# Peer: UperNet with ConvNeXt-S, batch 16 (8 GPUs x 2), ADE20K. Our head, pipeline and schedule, not its own
# recipe (upernet_convnext_s_160k_own.py).
_base_ = '../upernet_fastervit_0_160k.py'
model = dict(
    backbone=dict(
        _delete_=True,
        type='fastervit_mm.TimmFeatures',
        model_name='convnext_small.fb_in1k',
        drop_path_rate=0.2,
    ),
    decode_head=dict(in_channels=[96, 192, 384, 768]),
    auxiliary_head=dict(in_channels=384),
)
