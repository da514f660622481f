# Cascade Mask R-CNN, FasterViT-0, 3x schedule, batch 16 (8 GPUs x 2), COCO.
_base_ = [
    '../_base_/models/cascade_mask_rcnn_fpn.py',
    '../_base_/datasets/coco_instance.py',
    '../_base_/schedules/adamw_36e.py',
    '../_base_/runtime/det_runtime.py',
]
# Published ImageNet weights (NVIDIA's, non-commercial licence). Drop path of the paper's detectors
# is not published; 0.2 / 0.3 / 0.5 for FasterViT-2 / 3 / 4 follow the authors' MambaVision.
model = dict(
    backbone=dict(arch='fastervit_0', drop_path_rate=0.2, init_cfg=dict(type='Pretrained'))
)
