# UperNet, FasterViT-0, 160k iterations, crop 512, batch 16 (8 GPUs x 2), ADE20K.
_base_ = [
    '../_base_/models/upernet.py',
    '../_base_/datasets/ade20k.py',
    '../_base_/schedules/adamw_160k.py',
    '../_base_/runtime/seg_runtime.py',
]
# Drop path: as in the detectors, unknown for FasterViT and 0.2 in the authors' later runs
# (cascade_fastervit_0_3x.py).
model = dict(
    backbone=dict(arch='fastervit_0', drop_path_rate=0.2, init_cfg=dict(type='Pretrained')),
    decode_head=dict(in_channels=[64, 128, 256, 512]),
    auxiliary_head=dict(in_channels=256),
)
