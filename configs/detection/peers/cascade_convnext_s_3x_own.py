# Peer: Cascade Mask R-CNN with ConvNeXt-S by its own recipe, batch 16 (8 GPUs x 2), COCO.
_base_ = './cascade_convnext_t_3x_own.py'
model = dict(backbone=dict(model_name='convnext_small.fb_in1k', drop_path_rate=0.6))
