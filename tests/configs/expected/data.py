"""``configs/_base_/datasets``: sizes, crops, flips, loaders, samplers, paths, evaluators."""

from tests.configs.expected.changes import changed

# shorter side, longest side
COCO_SCALES = [
    (480, 1333),
    (512, 1333),
    (544, 1333),
    (576, 1333),
    (608, 1333),
    (640, 1333),
    (672, 1333),
    (704, 1333),
    (736, 1333),
    (768, 1333),
    (800, 1333),
]


def resized_with_or_without_crop(before: list[tuple[int, int]]) -> dict:
    """Args: before: scales before the crop."""
    crop = [
        {'type': 'RandomChoiceResize', 'scales': before, 'keep_ratio': True},
        {
            'type': 'RandomCrop',
            'crop_type': 'absolute_range',
            'crop_size': (384, 600),
            'allow_negative_crop': True,
        },
        {'type': 'RandomChoiceResize', 'scales': COCO_SCALES, 'keep_ratio': True},
    ]
    return {
        'type': 'RandomChoice',  # each with a probability of one half
        'transforms': [
            [{'type': 'RandomChoiceResize', 'scales': COCO_SCALES, 'keep_ratio': True}],
            crop,
        ],
    }


COCO_META = ('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor')
COCO_META_FLIPPED = (
    'img_id',
    'img_path',
    'ori_shape',
    'img_shape',
    'scale_factor',
    'flip',
    'flip_direction',
)

COCO_MASKS_TRAIN = [
    {'type': 'LoadImageFromFile', 'backend_args': None},
    {'type': 'LoadAnnotations', 'with_bbox': True, 'with_mask': True},
    {'type': 'RandomFlip', 'prob': 0.5},
    resized_with_or_without_crop([(400, 1333), (500, 1333), (600, 1333)]),
    {'type': 'PackDetInputs'},
]
COCO_MASKS_TEST = [
    {'type': 'LoadImageFromFile', 'backend_args': None},
    {'type': 'Resize', 'scale': (1333, 800), 'keep_ratio': True},
    {'type': 'LoadAnnotations', 'with_bbox': True, 'with_mask': True},
    {'type': 'PackDetInputs', 'meta_keys': COCO_META},
]
COCO_TTA = [
    {'type': 'LoadImageFromFile', 'backend_args': None},
    {
        'type': 'TestTimeAug',
        'transforms': [
            [{'type': 'Resize', 'scale': (1333, 800), 'keep_ratio': True}],
            [{'type': 'RandomFlip', 'prob': 1.0}, {'type': 'RandomFlip', 'prob': 0.0}],
            [{'type': 'LoadAnnotations', 'with_bbox': True}],
            [{'type': 'PackDetInputs', 'meta_keys': COCO_META_FLIPPED}],
        ],
    },
]
COCO_VAL_LOADER = {
    'batch_size': 1,
    'num_workers': 2,
    'persistent_workers': True,
    'drop_last': False,
    'sampler': {'type': 'DefaultSampler', 'shuffle': False},
    'dataset': {
        'type': 'CocoDataset',
        'data_root': 'data/coco/',
        'ann_file': 'annotations/instances_val2017.json',
        'data_prefix': {'img': 'val2017/'},
        'test_mode': True,
        'pipeline': COCO_MASKS_TEST,
        'backend_args': None,
    },
}
COCO_METRIC = {
    'type': 'CocoMetric',
    'ann_file': 'data/coco/annotations/instances_val2017.json',
    'metric': ['bbox', 'segm'],
    'format_only': False,
    'backend_args': None,
}
COCO_INSTANCE = {
    'dataset_type': 'CocoDataset',
    'data_root': 'data/coco/',
    'backend_args': None,
    'train_scales': COCO_SCALES,
    'test_meta': COCO_META,
    'train_pipeline': COCO_MASKS_TRAIN,
    'test_pipeline': COCO_MASKS_TEST,
    'tta_pipeline': COCO_TTA,
    'train_dataloader': {
        'batch_size': 2,
        'num_workers': 4,
        'persistent_workers': True,
        'sampler': {'type': 'DefaultSampler', 'shuffle': True},
        'batch_sampler': {'type': 'AspectRatioBatchSampler'},
        'dataset': {
            'type': 'CocoDataset',
            'data_root': 'data/coco/',
            'ann_file': 'annotations/instances_train2017.json',
            'data_prefix': {'img': 'train2017/'},
            'filter_cfg': {'filter_empty_gt': True, 'min_size': 32},
            'pipeline': COCO_MASKS_TRAIN,
            'backend_args': None,
        },
    },
    'val_dataloader': COCO_VAL_LOADER,
    'test_dataloader': COCO_VAL_LOADER,
    'val_evaluator': COCO_METRIC,
    'test_evaluator': COCO_METRIC,
}

