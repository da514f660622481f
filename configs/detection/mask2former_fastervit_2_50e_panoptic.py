# Mask2Former, FasterViT-2, panoptic segmentation, 50 epochs in iterations, batch 16 (8 GPUs x 2), COCO.
_base_ = [
    '../_base_/models/mask2former_panoptic.py',
    '../_base_/datasets/coco_panoptic.py',
    '../_base_/schedules/adamw_mask2former_50e.py',
    '../_base_/runtime/det_runtime.py',
]
# Published ImageNet weights (NVIDIA's, non-commercial licence). Drop path: unknown for FasterViT, nobody
# published this pair; 0.3 is what Mask2Former has with Swin-T, -S and -B.
model = dict(
    backbone=dict(arch='fastervit_2', drop_path_rate=0.3, init_cfg=dict(type='Pretrained')),
    panoptic_head=dict(in_channels=[96, 192, 384, 768]),
)
default_hooks = dict(
    logger=dict(log_metric_by_epoch=False),
    checkpoint=dict(by_epoch=False, interval=5000, save_best='coco_panoptic/PQ', rule='greater'),
)
log_processor = dict(by_epoch=False)
