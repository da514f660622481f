"""``configs/_base_/models``: heads, losses, anchors, assigners, samplers, thresholds."""

# of RGB images, 0 to 255
IMAGENET_MEAN = [123.675, 116.28, 103.53]
IMAGENET_STD = [58.395, 57.12, 57.375]


def box_head(*, stds: list[float]) -> dict:
    """One stage's: 4 convolutions, 1 fully connected layer, GIoU on decoded boxes."""
    return {
        'type': 'ConvFCBBoxHead',
        'num_shared_convs': 4,
        'num_shared_fcs': 1,
        'in_channels': 256,
        'conv_out_channels': 256,
        'fc_out_channels': 1024,
        'roi_feat_size': 7,
        'num_classes': 80,
        'norm_cfg': {'type': 'SyncBN', 'requires_grad': True},
        'bbox_coder': {
            'type': 'DeltaXYWHBBoxCoder',
            'target_means': [0.0, 0.0, 0.0, 0.0],
            'target_stds': stds,
        },
        'reg_class_agnostic': False,
        'reg_decoded_bbox': True,
        'loss_cls': {'type': 'CrossEntropyLoss', 'use_sigmoid': False, 'loss_weight': 1.0},
        'loss_bbox': {'type': 'GIoULoss', 'loss_weight': 10.0},
    }


def box_training(*, iou: float, samples: int) -> dict:
    """One stage's assigner and sampler."""
    return {
        'assigner': {
            'type': 'MaxIoUAssigner',
            'pos_iou_thr': iou,
            'neg_iou_thr': iou,
            'min_pos_iou': iou,
            'match_low_quality': False,
            'ignore_iof_thr': -1,
        },
        'sampler': {
            'type': 'RandomSampler',
            'num': samples,
            'pos_fraction': 0.25,
            'neg_pos_ub': -1,
            'add_gt_as_proposals': True,
        },
        'mask_size': 28,
        'pos_weight': -1,
        'debug': False,
    }


def regions(*, size: int) -> dict:
    return {
        'type': 'SingleRoIExtractor',
        'roi_layer': {'type': 'RoIAlign', 'output_size': size, 'sampling_ratio': 0},
        'out_channels': 256,
        'featmap_strides': [4, 8, 16, 32],
    }


CASCADE = {
    'sync_bn': None,
    'custom_imports': {'imports': ['fastervit_mm'], 'allow_failed_imports': False},
    'model': {
        'type': 'CascadeRCNN',
        'data_preprocessor': {
            'type': 'DetDataPreprocessor',
            'mean': IMAGENET_MEAN,
            'std': IMAGENET_STD,
            'bgr_to_rgb': True,
            'pad_mask': True,
            'pad_size_divisor': 32,
        },
        'backbone': {'type': 'fastervit_mm.FasterViT', 'out_indices': (0, 1, 2, 3)},
        'neck': {
            'type': 'FPN',
            'in_channels': [64, 128, 256, 512],
            'out_channels': 256,
            'num_outs': 5,
        },
        'rpn_head': {
            'type': 'RPNHead',
            'in_channels': 256,
            'feat_channels': 256,
            'anchor_generator': {
                'type': 'AnchorGenerator',
                'scales': [8],
                'ratios': [0.5, 1.0, 2.0],
                'strides': [4, 8, 16, 32, 64],
            },
            'bbox_coder': {
                'type': 'DeltaXYWHBBoxCoder',
                'target_means': [0.0, 0.0, 0.0, 0.0],
                'target_stds': [1.0, 1.0, 1.0, 1.0],
            },
            'loss_cls': {'type': 'CrossEntropyLoss', 'use_sigmoid': True, 'loss_weight': 1.0},
            'loss_bbox': {'type': 'SmoothL1Loss', 'beta': 0.1111111111111111, 'loss_weight': 1.0},
        },
        'roi_head': {
            'type': 'CascadeRoIHead',
            'num_stages': 3,
            'stage_loss_weights': [1, 0.5, 0.25],
            'bbox_roi_extractor': regions(size=7),
            'bbox_head': [
                box_head(stds=[0.1, 0.1, 0.2, 0.2]),
                box_head(stds=[0.05, 0.05, 0.1, 0.1]),
                box_head(stds=[0.033, 0.033, 0.067, 0.067]),
            ],
            'mask_roi_extractor': regions(size=14),
            'mask_head': {
                'type': 'FCNMaskHead',
                'num_convs': 4,
                'in_channels': 256,
                'conv_out_channels': 256,
                'num_classes': 80,
                'loss_mask': {'type': 'CrossEntropyLoss', 'use_mask': True, 'loss_weight': 1.0},
            },
        },
        'train_cfg': {
            'rpn': {
                'assigner': {
                    'type': 'MaxIoUAssigner',
                    'pos_iou_thr': 0.7,
                    'neg_iou_thr': 0.3,
                    'min_pos_iou': 0.3,
                    'match_low_quality': True,
                    'ignore_iof_thr': -1,
                },
                'sampler': {
                    'type': 'RandomSampler',
                    'num': 256,
                    'pos_fraction': 0.5,
                    'neg_pos_ub': -1,
                    'add_gt_as_proposals': False,
                },
                'allowed_border': 0,
                'pos_weight': -1,
                'debug': False,
            },
            'rpn_proposal': {
                'nms_pre': 2000,
                'max_per_img': 2000,
                'nms': {'type': 'nms', 'iou_threshold': 0.7},
                'min_bbox_size': 0,
            },
            'rcnn': [
                box_training(iou=0.5, samples=512),
                box_training(iou=0.6, samples=512),
                box_training(iou=0.7, samples=512),
            ],
        },
        'test_cfg': {
            'rpn': {
                'nms_pre': 1000,
                'max_per_img': 1000,
                'nms': {'type': 'nms', 'iou_threshold': 0.7},
                'min_bbox_size': 0,
            },
            'rcnn': {
                'score_thr': 0.05,
                'nms': {'type': 'nms', 'iou_threshold': 0.5},
                'max_per_img': 100,
                'mask_thr_binary': 0.5,
            },
        },
    },
    'tta_model': {
        'type': 'DetTTAModel',
        'tta_cfg': {'nms': {'type': 'nms', 'iou_threshold': 0.5}, 'max_per_img': 100},
    },
}

