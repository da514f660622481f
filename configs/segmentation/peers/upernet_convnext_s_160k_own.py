# Peer: UperNet with ConvNeXt-S by its own recipe, batch 16 (8 GPUs x 2), ADE20K.
_base_ = './upernet_convnext_t_160k_own.py'
model = dict(backbone=dict(model_name='convnext_small.fb_in1k', drop_path_rate=0.3))