# the same without masks; images without objects are kept
COCO_BOXES_TRAIN = [
    {'type': 'LoadImageFromFile'},
    {'type': 'LoadAnnotations', 'with_bbox': True},
    {'type': 'RandomFlip', 'prob': 0.5},
    resized_with_or_without_crop([(400, 4200), (500, 4200), (600, 4200)]),
    {'type': 'PackDetInputs'},
]
COCO_BOXES_TEST = [
    {'type': 'LoadImageFromFile'},
    {'type': 'Resize', 'scale': (1333, 800), 'keep_ratio': True},
    {'type': 'LoadAnnotations', 'with_bbox': True},
    {'type': 'PackDetInputs', 'meta_keys': COCO_META},
]
COCO_DETECTION = changed(
    COCO_INSTANCE,
    {
        'train_pipeline': COCO_BOXES_TRAIN,
        'test_pipeline': COCO_BOXES_TEST,
        'train_dataloader.dataset.pipeline': COCO_BOXES_TRAIN,
        'train_dataloader.dataset.filter_cfg.filter_empty_gt': False,
        'val_dataloader.dataset.pipeline': COCO_BOXES_TEST,
        'test_dataloader.dataset.pipeline': COCO_BOXES_TEST,
        'val_evaluator.metric': 'bbox',
        'test_evaluator.metric': 'bbox',
    },
)


def ade_train(scale: tuple[int, int], crop: tuple[int, int]) -> list[dict]:
    return [
        {'type': 'LoadImageFromFile'},
        {'type': 'LoadAnnotations', 'reduce_zero_label': True},
        {'type': 'RandomResize', 'scale': scale, 'ratio_range': (0.5, 2.0), 'keep_ratio': True},
        {'type': 'RandomCrop', 'crop_size': crop, 'cat_max_ratio': 0.75},
        {'type': 'RandomFlip', 'prob': 0.5},
        {'type': 'PhotoMetricDistortion'},
        {'type': 'PackSegInputs'},
    ]


def ade_test(scale: tuple[int, int]) -> list[dict]:
    return [
        {'type': 'LoadImageFromFile'},
        {'type': 'Resize', 'scale': scale, 'keep_ratio': True},
        {'type': 'LoadAnnotations', 'reduce_zero_label': True},
        {'type': 'PackSegInputs'},
    ]


def ade_tta(scales: list[tuple[int, int]]) -> list[dict]:
    return [
        {'type': 'LoadImageFromFile'},
        {
            'type': 'TestTimeAug',
            'transforms': [
                [{'type': 'Resize', 'scale': scale, 'keep_ratio': True} for scale in scales],
                [
                    {'type': 'RandomFlip', 'prob': 0.0, 'direction': 'horizontal'},
                    {'type': 'RandomFlip', 'prob': 1.0, 'direction': 'horizontal'},
                ],
                [{'type': 'LoadAnnotations', 'reduce_zero_label': True}],
                [{'type': 'PackSegInputs'}],
            ],
        },
    ]


ADE_TRAIN = ade_train((2048, 512), (512, 512))
ADE_TEST = ade_test((2048, 512))
ADE_TTA = ade_tta([(1024, 256), (1536, 384), (2048, 512), (2560, 640), (3072, 768), (3584, 896)])
ADE_VAL_LOADER = {
    'batch_size': 1,
    'num_workers': 2,
    'persistent_workers': True,
    'sampler': {'type': 'DefaultSampler', 'shuffle': False},
    'dataset': {
        'type': 'ADE20KDataset',
        'data_root': 'data/ade/ADEChallengeData2016/',
        'data_prefix': {
            'img_path': 'images/validation',
            'seg_map_path': 'annotations/validation',
        },
        'pipeline': ADE_TEST,
    },
}
ADE20K = {
    'dataset_type': 'ADE20KDataset',
    'data_root': 'data/ade/ADEChallengeData2016/',
    'crop_size': (512, 512),
    'train_pipeline': ADE_TRAIN,
    'test_pipeline': ADE_TEST,
    'tta_pipeline': ADE_TTA,
    'train_dataloader': {
        'batch_size': 2,
        'num_workers': 4,
        'persistent_workers': True,
        'sampler': {'type': 'InfiniteSampler', 'shuffle': True},
        'dataset': {
            'type': 'ADE20KDataset',
            'data_root': 'data/ade/ADEChallengeData2016/',
            'data_prefix': {'img_path': 'images/training', 'seg_map_path': 'annotations/training'},
            'pipeline': ADE_TRAIN,
        },
    },
    'val_dataloader': ADE_VAL_LOADER,
    'test_dataloader': ADE_VAL_LOADER,
    'val_evaluator': {'type': 'IoUMetric', 'iou_metrics': ['mIoU']},
    'test_evaluator': {'type': 'IoUMetric', 'iou_metrics': ['mIoU']},
}