FEED_FORWARD = {'embed_dims': 256, 'feedforward_channels': 2048, 'ffn_drop': 0.0}
DINO = {
    'sync_bn': None,
    'custom_imports': {'imports': ['fastervit_mm.models.dino'], 'allow_failed_imports': False},
    'model': {
        'type': 'fastervit_mm.DINO',
        'num_queries': 900,
        'with_box_refine': True,
        'as_two_stage': True,
        'num_feature_levels': 4,
        'data_preprocessor': {
            'type': 'DetDataPreprocessor',
            'mean': IMAGENET_MEAN,
            'std': IMAGENET_STD,
            'bgr_to_rgb': True,
            'pad_size_divisor': 1,
        },
        'backbone': {
            'type': 'fastervit_mm.FasterViT',
            'out_indices': (1, 2, 3),
            'drop_path_rate': 0.1,
            'with_cp': True,
        },
        'neck': {
            'type': 'ChannelMapper',
            'in_channels': [128, 256, 512],
            'kernel_size': 1,
            'out_channels': 256,
            'bias': True,
            'act_cfg': None,
            'norm_cfg': {'type': 'GN', 'num_groups': 32},
            'num_outs': 4,
        },
        'encoder': {
            'num_layers': 6,
            'layer_cfg': {
                'self_attn_cfg': {'embed_dims': 256, 'num_levels': 4, 'dropout': 0.0},
                'ffn_cfg': FEED_FORWARD,
            },
        },
        'decoder': {
            'num_layers': 6,
            'return_intermediate': True,
            'layer_cfg': {
                'self_attn_cfg': {'embed_dims': 256, 'num_heads': 8, 'dropout': 0.0},
                'cross_attn_cfg': {'embed_dims': 256, 'num_levels': 4, 'dropout': 0.0},
                'ffn_cfg': FEED_FORWARD,
            },
            'post_norm_cfg': None,
        },
        'positional_encoding': {
            'num_feats': 128,
            'normalize': True,
            'offset': 0.0,
            'temperature': 20,
        },
        'bbox_head': {
            'type': 'DINOHead',
            'num_classes': 80,
            'sync_cls_avg_factor': True,
            'loss_cls': {
                'type': 'FocalLoss',
                'use_sigmoid': True,
                'gamma': 2.0,
                'alpha': 0.25,
                'loss_weight': 1.0,
            },
            'loss_bbox': {'type': 'L1Loss', 'loss_weight': 5.0},
            'loss_iou': {'type': 'GIoULoss', 'loss_weight': 2.0},
        },
        'dn_cfg': {
            'label_noise_scale': 0.5,
            'box_noise_scale': 0.4,
            'group_cfg': {'dynamic': True, 'num_groups': None, 'num_dn_queries': 100},
        },
        'train_cfg': {
            'assigner': {
                'type': 'HungarianAssigner',
                'match_costs': [
                    {'type': 'FocalLossCost', 'weight': 2.0},
                    {'type': 'BBoxL1Cost', 'weight': 5.0, 'box_format': 'xywh'},
                    {'type': 'IoUCost', 'iou_mode': 'giou', 'weight': 2.0},
                ],
            }
        },
        'test_cfg': {'max_per_img': 300},
    },
    'tta_model': {
        'type': 'DetTTAModel',
        'tta_cfg': {'nms': {'type': 'nms', 'iou_threshold': 0.7}, 'max_per_img': 100},
    },
}

