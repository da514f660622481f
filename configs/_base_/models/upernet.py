# UperNet (arXiv 1807.10221) as in the FasterViT paper (arXiv 2306.06189), equal to Swin's and ConvNeXt's:
# pyramid pooling 1, 2, 3, 6, 512 channels, FCN auxiliary head on stage 2 of weight 0.4.
#
# BatchNorm: as in cascade_mask_rcnn_fpn.py, synchronised in the heads only; `sync_bn='torch'`
# synchronises the backbone's too.
sync_bn = None
# before mmseg's models: mmcv's operators may have to come from it (docs/operators.md)
custom_imports = dict(imports=['fastervit_mm'], allow_failed_imports=False)
norm_cfg = dict(type='SyncBN', requires_grad=True)

model = dict(
    type='EncoderDecoder',
    data_preprocessor=dict(
        type='SegDataPreProcessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
        pad_val=0,
        seg_pad_val=255,
        size=(512, 512),
    ),
    backbone=dict(type='fastervit_mm.FasterViT', out_indices=(0, 1, 2, 3)),
    decode_head=dict(
        type='UPerHead',
        in_channels=[64, 128, 256, 512],
        in_index=[0, 1, 2, 3],
        pool_scales=(1, 2, 3, 6),
        channels=512,
        dropout_ratio=0.1,
        num_classes=150,
        norm_cfg=norm_cfg,
        align_corners=False,
        loss_decode=dict(type='CrossEntropyLoss', use_sigmoid=False, loss_weight=1.0),
    ),
    auxiliary_head=dict(
        type='FCNHead',
        in_channels=256,
        in_index=2,
        channels=256,
        num_convs=1,
        concat_input=False,
        dropout_ratio=0.1,
        num_classes=150,
        norm_cfg=norm_cfg,
        align_corners=False,
        loss_decode=dict(type='CrossEntropyLoss', use_sigmoid=False, loss_weight=0.4),
    ),
    train_cfg=dict(),
    test_cfg=dict(mode='whole'),
)

# test-time augmentation (tools/test.py --tta)
tta_model = dict(type='SegTTAModel')
