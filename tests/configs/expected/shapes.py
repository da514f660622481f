"""The two demos on drawn shapes: small networks, small images, one CPU."""

from tests.configs.expected.changes import changed, joined
from tests.configs.expected.data import ADE20K, COCO_INSTANCE, COCO_META
from tests.configs.expected.models import CASCADE, UPERNET, box_training
from tests.configs.expected.runs import DETECTION_RUNTIME, LOOPS, SEGMENTATION_RUNTIME

FLIPPED_BOTH_WAYS = {
    'type': 'RandomFlip',
    'prob': [0.3, 0.3],
    'direction': ['horizontal', 'vertical'],
}
SMALL_NETWORK = {
    'dim': 32,
    'in_dim': 16,
    'depths': (1, 1, 2, 1),
    'num_heads': (1, 2, 4, 8),
}


def slim_box_head(*, stds: list[float]) -> dict:
    return {
        'type': 'Shared2FCBBoxHead',
        'in_channels': 96,
        'fc_out_channels': 256,
        'roi_feat_size': 7,
        'num_classes': 3,
        'bbox_coder': {
            'type': 'DeltaXYWHBBoxCoder',
            'target_means': [0.0, 0.0, 0.0, 0.0],
            'target_stds': stds,
        },
        'reg_class_agnostic': True,
        'reg_decoded_bbox': True,
        'loss_cls': {'type': 'CrossEntropyLoss', 'use_sigmoid': False, 'loss_weight': 1.0},
        'loss_bbox': {'type': 'GIoULoss', 'loss_weight': 10.0},
    }


def run(lr: float) -> dict:
    """What both demos train with."""
    return {
        **LOOPS,
        'optim_wrapper': {
            'type': 'OptimWrapper',
            'optimizer': {'type': 'AdamW', 'lr': lr, 'weight_decay': 0.05},
            'paramwise_cfg': {'norm_decay_mult': 0.0},
            'clip_grad': {'max_norm': 5.0},
        },
        'randomness': {'seed': 0},
    }


DETECTION_CLASSES = {
    'classes': ('circle', 'square', 'triangle'),
    'palette': [(220, 60, 60), (60, 160, 60), (60, 90, 220)],
}
DETECTION_TRAIN = [
    {'type': 'LoadImageFromFile'},
    {'type': 'LoadAnnotations', 'with_bbox': True, 'with_mask': True},
    {'type': 'Resize', 'scale': (192, 192), 'keep_ratio': True},
    FLIPPED_BOTH_WAYS,
    {'type': 'PackDetInputs'},
]
DETECTION_TEST = [
    {'type': 'LoadImageFromFile'},
    {'type': 'Resize', 'scale': (192, 192), 'keep_ratio': True},
    {'type': 'LoadAnnotations', 'with_bbox': True, 'with_mask': True},
    {'type': 'PackDetInputs', 'meta_keys': COCO_META},
]
DETECTION_RUN = run(0.001) | {
    'train_cfg': {'type': 'EpochBasedTrainLoop', 'max_epochs': 10, 'val_interval': 5},
    'param_scheduler': [
        {'type': 'LinearLR', 'start_factor': 0.01, 'by_epoch': False, 'begin': 0, 'end': 50},
        {
            'type': 'CosineAnnealingLR',
            'by_epoch': True,
            'begin': 0,
            'end': 10,
            'eta_min': 0.00001,
            'convert_to_iter_based': True,
        },
    ],
    'auto_scale_lr': {'enable': False, 'base_batch_size': 8},
}
CASCADE_SHAPES = changed(
    joined(CASCADE, COCO_INSTANCE, DETECTION_RUN, DETECTION_RUNTIME),
    {
        'classes': ('circle', 'square', 'triangle'),
        'width': 96,
        'metainfo': DETECTION_CLASSES,
        'data_root': 'data/shapes/coco/',
        'model.data_preprocessor.pad_size_divisor': 1,
        'model.backbone.arch': SMALL_NETWORK | {'drop_path_rate': 0.05},
        'model.neck.in_channels': [32, 64, 128, 256],
        'model.neck.out_channels': 96,
        'model.neck.norm_cfg': {'type': 'BN'},
        'model.rpn_head.in_channels': 96,
        'model.rpn_head.feat_channels': 96,
        'model.roi_head.bbox_roi_extractor.out_channels': 96,
        'model.roi_head.bbox_roi_extractor.roi_layer.sampling_ratio': 2,
        'model.roi_head.bbox_head': [
            slim_box_head(stds=[0.1, 0.1, 0.2, 0.2]),
            slim_box_head(stds=[0.05, 0.05, 0.1, 0.1]),
            slim_box_head(stds=[0.033, 0.033, 0.067, 0.067]),
        ],
        'model.roi_head.mask_roi_extractor.out_channels': 96,
        'model.roi_head.mask_roi_extractor.roi_layer.sampling_ratio': 1,
        'model.roi_head.mask_head.num_convs': 2,
        'model.roi_head.mask_head.in_channels': 96,
        'model.roi_head.mask_head.conv_out_channels': 96,
        'model.roi_head.mask_head.num_classes': 3,
        'model.train_cfg.rpn.sampler.num': 64,
        'model.train_cfg.rpn_proposal.nms_pre': 300,
        'model.train_cfg.rpn_proposal.max_per_img': 100,
        'model.train_cfg.rcnn': [
            box_training(iou=0.5, samples=48),
            box_training(iou=0.6, samples=48),
            box_training(iou=0.7, samples=48),
        ],
        'model.test_cfg.rpn.nms_pre': 300,
        'model.test_cfg.rpn.max_per_img': 100,
        'train_pipeline': DETECTION_TRAIN,
        'test_pipeline': DETECTION_TEST,
        'train_dataloader.batch_size': 8,
        'train_dataloader.num_workers': 1,
        'train_dataloader.dataset.data_root': 'data/shapes/coco/',
        'train_dataloader.dataset.metainfo': DETECTION_CLASSES,
        'train_dataloader.dataset.pipeline': DETECTION_TRAIN,
        'val_dataloader.num_workers': 1,
        'val_dataloader.dataset.data_root': 'data/shapes/coco/',
        'val_dataloader.dataset.metainfo': DETECTION_CLASSES,
        'val_dataloader.dataset.pipeline': DETECTION_TEST,
        'test_dataloader.num_workers': 1,
        'test_dataloader.dataset.data_root': 'data/shapes/coco/',
        'test_dataloader.dataset.metainfo': DETECTION_CLASSES,
        'test_dataloader.dataset.pipeline': DETECTION_TEST,
        'val_evaluator.ann_file': 'data/shapes/coco/annotations/instances_val2017.json',
        'test_evaluator.ann_file': 'data/shapes/coco/annotations/instances_val2017.json',
        'default_hooks.logger.interval': 10,
    },
)

