"""``configs/_base_/schedules`` and ``runtime``: optimiser, rates over time, logs, checkpoints."""

LOOPS = {'val_cfg': {'type': 'ValLoop'}, 'test_cfg': {'type': 'TestLoop'}}
BATCH_OF_16 = {'enable': False, 'base_batch_size': 16}

THREE_TIMES = {
    'train_cfg': {'type': 'EpochBasedTrainLoop', 'max_epochs': 36, 'val_interval': 1},
    **LOOPS,
    'optim_wrapper': {
        'type': 'AmpOptimWrapper',
        'optimizer': {'type': 'AdamW', 'lr': 0.0001, 'betas': (0.9, 0.999), 'weight_decay': 0.05},
        'paramwise_cfg': {'norm_decay_mult': 0.0},
    },
    'param_scheduler': [
        {'type': 'LinearLR', 'start_factor': 0.001, 'by_epoch': False, 'begin': 0, 'end': 1000},
        {
            'type': 'MultiStepLR',
            'by_epoch': True,
            'begin': 0,
            'end': 36,
            'milestones': [27, 33],
            'gamma': 0.1,
        },
    ],
    'auto_scale_lr': BATCH_OF_16,
}


def step(epochs: int, milestone: int) -> list[dict]:
    """DINO's schedule: a tenth of the rate from ``milestone`` on."""
    return [
        {
            'type': 'MultiStepLR',
            'by_epoch': True,
            'begin': 0,
            'end': epochs,
            'milestones': [milestone],
            'gamma': 0.1,
        }
    ]


TWELVE_EPOCHS = {
    'train_cfg': {'type': 'EpochBasedTrainLoop', 'max_epochs': 12, 'val_interval': 1},
    **LOOPS,
    'optim_wrapper': {
        'type': 'OptimWrapper',
        'optimizer': {'type': 'AdamW', 'lr': 0.0001, 'weight_decay': 0.0001},
        'clip_grad': {'max_norm': 0.1, 'norm_type': 2},
        'paramwise_cfg': {'custom_keys': {'backbone': {'lr_mult': 0.1}}},
    },
    'param_scheduler': step(12, 11),
    'auto_scale_lr': BATCH_OF_16,
}

ITERATIONS_160K = {
    'train_cfg': {'type': 'IterBasedTrainLoop', 'max_iters': 160000, 'val_interval': 16000},
    **LOOPS,
    'optim_wrapper': {
        'type': 'AmpOptimWrapper',
        'optimizer': {'type': 'AdamW', 'lr': 0.00006, 'betas': (0.9, 0.999), 'weight_decay': 0.01},
        'paramwise_cfg': {'norm_decay_mult': 0.0},
    },
    'param_scheduler': [
        {'type': 'LinearLR', 'start_factor': 0.000001, 'by_epoch': False, 'begin': 0, 'end': 1500},
        {
            'type': 'PolyLR',
            'eta_min': 0.0,
            'power': 1.0,
            'by_epoch': False,
            'begin': 1500,
            'end': 160000,
        },
    ],
    'auto_scale_lr': BATCH_OF_16,
}

# of norms in FasterViT's stages 0 to 3, whose deepest variants have 3, 3, 16 and 8 blocks
BLOCKS_OF_STAGES = [
    f'backbone.levels.{stage}.blocks.{block}.'
    for stage, blocks in ((0, range(3)), (1, range(3)), (2, range(16)), (3, range(8)))
    for block in blocks
]
NORMS_OF_BACKBONE = [
    'backbone.patch_embed.conv_down.1',
    'backbone.patch_embed.conv_down.4',
    'backbone.norm0',
    'backbone.norm1',
    'backbone.norm2',
    'backbone.norm3',
    'backbone.levels.0.downsample.norm',
    'backbone.levels.1.downsample.norm',
    'backbone.levels.2.downsample.norm',
    *(place + norm for place in BLOCKS_OF_STAGES for norm in ('norm', 'hat_norm')),
]
MASK2FORMER_160K = {
    'train_cfg': {'type': 'IterBasedTrainLoop', 'max_iters': 160000, 'val_interval': 5000},
    **LOOPS,
    'backbone_norms': NORMS_OF_BACKBONE,
    'optim_wrapper': {
        'type': 'OptimWrapper',
        'optimizer': {'type': 'AdamW', 'lr': 0.0001, 'betas': (0.9, 0.999), 'weight_decay': 0.05},
        'clip_grad': {'max_norm': 0.01, 'norm_type': 2},
        'paramwise_cfg': {
            'norm_decay_mult': 0.0,
            'custom_keys': {
                'backbone': {'lr_mult': 0.1},
                **{name: {'lr_mult': 0.1, 'decay_mult': 0.0} for name in NORMS_OF_BACKBONE},
                'query_embed': {'decay_mult': 0.0},
                'query_feat': {'decay_mult': 0.0},
                'level_embed': {'decay_mult': 0.0},
            },
        },
    },
    'param_scheduler': [
        {
            'type': 'PolyLR',
            'eta_min': 0.0,
            'power': 0.9,
            'by_epoch': False,
            'begin': 0,
            'end': 160000,
        }
    ],
    'auto_scale_lr': BATCH_OF_16,
}
MASK2FORMER_50_EPOCHS = MASK2FORMER_160K | {
    'train_cfg': {'type': 'IterBasedTrainLoop', 'max_iters': 368750, 'val_interval': 5000},
    'param_scheduler': [
        {
            'type': 'MultiStepLR',
            'by_epoch': False,
            'begin': 0,
            'end': 368750,
            'milestones': [327778, 355092],
            'gamma': 0.1,
        }
    ],
}

