# The released detector, DINO 4-scale, FasterViT-4-21K-224, 12 epochs, batch 16 (8 GPUs x 2), COCO: the
# network as the authors trained it, which is not ImageNet's (docs/dino.md): units of its coordinates,
# padding of all stages, BatchNorm on the emitted maps. For training it again: the 21K weights fit, the
# output norms start afresh. For testing what tools/convert_dino_checkpoint.py writes.
_base_ = './dino_4scale_fastervit_4_21k_224_12e.py'
model = dict(backbone=dict(position_unit='token_count', pad_all_stages=True, out_norm='bn'))
