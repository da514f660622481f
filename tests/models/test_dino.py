"""The released DINO detector in mmdet: its weights give its answers, on both package lines."""

import argparse
import json

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope

from fastervit_mm.weights.released_dino import COCO_IDS, convert_detector, our_name
from tests.helpers import FIXTURES, ROOT, call_tool
from tests.stand_in_weights import dino_tensor, image

RELEASED = ROOT / 'configs/detection/dino_4scale_fastervit_4_21k_224_12e_released.py'
KEYS = json.loads((FIXTURES / 'dino_official_keys.json').read_text())


@pytest.fixture(scope='module')
def released_file(tmp_path_factory):
    """A file as the authors released it, with stand-in weights."""
    path = tmp_path_factory.mktemp('released') / 'DINO_4scale.pth'
    stored, entries = {}, {}
    for name, (shape, alias) in KEYS.items():
        key = (alias, 'class_embed' in name)
        if key not in stored:
            stored[key] = torch.from_numpy(np.array(dino_tensor(name, alias, shape)))
        entries[name] = stored[key]
    torch.save(dict(model=entries, args=argparse.Namespace(lr=1e-4, epochs=12)), path)
    return path


def build(config):
    from mmdet.registry import MODELS

    cfg = Config.fromfile(config)
    init_default_scope(cfg.default_scope)
    return MODELS.build(cfg.model)


def test_the_released_detector_gives_its_answers(released_file, tmp_path):
    from mmdet.structures import DetDataSample

    out = tmp_path / 'converted.pth'
    call_tool('convert_dino_checkpoint.py', released_file, out)
    model = build(RELEASED).eval()
    model.load_state_dict(torch.load(out, weights_only=True)['state_dict'], strict=True)

    official = np.load(FIXTURES / 'dino_official.npz')
    x = torch.from_numpy(image('DINO_4scale_faster_vit_4_21k_224_dev', 1, 256, 352))
    sample = DetDataSample(metainfo=dict(img_shape=(256, 352), batch_input_shape=(256, 352)))
    with torch.no_grad():
        for i, feature in enumerate(model.backbone(x)):
            theirs = official[f'feat{i}']
            difference = np.abs(feature[:, :, ::3, ::3].numpy() - theirs).max()
            assert difference / theirs.std() < 1e-4
        inputs = model.forward_transformer(model.extract_feat(x), [sample])
        logits, boxes = model.bbox_head(inputs['hidden_states'], inputs['references'])
    logits, boxes = logits[-1, 0].numpy(), boxes[-1, 0].numpy()
    wrong_logits = np.abs(logits - official['logits'][0][:, list(COCO_IDS)]).max(-1) > 1e-3
    wrong_boxes = np.abs(boxes - official['boxes'][0]).max(-1) > 2e-3
    assert (wrong_logits | wrong_boxes).mean() <= 0.01


def test_every_released_entry_is_converted_or_accounted_for(released_file):
    converted, skipped = convert_detector(released_file)
    assert len(converted) + sum(map(len, skipped.values())) == len(KEYS)
    with torch.device('meta'):
        model = build(RELEASED)
    own = model.state_dict()
    assert set(converted) == set(own)
    assert all(converted[name].shape == own[name].shape for name in own)


@pytest.mark.parametrize(
    'released, ours',
    [
        ('transformer.decoder.layers.2.norm1.weight', 'decoder.layers.2.norms.1.weight'),
        ('transformer.decoder.layers.2.norm2.weight', 'decoder.layers.2.norms.0.weight'),
        ('transformer.encoder.layers.5.linear2.bias', 'encoder.layers.5.ffn.layers.1.bias'),
        ('transformer.decoder.bbox_embed.3.layers.2.bias', 'bbox_head.reg_branches.3.4.bias'),
        ('transformer.enc_out_class_embed.bias', 'bbox_head.cls_branches.6.bias'),
        ('input_proj.3.1.weight', 'neck.extra_convs.0.gn.weight'),
        ('bbox_embed.0.layers.0.weight', None),
    ],
)
def test_names(released, ours):
    assert our_name(released) == ours


def test_files_that_are_no_released_detector(official_keys, tmp_path):
    backbone = {
        name: torch.zeros(()).expand(shape)
        for name, shape in official_keys['fastervit_0']['keys'].items()
    }
    for content, looks in (
        (dict(state_dict=backbone), 'a backbone alone'),
        ({'bbox_head.x': torch.zeros(1)}, 'a detector of mmdet'),
        ({'layer1.weight': torch.zeros(1)}, 'none that is known'),
    ):
        torch.save(content, tmp_path / 'odd.pth')
        said = call_tool(
            'convert_dino_checkpoint.py', tmp_path / 'odd.pth', tmp_path / 'out.pth', expect=1
        )
        assert 'Traceback' not in said and f'it looks like {looks}' in said


def test_the_wide_encoding_contains_the_published_one():
    from mmdet.models.layers.transformer.utils import coordinate_to_encoding

    from fastervit_mm.models.dino import RefPointHead, narrow_columns

    boxes = torch.rand(2, 5, 4)
    wide = coordinate_to_encoding(boxes, num_feats=256)
    narrow = coordinate_to_encoding(boxes, num_feats=128)
    assert torch.equal(wide[..., narrow_columns(256)], narrow)
    head = RefPointHead(256)
    assert torch.equal(head(wide), head(narrow))
    assert next(name for name, _ in head.named_parameters()) == 'layers.0.weight'
    assert head.layers[0].weight.shape == (256, 512) and len(head.state_dict()) == 4
