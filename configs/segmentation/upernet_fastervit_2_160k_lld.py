# As upernet_fastervit_2_160k, batch 16 (8 GPUs x 2), with rates that fall by 0.9 from block to block
# (ours: nothing is published).
_base_ = './upernet_fastervit_2_160k.py'
optim_wrapper = dict(
    constructor='fastervit_mm.LayerDecayOptimWrapperConstructor',
    paramwise_cfg=dict(layer_decay_rate=0.9),
)