# of Swin's own recipe
DECAY_OF_SWIN = {
    'custom_keys': {
        'absolute_pos_embed': {'decay_mult': 0.0},
        'relative_position_bias_table': {'decay_mult': 0.0},
        'norm': {'decay_mult': 0.0},
    }
}

DETECTION_RUNTIME = {
    'default_scope': 'mmdet',
    'default_hooks': {
        'timer': {'type': 'IterTimerHook'},
        'logger': {'type': 'LoggerHook', 'interval': 50},
        'param_scheduler': {'type': 'ParamSchedulerHook'},
        'checkpoint': {
            'type': 'fastervit_mm.ResumableCheckpointHook',
            'interval': 1,
            'max_keep_ckpts': 3,
            'save_best': 'auto',
        },
        'sampler_seed': {'type': 'DistSamplerSeedHook'},
        'finite_loss': {'type': 'fastervit_mm.FiniteLossHook'},
        'visualization': {'type': 'DetVisualizationHook'},
    },
    'env_cfg': {
        'cudnn_benchmark': False,
        'mp_cfg': {'mp_start_method': 'fork', 'opencv_num_threads': 0},
        'dist_cfg': {'backend': 'nccl'},
    },
    'vis_backends': [{'type': 'LocalVisBackend'}],
    'visualizer': {
        'type': 'DetLocalVisualizer',
        'vis_backends': [{'type': 'LocalVisBackend'}],
        'name': 'visualizer',
    },
    'log_processor': {'type': 'LogProcessor', 'window_size': 50, 'by_epoch': True},
    'log_level': 'INFO',
    'load_from': None,
    'resume': False,
}

SEGMENTATION_RUNTIME = {
    'default_scope': 'mmseg',
    'default_hooks': {
        'timer': {'type': 'IterTimerHook'},
        'logger': {'type': 'LoggerHook', 'interval': 50, 'log_metric_by_epoch': False},
        'param_scheduler': {'type': 'ParamSchedulerHook'},
        'checkpoint': {
            'type': 'fastervit_mm.ResumableCheckpointHook',
            'by_epoch': False,
            'interval': 16000,
            'max_keep_ckpts': 3,
            'save_best': 'mIoU',
        },
        'sampler_seed': {'type': 'DistSamplerSeedHook'},
        'finite_loss': {'type': 'fastervit_mm.FiniteLossHook'},
        'visualization': {'type': 'SegVisualizationHook'},
    },
    'env_cfg': {
        'cudnn_benchmark': True,
        'mp_cfg': {'mp_start_method': 'fork', 'opencv_num_threads': 0},
        'dist_cfg': {'backend': 'nccl'},
    },
    'vis_backends': [{'type': 'LocalVisBackend'}],
    'visualizer': {
        'type': 'SegLocalVisualizer',
        'vis_backends': [{'type': 'LocalVisBackend'}],
        'name': 'visualizer',
    },
    'log_processor': {'type': 'LogProcessor', 'window_size': 50, 'by_epoch': False},
    'log_level': 'INFO',
    'load_from': None,
    'resume': False,
}

BLOCKS = {
    'schedules/adamw_36e': THREE_TIMES,
    'schedules/adamw_dino_12e': TWELVE_EPOCHS,
    'schedules/adamw_160k': ITERATIONS_160K,
    'schedules/adamw_mask2former_160k': MASK2FORMER_160K,
    'schedules/adamw_mask2former_50e': MASK2FORMER_50_EPOCHS,
    'runtime/det_runtime': DETECTION_RUNTIME,
    'runtime/seg_runtime': SEGMENTATION_RUNTIME,
}
