# The released detector for your own photographs on one GPU: 12 epochs, batch 2 (1 GPU x 2), fp32 with
# activation checkpointing. `--from` takes the converted weights (docs/dino.md), `--data FOLDER` the
# photographs; --data also scales the learning rate, which is for batches of 16.
_base_ = './dino_4scale_fastervit_4_21k_224_12e_released.py'
default_hooks = dict(checkpoint=dict(max_keep_ckpts=1))  # and the best one: 3.5 GB each
