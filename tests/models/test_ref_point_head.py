"""Our DINO's head of reference points against mmdet's own encodings of boxes."""

import math

import pytest
import torch
from mmdet.models.detectors import DINO as MMDetDINO
from mmdet.models.layers import MLP
from mmdet.models.layers.transformer.utils import coordinate_to_encoding
from mmengine.config import Config
from mmengine.registry import init_default_scope

from fastervit_mm.models.dino import DINO, RefPointHead, narrow_columns
from fastervit_mm.registry import MODELS
from tests.helpers import ROOT


def test_columns_by_hand():
    """Of four coordinates' (sine, cosine) pairs, every second one."""
    assert narrow_columns(4).tolist() == [0, 1, 4, 5, 8, 9, 12, 13]
    assert narrow_columns(8).tolist() == [
        *(0, 1, 4, 5, 8, 9, 12, 13),
        *(16, 17, 20, 21, 24, 25, 28, 29),
    ]


@pytest.mark.parametrize('width', [8, 64, 256])
def test_they_pick_the_narrow_encoding_out_of_the_wide_one(width):
    torch.manual_seed(0)
    boxes = torch.rand(3, 7, 4)
    wide, narrow = (coordinate_to_encoding(boxes, num_feats=n) for n in (width, width // 2))
    assert wide.shape[-1] == 4 * width
    assert torch.equal(wide[..., narrow_columns(width)], narrow)


def test_the_first_columns_of_a_box_by_formula():
    """The coordinate y comes first: sine and cosine of 2π·y, then of it divided by 10000^(2/32)."""
    boxes = torch.tensor([[[0.3, 0.7, 0.1, 0.2]]])
    narrow = coordinate_to_encoding(boxes, num_feats=64)[..., narrow_columns(64)][0, 0]
    angle = 2 * math.pi * 0.7
    expected = [math.sin(angle), math.cos(angle)]
    angle /= 10000 ** (2 / 32)
    expected += [math.sin(angle), math.cos(angle)]
    assert narrow[:4].tolist() == pytest.approx(expected, abs=1e-5)


def test_the_head_is_mmdets_mlp_on_the_narrow_encoding():
    torch.manual_seed(0)
    head, plain = RefPointHead(16), MLP(32, 16, 16, 2)
    assert [tuple(p.shape) for p in head.parameters()] == [(16, 32), (16,), (16, 16), (16,)]
    # columns are no part of a checkpoint
    assert list(head.state_dict()) == list(plain.state_dict())
    plain.load_state_dict(head.state_dict())
    boxes = torch.rand(2, 5, 4)
    wide, narrow = (coordinate_to_encoding(boxes, num_feats=n) for n in (16, 8))
    expected = plain(narrow)
    assert expected.shape == (2, 5, 16)
    assert torch.equal(head(narrow), expected) and torch.equal(head(wide), expected)


def test_our_dino_is_mmdets_with_that_head():
    assert issubclass(DINO, MMDetDINO) and MODELS.get('fastervit_mm.DINO') is DINO


def test_a_configs_dino_has_that_head():
    cfg = Config.fromfile(
        ROOT / 'configs/detection/dino_4scale_fastervit_4_21k_224_12e_released.py'
    )
    init_default_scope(cfg.default_scope)
    with torch.device('meta'):
        model = MODELS.build(cfg.model)
    assert type(model) is DINO
    head = model.decoder.ref_point_head
    assert isinstance(head, RefPointHead)
    assert [tuple(p.shape) for p in head.parameters()] == [(256, 512), (256,), (256, 256), (256,)]
