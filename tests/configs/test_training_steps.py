"""One small member of each family takes a forward and a training step on a CPU."""

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope

from tests.batches import detection_batch, segmentation_batch
from tests.configs.resolved import read
from tests.helpers import SMALL

SMALL_CHANNELS = [16, 32, 64, 128]
STAGES = [f's{i}.{name}' for i in range(3) for name in ('loss_cls', 'loss_bbox', 'loss_mask')]
OF_QUERIES = ('loss_cls', 'loss_bbox', 'loss_iou')
MASKS = ('loss_cls', 'loss_mask', 'loss_dice')
LAYERS = ('', 'd0.', 'enc_', 'dn_', 'd0.dn_')  # two decoder layers, proposals, denoising
LOSSES = {
    'cascade': {'loss_rpn_cls', 'loss_rpn_bbox', *STAGES},
    'dino': {layer + name for layer in LAYERS for name in OF_QUERIES},
    'upernet': {'decode.loss_ce', 'aux.loss_ce'},
    'mask2former': {f'{layer}{name}' for layer in ('', 'd0.', 'd1.') for name in MASKS},
}


def small(cfg: Config) -> Config:
    """``cfg`` with a small FasterViT, few regions and layers, and no weights to download."""
    model = cfg.model
    model.backbone.pop('init_cfg', None)
    if model.backbone.type == 'fastervit_mm.TimmFeatures':
        model.backbone.pretrained = False
    if model.backbone.type == 'fastervit_mm.FasterViT':
        model.backbone.arch = dict(SMALL)
        indices = model.backbone.out_indices
        if 'neck' in model:
            model.neck.in_channels = [SMALL_CHANNELS[i] for i in indices]
        elif 'panoptic_head' in model:
            model.panoptic_head.in_channels = SMALL_CHANNELS
        else:
            model.decode_head.in_channels = SMALL_CHANNELS
        if 'auxiliary_head' in model:
            model.auxiliary_head.in_channels = SMALL_CHANNELS[2]
    if model.backbone.type == 'fastervit_mm.SwinHAT':
        model.backbone.embed_dims = 24
        model.neck.in_channels = [24, 48, 96, 192]
    if 'roi_head' in model:
        for stage in model.train_cfg.rcnn:
            stage.sampler.num = 8
        model.train_cfg.rpn_proposal.max_per_img = model.test_cfg.rpn.max_per_img = 20
    if 'dn_cfg' in model:
        model.encoder.num_layers = model.decoder.num_layers = 2
        model.num_queries = 30
    queries = model.get('panoptic_head') or model.get('decode_head') or {}
    if 'num_queries' in queries:
        queries.num_queries = 30
        queries.pixel_decoder.encoder.num_layers = queries.transformer_decoder.num_layers = 2
        (model if 'panoptic_head' in model else queries).train_cfg.num_points = 64
    return cfg


@pytest.mark.parametrize(
    'name',
    [
        'detection/cascade_fastervit_3_3x',
        'detection/cascade_fastervit_2_lsj',
        'detection/cascade_swin_hat_t_3x',
        'detection/dino_4scale_fastervit_0_12e',
        'detection/dino_5scale_fastervit_4_12e',
        'detection/mask2former_fastervit_2_50e_panoptic',
        'detection/peers/cascade_swin_t_3x',
        'detection/peers/cascade_convnext_t_3x',
        'detection/peers/cascade_resnext101_32x4d_3x',
        'segmentation/upernet_fastervit_3_160k',
        'segmentation/upernet_fastervit_4_21k_384_160k',
        'segmentation/mask2former_fastervit_2_160k',
        'segmentation/peers/upernet_swin_t_160k',
        'segmentation/peers/upernet_convnext_t_160k',
    ],
)
def test_a_training_step_and_a_prediction(name):
    torch.manual_seed(0)
    cfg = small(read(name))
    init_default_scope(cfg.default_scope)
    detection = cfg.default_scope == 'mmdet'
    registry = __import__(f'{cfg.default_scope}.registry', fromlist=['MODELS'])
    cfg.model.data_preprocessor.pop('batch_augments', None)
    if not detection:
        cfg.model.data_preprocessor.size = (64, 64)
    model = registry.MODELS.build(cfg.model).train()
    model.init_weights()  # DINO's level_embed is uninitialised memory until then
    stuff = 'panoptic_head' in cfg.model
    masks = stuff or 'roi_head' in cfg.model
    batch = detection_batch(masks=masks, stuff=stuff) if detection else segmentation_batch()
    data = model.data_preprocessor(batch, True)
    losses = model(**data, mode='loss')
    loss, _ = model.parse_losses(losses)
    loss.backward()
    assert torch.isfinite(loss)
    family = name.rpartition('/')[2].split('_')[0]
    expected = LOSSES[family]
    if family == 'mask2former' and not detection:
        expected = {f'decode.{loss}' for loss in expected}
    assert {key for key in losses if 'loss' in key} == expected
    without = [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None]
    assert not without, without
    model.eval()
    cfg.model.data_preprocessor.pop('size', None)
    with torch.no_grad():
        predictions = model(**model.data_preprocessor(batch, False), mode='predict')
    assert len(predictions) == 2
    for prediction in predictions:
        if detection:
            settings = cfg.model.test_cfg.get('rcnn', cfg.model.test_cfg)
            most = settings.max_per_image if stuff else settings.max_per_img
            assert len(prediction.pred_instances) <= most
            if stuff:
                assert prediction.pred_panoptic_seg.sem_seg.shape == (1, *prediction.ori_shape)
        else:
            assert prediction.pred_sem_seg.data.shape == (1, 64, 64)
