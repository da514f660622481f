"""The settings that are published, against what the configs do: rates, decay, images, heads.

Source: the FasterViT paper (arXiv 2306.06189), and for DINO the released detector.
"""

import pytest
import torch
from mmengine.optim import build_optim_wrapper
from mmengine.optim.scheduler import LinearLR, MultiStepLR, PolyLR
from torch import nn

from tests.configs.resolved import NAMES, read

CASCADES = [n for n in NAMES if n.startswith('detection') and n.endswith('_3x')]
UPERNETS = [n for n in NAMES if n.startswith('segmentation') and n.endswith('_160k')]
DINOS = [n for n in NAMES if '/dino' in n]
SCHEDULERS = {'LinearLR': LinearLR, 'MultiStepLR': MultiStepLR, 'PolyLR': PolyLR}


def test_each_family_is_there():
    assert (len(CASCADES), len(UPERNETS), len(DINOS)) == (15, 14, 17)


class Small(nn.Module):
    """A backbone with both kinds of norms, and a head."""

    def __init__(self):
        super().__init__()
        self.backbone = nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2), nn.BatchNorm1d(2))
        self.head = nn.Linear(2, 2)


def rates(name: str) -> dict[str, tuple[float, float]]:
    """Learning rate and weight decay of each parameter of `Small` under the config ``name``."""
    model, wrapper = Small(), read(name).optim_wrapper
    wrapper.type = 'OptimWrapper'  # mixed precision refuses to start without an accelerator
    built = build_optim_wrapper(model, wrapper)
    assert type(built.optimizer) is torch.optim.AdamW
    names = {id(p): n for n, p in model.named_parameters()}
    return {
        names[id(p)]: (group['lr'], group['weight_decay'])
        for group in built.optimizer.param_groups
        for p in group['params']
    }


@pytest.mark.parametrize('name', CASCADES)
def test_cascade_3x_rates(name):
    found = rates(name)
    assert found['backbone.0.weight'] == found['head.weight'] == (1e-4, 0.05)
    assert found['backbone.1.weight'] == found['backbone.2.bias'] == (1e-4, 0)  # norms


@pytest.mark.parametrize('name', UPERNETS)
def test_upernet_rates(name):
    found = rates(name)
    assert found['backbone.0.weight'] == found['head.weight'] == (6e-5, 0.01)
    assert found['backbone.1.weight'] == found['backbone.2.bias'] == (6e-5, 0)  # norms


@pytest.mark.parametrize('name', DINOS)
def test_dino_rates(name):
    found = rates(name)
    assert found['head.weight'] == (1e-4, 1e-4)
    assert found['backbone.0.weight'] == (pytest.approx(1e-5), 1e-4)


def lr_over_time(name: str, steps: int, epoch: int | None = None) -> list[float]:
    """The rate of each iteration, as a share of the base rate; ``epoch``: its iterations."""
    parameter = nn.Parameter(torch.zeros(1))
    optimiser = torch.optim.SGD([parameter], lr=1.0)
    schedulers = []
    for entry in read(name).param_scheduler:
        kind = SCHEDULERS[entry.pop('type')]
        schedulers.append(kind(optimiser, **entry))
    found = []
    for i in range(steps):
        found.append(optimiser.param_groups[0]['lr'])
        optimiser.step()
        for scheduler in schedulers:
            if not scheduler.by_epoch or (i + 1) % epoch == 0:
                scheduler.step()
    return found


def test_cascade_3x_warms_up_and_falls_at_27_and_33():
    lr = lr_over_time('detection/cascade_fastervit_0_3x', 36 * 200, epoch=200)
    assert lr[0] == pytest.approx(0.001)  # of the base rate
    assert lr[500] == pytest.approx(0.001 + 0.999 * 500 / 999, rel=1e-3)
    assert lr[1000] == lr[27 * 200 - 1] == pytest.approx(1)
    assert lr[27 * 200] == lr[33 * 200 - 1] == pytest.approx(0.1)
    assert lr[33 * 200] == lr[-1] == pytest.approx(0.01)


def test_upernet_warms_up_for_1500_iterations_and_falls_in_a_straight_line():
    lr = lr_over_time('segmentation/upernet_fastervit_0_160k', 1500 + 1586)
    assert lr[0] == pytest.approx(1e-6)
    assert lr[750] == pytest.approx(750 / 1499, rel=1e-3)
    assert lr[1500] == pytest.approx(1, rel=1e-4)
    assert lr[1500 + 1585] == pytest.approx(0.99, rel=1e-4)  # a hundredth of the way to 160000


