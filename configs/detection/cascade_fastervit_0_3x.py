# Cascade Mask R-CNN, FasterViT-0, 3x schedule, batch 16 (8 GPUs x 2), COCO.
_base_ = [
    '../_base_/models/cascade_mask_rcnn_fpn.py',
    '../_base_/datasets/coco_instance.py',
    '../_base_/schedules/adamw_36e.py',
    '../_base_/runtime/det_runtime.py',
]
# Published ImageNet weights (NVIDIA's, non-commercial licence). Drop path of the paper's detectors is
# unknown; 0.2 for every size is what the authors' later detectors (MambaVision) really ran: the larger
# values in those configs never reached the network.
model = dict(
    backbone=dict(arch='fastervit_0', drop_path_rate=0.2, init_cfg=dict(type='Pretrained'))
)