UPERNET = {
    'sync_bn': None,
    'custom_imports': {'imports': ['fastervit_mm'], 'allow_failed_imports': False},
    'norm_cfg': {'type': 'SyncBN', 'requires_grad': True},
    'model': {
        'type': 'EncoderDecoder',
        'data_preprocessor': {
            'type': 'SegDataPreProcessor',
            'mean': IMAGENET_MEAN,
            'std': IMAGENET_STD,
            'bgr_to_rgb': True,
            'pad_val': 0,
            'seg_pad_val': 255,
            'size': (512, 512),
        },
        'backbone': {'type': 'fastervit_mm.FasterViT', 'out_indices': (0, 1, 2, 3)},
        'decode_head': {
            'type': 'UPerHead',
            'in_channels': [64, 128, 256, 512],
            'in_index': [0, 1, 2, 3],
            'pool_scales': (1, 2, 3, 6),
            'channels': 512,
            'dropout_ratio': 0.1,
            'num_classes': 150,
            'norm_cfg': {'type': 'SyncBN', 'requires_grad': True},
            'align_corners': False,
            'loss_decode': {'type': 'CrossEntropyLoss', 'use_sigmoid': False, 'loss_weight': 1.0},
        },
        'auxiliary_head': {
            'type': 'FCNHead',
            'in_channels': 256,
            'in_index': 2,
            'channels': 256,
            'num_convs': 1,
            'concat_input': False,
            'dropout_ratio': 0.1,
            'num_classes': 150,
            'norm_cfg': {'type': 'SyncBN', 'requires_grad': True},
            'align_corners': False,
            'loss_decode': {'type': 'CrossEntropyLoss', 'use_sigmoid': False, 'loss_weight': 0.4},
        },
        'train_cfg': {},
        'test_cfg': {'mode': 'whole'},
    },
    'tta_model': {'type': 'SegTTAModel'},
}


def queries(classes: dict, scope: str = '') -> dict:
    """Mask2Former's head.

    Args:
        classes: what says how many there are.
        scope: of mmdet's parts, 'mmdet.' in mmseg.
    """
    count = sum(classes.values())
    positions = {'num_feats': 128, 'normalize': True}
    attention = {'embed_dims': 256, 'num_heads': 8, 'dropout': 0.0, 'batch_first': True}
    sampled = {'num_levels': 3, 'num_points': 4}
    narrow = {'embed_dims': 256, 'feedforward_channels': 1024, 'ffn_drop': 0.0}
    cross_entropy = {'type': f'{scope}CrossEntropyLoss', 'reduction': 'mean'}
    return {
        'type': 'Mask2FormerHead',
        'in_channels': [64, 128, 256, 512],
        'strides': [4, 8, 16, 32],
        'feat_channels': 256,
        'out_channels': 256,
        **classes,
        'num_queries': 100,
        'num_transformer_feat_level': 3,
        'pixel_decoder': {
            'type': f'{scope}MSDeformAttnPixelDecoder',
            'num_outs': 3,
            'norm_cfg': {'type': 'GN', 'num_groups': 32},
            'act_cfg': {'type': 'ReLU'},
            'encoder': {
                'num_layers': 6,
                'layer_cfg': {'self_attn_cfg': attention | sampled, 'ffn_cfg': narrow},
            },
            'positional_encoding': positions,
        },
        'enforce_decoder_input_project': False,
        'positional_encoding': positions,
        'transformer_decoder': {
            'return_intermediate': True,
            'num_layers': 9,
            'layer_cfg': {
                'self_attn_cfg': attention,
                'cross_attn_cfg': attention,
                'ffn_cfg': FEED_FORWARD,
            },
            'init_cfg': None,
        },
        'loss_cls': cross_entropy
        | {'use_sigmoid': False, 'loss_weight': 2.0, 'class_weight': [1.0] * count + [0.1]},
        'loss_mask': cross_entropy | {'use_sigmoid': True, 'loss_weight': 5.0},
        'loss_dice': {
            'type': f'{scope}DiceLoss',
            'use_sigmoid': True,
            'activate': True,
            'reduction': 'mean',
            'naive_dice': True,
            'eps': 1.0,
            'loss_weight': 5.0,
        },
    }