@pytest.mark.parametrize(
    ('name', 'epochs', 'falls'),
    [
        ('detection/dino_4scale_fastervit_4_21k_224_12e', 12, 11),
        ('detection/dino_4scale_fastervit_4_21k_384_36e', 36, 30),
        ('detection/dino_5scale_fastervit_4_21k_384_36e', 36, 30),
    ],
)
def test_dino_falls_once(name, epochs, falls):
    assert read(name).train_cfg.max_epochs == epochs
    assert lr_over_time(name, epochs, epoch=1) == pytest.approx(
        [1.0] * falls + [0.1] * (epochs - falls)
    )


@pytest.mark.parametrize('name', [*CASCADES, *UPERNETS, *DINOS])
def test_eight_gpus_of_two_images_make_the_base_batch(name):
    cfg = read(name)
    assert 8 * cfg.train_dataloader.batch_size == cfg.auto_scale_lr.base_batch_size == 16
    # published: mixed precision for the first two families, full for DINO
    assert (cfg.optim_wrapper.type == 'OptimWrapper') == (name in DINOS)
    assert cfg.sync_bn == 'torch'


@pytest.mark.parametrize('name', [n for n in NAMES if not n.endswith('_released')])
def test_a_red_pixel_is_normalised_as_for_imagenet(name):
    """Images are read as BGR; the networks' weights expect RGB less the mean, over the spread."""
    settings = read(name).model.data_preprocessor
    kind = settings.pop('type')
    if kind == 'DetDataPreprocessor':
        from mmdet.models import DetDataPreprocessor as Preprocessor
    else:
        from mmseg.models import SegDataPreProcessor as Preprocessor

        settings.pop('size')
    settings.pop('batch_augments', None)
    red = torch.zeros(3, 1, 1, dtype=torch.uint8)
    red[2] = 255
    image = Preprocessor(**settings)(dict(inputs=[red]))['inputs'][0]
    expected = [(255 - 123.675) / 58.395, -116.28 / 57.12, -103.53 / 57.375]
    assert image[:, 0, 0].tolist() == pytest.approx(expected)


def test_coco_trains_at_480_to_800_px_with_the_crop_of_detr():
    cfg = read('detection/cascade_fastervit_2_3x')
    plain, cropped = next(t for t in cfg.train_pipeline if t.type == 'RandomChoice').transforms
    for resize in (plain[0], cropped[2]):
        short, long = zip(*resize.scales, strict=True)
        assert (min(short), max(short), set(long)) == (480, 800, {1333})
    assert [s[0] for s in cropped[0].scales] == [400, 500, 600]
    assert cropped[1].crop_size == (384, 600)
    assert cfg.test_pipeline[1].scale == (1333, 800)


def test_the_heads_are_the_published_ones():
    head = read('detection/cascade_fastervit_2_3x').model.roi_head
    assert len(head.bbox_head) == 3
    for stage in head.bbox_head:
        assert (stage.num_shared_convs, stage.num_shared_fcs) == (4, 1)
        assert (stage.loss_bbox.type, stage.loss_bbox.loss_weight) == ('GIoULoss', 10)
    upernet = read('segmentation/upernet_fastervit_2_160k').model
    assert upernet.decode_head.pool_scales == (1, 2, 3, 6)
    assert (upernet.decode_head.channels, upernet.data_preprocessor.size) == (512, (512, 512))
    assert (upernet.auxiliary_head.in_index, upernet.auxiliary_head.loss_decode.loss_weight) == (
        2,
        0.4,
    )


@pytest.mark.parametrize('name', DINOS)
def test_dino_is_the_published_one(name):
    cfg = read(name)
    model = cfg.model
    assert (model.encoder.num_layers, model.decoder.num_layers, model.num_queries) == (6, 6, 900)
    assert (model.dn_cfg.label_noise_scale, model.dn_cfg.group_cfg.num_dn_queries) == (0.5, 100)
    assert model.positional_encoding.temperature == 20
    assert model.neck.bias is True and model.neck.norm_cfg == dict(type='GN', num_groups=32)
    assert cfg.optim_wrapper.clip_grad.max_norm == 0.1
    levels, indices = (5, (0, 1, 2, 3)) if '5scale' in name else (4, (1, 2, 3))
    assert model.num_feature_levels == model.neck.num_outs == levels
    assert model.backbone.out_indices == indices