ADE20K_640 = changed(
    ADE20K,
    {
        'crop_size': (640, 640),
        'train_pipeline': ade_train((2560, 640), (640, 640)),
        'train_dataloader.dataset.pipeline': ade_train((2560, 640), (640, 640)),
        'test_pipeline': ade_test((2560, 640)),
        'val_dataloader.dataset.pipeline': ade_test((2560, 640)),
        'test_dataloader.dataset.pipeline': ade_test((2560, 640)),
        'tta_pipeline': ade_tta(
            [(1280, 320), (1920, 480), (2560, 640), (3200, 800), (3840, 960), (4480, 1120)]
        ),
    },
)

PANOPTIC_TRAIN = [
    {'type': 'LoadImageFromFile', 'to_float32': True},
    {
        'type': 'LoadPanopticAnnotations',
        'with_bbox': True,
        'with_mask': True,
        'with_seg': True,
    },
    {'type': 'RandomFlip', 'prob': 0.5},
    {'type': 'RandomResize', 'scale': (1024, 1024), 'ratio_range': (0.1, 2.0), 'keep_ratio': True},
    {
        'type': 'RandomCrop',
        'crop_type': 'absolute',
        'crop_size': (1024, 1024),
        'recompute_bbox': True,
        'allow_negative_crop': True,
    },
    {'type': 'PackDetInputs'},
]
PANOPTIC_TEST = [
    {'type': 'LoadImageFromFile'},
    {'type': 'Resize', 'scale': (1333, 800), 'keep_ratio': True},
    {'type': 'LoadPanopticAnnotations'},
    {'type': 'PackDetInputs', 'meta_keys': COCO_META},
]
PANOPTIC_VAL_LOADER = {
    'batch_size': 1,
    'num_workers': 2,
    'persistent_workers': True,
    'drop_last': False,
    'sampler': {'type': 'DefaultSampler', 'shuffle': False},
    'dataset': {
        'type': 'CocoPanopticDataset',
        'data_root': 'data/coco/',
        'ann_file': 'annotations/panoptic_val2017.json',
        'data_prefix': {'img': 'val2017/', 'seg': 'annotations/panoptic_val2017/'},
        'test_mode': True,
        'pipeline': PANOPTIC_TEST,
    },
}
PANOPTIC_METRICS = [
    {
        'type': 'CocoPanopticMetric',
        'ann_file': 'data/coco/annotations/panoptic_val2017.json',
        'seg_prefix': 'data/coco/annotations/panoptic_val2017/',
    },
    {
        'type': 'CocoMetric',
        'ann_file': 'data/coco/annotations/instances_val2017.json',
        'metric': ['bbox', 'segm'],
    },
]
COCO_PANOPTIC = {
    'dataset_type': 'CocoPanopticDataset',
    'data_root': 'data/coco/',
    'crop_size': (1024, 1024),
    'train_pipeline': PANOPTIC_TRAIN,
    'test_pipeline': PANOPTIC_TEST,
    'train_dataloader': {
        'batch_size': 2,
        'num_workers': 4,
        'persistent_workers': True,
        'sampler': {'type': 'DefaultSampler', 'shuffle': True},
        'batch_sampler': {'type': 'AspectRatioBatchSampler'},
        'dataset': {
            'type': 'CocoPanopticDataset',
            'data_root': 'data/coco/',
            'ann_file': 'annotations/panoptic_train2017.json',
            'data_prefix': {'img': 'train2017/', 'seg': 'annotations/panoptic_train2017/'},
            'filter_cfg': {'filter_empty_gt': True, 'min_size': 32},
            'pipeline': PANOPTIC_TRAIN,
        },
    },
    'val_dataloader': PANOPTIC_VAL_LOADER,
    'test_dataloader': PANOPTIC_VAL_LOADER,
    'val_evaluator': PANOPTIC_METRICS,
    'test_evaluator': PANOPTIC_METRICS,
}

BLOCKS = {
    'datasets/coco_instance': COCO_INSTANCE,
    'datasets/coco_panoptic': COCO_PANOPTIC,
    'datasets/coco_detection': COCO_DETECTION,
    'datasets/ade20k': ADE20K,
    'datasets/ade20k_640': ADE20K_640,
}
