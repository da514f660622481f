# The released detector, DINO 4-scale, FasterViT-4-21K-224, batch 16 (8 GPUs x 2): the network as it
# was trained, for the weights that tools/convert_dino_checkpoint.py writes. Its backbone differs
# from ImageNet's: units of its coordinates, padding of all stages, BatchNorm on the emitted maps.
_base_ = './dino_4scale_fastervit_4_21k_224_12e.py'
model = dict(
    backbone=dict(position_unit='token_count', pad_all_stages=True, out_norm='bn', init_cfg=None)
)