SEGMENTATION_CLASSES = {
    'classes': ('background', 'circle', 'square', 'triangle'),
    'palette': [(120, 120, 120), (220, 60, 60), (60, 160, 60), (60, 90, 220)],
}
SEGMENTATION_DATASET = {
    'type': 'BaseSegDataset',
    'reduce_zero_label': True,
    'data_root': 'data/shapes/ade/',
}
SEGMENTATION_TRAIN = [
    {'type': 'LoadImageFromFile'},
    {'type': 'LoadAnnotations', 'reduce_zero_label': True},
    {'type': 'Resize', 'scale': (96, 96), 'keep_ratio': True},
    FLIPPED_BOTH_WAYS,
    {'type': 'PackSegInputs'},
]
SEGMENTATION_TEST = [
    {'type': 'LoadImageFromFile'},
    {'type': 'Resize', 'scale': (96, 96), 'keep_ratio': True},
    {'type': 'LoadAnnotations', 'reduce_zero_label': True},
    {'type': 'PackSegInputs'},
]
SEGMENTATION_RUN = run(0.002) | {
    'train_cfg': {'type': 'IterBasedTrainLoop', 'max_iters': 1100, 'val_interval': 550},
    'param_scheduler': [
        {'type': 'LinearLR', 'start_factor': 0.01, 'by_epoch': False, 'begin': 0, 'end': 100},
        {
            'type': 'CosineAnnealingLR',
            'by_epoch': False,
            'begin': 100,
            'end': 1100,
            'eta_min': 0.00001,
        },
    ],
    'auto_scale_lr': {'enable': False, 'base_batch_size': 16},
}
MOSTLY_BACKGROUND = {'class_weight': [0.2, 1.0, 1.0, 1.0]}


def segmentation_loader(loader: str, pipeline: list[dict]) -> dict:
    return {
        f'{loader}.num_workers': 1,
        f'{loader}.dataset.type': 'BaseSegDataset',
        f'{loader}.dataset.reduce_zero_label': True,
        f'{loader}.dataset.data_root': 'data/shapes/ade/',
        f'{loader}.dataset.metainfo': SEGMENTATION_CLASSES,
        f'{loader}.dataset.pipeline': pipeline,
    }


def slim_head(head: str) -> dict:
    return {
        f'model.{head}.channels': 64,
        f'model.{head}.dropout_ratio': 0.0,
        f'model.{head}.num_classes': 4,
        f'model.{head}.loss_decode.class_weight': [0.2, 1.0, 1.0, 1.0],
    }


UPERNET_SHAPES = changed(
    joined(UPERNET, ADE20K, SEGMENTATION_RUN, SEGMENTATION_RUNTIME),
    {
        'classes': ('background', 'circle', 'square', 'triangle'),
        'loss': MOSTLY_BACKGROUND,
        'dataset': SEGMENTATION_DATASET,
        'metainfo': SEGMENTATION_CLASSES,
        'data_root': 'data/shapes/ade/',
        'model.data_preprocessor.size': (96, 96),
        'model.backbone.arch': SMALL_NETWORK,
        'model.backbone.out_norm': 'bn',
        'model.decode_head.in_channels': [32, 64, 128, 256],
        'model.auxiliary_head.in_channels': 128,
        **slim_head('decode_head'),
        **slim_head('auxiliary_head'),
        'train_pipeline': SEGMENTATION_TRAIN,
        'test_pipeline': SEGMENTATION_TEST,
        'train_dataloader.batch_size': 16,
        **segmentation_loader('train_dataloader', SEGMENTATION_TRAIN),
        **segmentation_loader('val_dataloader', SEGMENTATION_TEST),
        **segmentation_loader('test_dataloader', SEGMENTATION_TEST),
        'default_hooks.logger.interval': 10,
        'default_hooks.checkpoint.interval': 550,
        'env_cfg.cudnn_benchmark': False,
    },
)