def matching(scope: str = '') -> dict:
    """How Mask2Former's queries get their truth, on points of the masks."""
    return {
        'num_points': 12544,
        'oversample_ratio': 3.0,
        'importance_sample_ratio': 0.75,
        'assigner': {
            'type': f'{scope}HungarianAssigner',
            'match_costs': [
                {'type': f'{scope}ClassificationCost', 'weight': 2.0},
                {'type': f'{scope}CrossEntropyLossCost', 'weight': 5.0, 'use_sigmoid': True},
                {'type': f'{scope}DiceCost', 'weight': 5.0, 'pred_act': True, 'eps': 1.0},
            ],
        },
        'sampler': {'type': f'{scope}MaskPseudoSampler'},
    }


THINGS_AND_STUFF = {'num_things_classes': 80, 'num_stuff_classes': 53}
PADDED_WITH = {'pad_mask': True, 'mask_pad_value': 0, 'pad_seg': True, 'seg_pad_value': 255}
PANOPTIC = {
    'sync_bn': None,
    'custom_imports': {'imports': ['fastervit_mm'], 'allow_failed_imports': False},
    'image_size': (1024, 1024),
    'things': 80,
    'stuff': 53,
    'model': {
        'type': 'Mask2Former',
        'data_preprocessor': {
            'type': 'DetDataPreprocessor',
            'mean': IMAGENET_MEAN,
            'std': IMAGENET_STD,
            'bgr_to_rgb': True,
            'pad_size_divisor': 32,
            **PADDED_WITH,
            'batch_augments': [
                {
                    'type': 'BatchFixedSizePad',
                    'size': (1024, 1024),
                    'img_pad_value': 0,
                    **PADDED_WITH,
                }
            ],
        },
        'backbone': {'type': 'fastervit_mm.FasterViT', 'out_indices': (0, 1, 2, 3)},
        'panoptic_head': queries(THINGS_AND_STUFF),
        'panoptic_fusion_head': {
            'type': 'MaskFormerFusionHead',
            **THINGS_AND_STUFF,
            'loss_panoptic': None,
            'init_cfg': None,
        },
        'train_cfg': matching(),
        'test_cfg': {
            'panoptic_on': True,
            'semantic_on': False,
            'instance_on': True,
            'max_per_image': 100,
            'iou_thr': 0.8,
            'filter_low_score': True,
        },
        'init_cfg': None,
    },
}

SEMANTIC = {
    'sync_bn': None,
    'custom_imports': {
        'imports': ['fastervit_mm', 'mmdet.models'],
        'allow_failed_imports': False,
    },
    'num_classes': 150,
    'model': {
        'type': 'EncoderDecoder',
        'data_preprocessor': UPERNET['model']['data_preprocessor']
        | {'test_cfg': {'size_divisor': 32}},
        'backbone': {'type': 'fastervit_mm.FasterViT', 'out_indices': (0, 1, 2, 3)},
        'decode_head': {
            **queries({'num_classes': 150}, 'mmdet.'),
            'align_corners': False,
            'train_cfg': matching('mmdet.'),
        },
        'train_cfg': {},
        'test_cfg': {'mode': 'whole'},
    },
    'tta_model': {'type': 'SegTTAModel'},
}

BLOCKS = {
    'models/cascade_mask_rcnn_fpn': CASCADE,
    'models/dino': DINO,
    'models/upernet': UPERNET,
    'models/mask2former_panoptic': PANOPTIC,
    'models/mask2former_semantic': SEMANTIC,
}
