"""The released detector's names and classes in ours: tables by hand, a small file, the tool."""

import argparse
import sys

import pytest
import torch

from fastervit_mm.errors import FileError
from fastervit_mm.weights.released_dino import (
    COCO_IDS,
    check_complete,
    convert_detector,
    describe,
    our_classes,
    our_name,
)
from tests.helpers import call_tool

# COCO's 80 categories: ids of 12 street sign, 26 hat, 29 shoe, 30 eye glasses, 45 plate, 66 mirror,
# 68 window, 69 desk, 71 door, 83 blender and 91 hair brush were never annotated
ANNOTATED = (
    [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]
    + [13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25]
    + [27, 28]
    + [31, 32, 33, 34, 35, 36, 37, 38, 39, 40, 41, 42, 43, 44]
    + [46, 47, 48, 49, 50, 51, 52, 53, 54, 55, 56, 57, 58, 59, 60, 61, 62, 63, 64, 65]
    + [67, 70]
    + [72, 73, 74, 75, 76, 77, 78, 79, 80, 81, 82]
    + [84, 85, 86, 87, 88, 89, 90]
)


def test_the_ids_of_cocos_categories():
    assert len(ANNOTATED) == 80 and list(COCO_IDS) == ANNOTATED


@pytest.mark.parametrize(
    'name, rows',
    [
        ('bbox_head.cls_branches.0.weight', 91),
        ('bbox_head.cls_branches.6.bias', 91),
        ('dn_query_generator.label_embedding.weight', 92),
    ],
)
def test_entries_of_classes_keep_the_rows_of_annotated_categories(name, rows):
    value = torch.arange(rows)[:, None] * torch.tensor([1, 100])
    assert our_classes(name, value)[:, 0].tolist() == ANNOTATED
    assert our_classes(name, value)[:, 1].tolist() == [100 * i for i in ANNOTATED]


@pytest.mark.parametrize('name', ['query_embedding.weight', 'bbox_head.reg_branches.0.0.weight'])
def test_other_entries_keep_all_rows(name):
    value = torch.arange(900)
    assert our_classes(name, value) is value


HEAD, TRANSFORMER = 'bbox_head', 'transformer'
NAMES = {
    'backbone.0.levels.0.blocks.1.conv1.weight': 'backbone.levels.0.blocks.1.conv1.weight',
    'backbone.0.norm3.running_mean': 'backbone.norm3.running_mean',
    'input_proj.0.0.weight': 'neck.convs.0.conv.weight',
    'input_proj.2.0.bias': 'neck.convs.2.conv.bias',
    'input_proj.1.1.bias': 'neck.convs.1.gn.bias',
    'input_proj.3.0.weight': 'neck.extra_convs.0.conv.weight',
    'input_proj.3.1.bias': 'neck.extra_convs.0.gn.bias',
    f'{TRANSFORMER}.level_embed': 'level_embed',
    f'{TRANSFORMER}.tgt_embed.weight': 'query_embedding.weight',
    f'{TRANSFORMER}.enc_output.bias': 'memory_trans_fc.bias',
    f'{TRANSFORMER}.enc_output_norm.weight': 'memory_trans_norm.weight',
    f'{TRANSFORMER}.enc_out_class_embed.weight': f'{HEAD}.cls_branches.6.weight',
    f'{TRANSFORMER}.enc_out_bbox_embed.layers.0.weight': f'{HEAD}.reg_branches.6.0.weight',
    f'{TRANSFORMER}.enc_out_bbox_embed.layers.1.bias': f'{HEAD}.reg_branches.6.2.bias',
    f'{TRANSFORMER}.enc_out_bbox_embed.layers.2.bias': f'{HEAD}.reg_branches.6.4.bias',
    f'{TRANSFORMER}.decoder.class_embed.5.weight': f'{HEAD}.cls_branches.5.weight',
    f'{TRANSFORMER}.decoder.bbox_embed.4.layers.1.weight': f'{HEAD}.reg_branches.4.2.weight',
    'label_enc.weight': 'dn_query_generator.label_embedding.weight',
    f'{TRANSFORMER}.decoder.norm.weight': 'decoder.norm.weight',
    f'{TRANSFORMER}.decoder.ref_point_head.layers.1.weight': (
        'decoder.ref_point_head.layers.1.weight'
    ),
    'class_embed.0.weight': None,
    'bbox_embed.5.layers.2.bias': None,
}
ENCODER = {
    'self_attn.sampling_offsets.weight': 'self_attn.sampling_offsets.weight',
    'self_attn.value_proj.bias': 'self_attn.value_proj.bias',
    'linear1.weight': 'ffn.layers.0.0.weight',
    'linear2.bias': 'ffn.layers.1.bias',
    'norm1.weight': 'norms.0.weight',  # after self-attention
    'norm2.bias': 'norms.1.bias',  # after the MLP
}
DECODER = {
    'self_attn.in_proj_weight': 'self_attn.attn.in_proj_weight',
    'self_attn.out_proj.bias': 'self_attn.attn.out_proj.bias',
    'cross_attn.attention_weights.weight': 'cross_attn.attention_weights.weight',
    'linear1.bias': 'ffn.layers.0.0.bias',
    'linear2.weight': 'ffn.layers.1.weight',
    'norm2.weight': 'norms.0.weight',  # after self-attention, which comes first
    'norm1.bias': 'norms.1.bias',  # after cross-attention
    'norm3.weight': 'norms.2.weight',  # after the MLP
}
for _part, _layer in (('encoder', ENCODER), ('decoder', DECODER)):
    for _released, _ours in _layer.items():
        NAMES[f'{TRANSFORMER}.{_part}.layers.3.{_released}'] = f'{_part}.layers.3.{_ours}'


@pytest.mark.parametrize('released', NAMES)
def test_every_kind_of_name(released):
    assert our_name(released) == NAMES[released]


@pytest.mark.parametrize('name', ['neck.convs.0.weight', 'my.class_embed.0', 'backbone.1.x', 'x'])
def test_names_of_other_files(name):
    with pytest.raises(FileError) as caught:
        our_name(name)
    assert str(caught.value) == f'{name} is not an entry of a released DINO detector'


CLASSES = f'{TRANSFORMER}.decoder.class_embed.0'


def small_release() -> dict[str, torch.Tensor]:
    rows = torch.arange(91.0)
    return {
        'backbone.0.patch_embed.conv_down.0.weight': torch.full((2, 3), 1.0),
        'backbone.0.norm1.weight': torch.full((2,), 2.0),
        'backbone.0.norm.weight': torch.zeros(2),
        'backbone.0.head.weight': torch.zeros(2),
        'backbone.0.levels.3.blocks.0.pos_embed.relative_bias': torch.zeros(2),
        'backbone.0.levels.3.blocks.0.norm1.weight': torch.full((2,), 3.0),
        f'{CLASSES}.weight': rows[:, None].repeat(1, 2),
        f'{CLASSES}.bias': rows,
        'class_embed.0.weight': rows,
        'class_embed.0.bias': rows,
        'bbox_embed.0.layers.0.weight': rows,
        'label_enc.weight': torch.arange(92.0),
    }


def test_a_small_release_is_converted_entry_by_entry(tmp_path):
    torch.save(dict(model=small_release(), args=argparse.Namespace(lr=1)), tmp_path / 'a.pth')
    converted, skipped = convert_detector(tmp_path / 'a.pth')
    assert {name: list(value.shape) for name, value in converted.items()} == {
        'backbone.patch_embed.conv_down.0.weight': [2, 3],
        'backbone.norm1.weight': [2],
        'backbone.levels.3.blocks.0.norm1.weight': [2],
        'bbox_head.cls_branches.0.weight': [80, 2],
        'bbox_head.cls_branches.0.bias': [80],
        'dn_query_generator.label_embedding.weight': [80],
    }
    assert converted['bbox_head.cls_branches.0.bias'].tolist() == ANNOTATED
    assert converted['dn_query_generator.label_embedding.weight'].tolist() == ANNOTATED
    assert converted['backbone.norm1.weight'].tolist() == [2, 2]
    assert skipped == {
        'classifier': ['backbone.0.norm.weight', 'backbone.0.head.weight'],
        'derived from the weights at every size': [
            'backbone.0.levels.3.blocks.0.pos_embed.relative_bias'
        ],
        'heads stored several times': [
            'class_embed.0.weight',
            'class_embed.0.bias',
            'bbox_embed.0.layers.0.weight',
        ],
    }


def test_heads_that_share_memory_in_the_file_are_stored_apart(tmp_path):
    entries, shared = small_release(), torch.zeros(91)
    entries |= {f'{TRANSFORMER}.decoder.class_embed.{i}.bias': shared for i in range(2)}
    entries[f'{TRANSFORMER}.level_embed'] = entries['backbone.0.norm1.weight']
    torch.save(dict(model=entries), tmp_path / 'a.pth')
    converted, _ = convert_detector(tmp_path / 'a.pth')
    places = [value.untyped_storage().data_ptr() for value in converted.values()]
    assert len(set(places)) == len(places)


@pytest.mark.parametrize(
    'change, expected',
    [
        (dict.fromkeys([f'{CLASSES}.weight'], torch.zeros(80, 2)), 'has 80 classes; a released'),
        (dict.fromkeys([f'{CLASSES}.weight']), 'is not a released FasterViT DINO detector; it'),
        (
            {'backbone.0.patch_embed.conv_down.0.weight': None},
            'is not a released FasterViT DINO detector; it looks like none that is known',
        ),
    ],
)
def test_files_like_a_release(change, expected, tmp_path):
    entries = {k: v for k, v in (small_release() | change).items() if v is not None}
    torch.save(dict(model=entries), tmp_path / 'a.pth')
    with pytest.raises(FileError) as caught:
        convert_detector(tmp_path / 'a.pth')
    assert str(caught.value).startswith(f'{tmp_path / "a.pth"} {expected}')
    with pytest.raises(FileError, match='does not exist'):
        convert_detector(tmp_path / 'b.pth')


def test_what_other_files_look_like():
    a = torch.zeros(1)
    assert describe({'x': a, 'patch_embed.x': a, 'bbox_head.x': a}) == (
        'a backbone alone (FasterViT ImageNet weights?)'
    )
    assert describe({'x': a, 'bbox_head.x': a}) == (
        'a detector of mmdet, perhaps one already converted'
    )
    assert describe(dict.fromkeys('abcd', a)) == (
        'none that is known; its first entries are a, b, c'
    )


def test_the_converted_entries_must_be_the_networks():
    expected = {name: torch.zeros(2, 3) for name in ('a', 'b', 'c')}
    check_complete(expected, expected)
    check_complete({name: torch.ones(2, 3) for name in expected}, expected)
    with pytest.raises(FileError) as caught:
        check_complete({'c': torch.zeros(3, 2), 'x': torch.zeros(1)}, expected)
    assert str(caught.value) == (
        'the released file does not fill the released network: entries 2 missing, such as a; '
        '1 surplus, such as x; 1 of another shape, such as c'
    )
    for changed, told in (
        (dict(expected, d=torch.zeros(1), e=torch.zeros(1)), 'entries 2 surplus, such as d'),
        (dict(expected, b=torch.zeros(2)), 'entries 1 of another shape, such as b'),
    ):
        with pytest.raises(FileError) as caught:
            check_complete(changed, expected)
        assert str(caught.value).endswith(told)


@pytest.fixture
def tool_of_a_small_release(monkeypatch):
    """The tool, with the network's check left out; what it would have checked."""
    checked = []
    module = sys.modules[check_complete.__module__]
    monkeypatch.setattr(module, 'check_complete', lambda *given: checked.append(given))
    return checked


def test_the_tool_writes_a_checkpoint_and_says_what_it_left_out(tool_of_a_small_release, tmp_path):
    torch.save(dict(model=small_release()), tmp_path / 'released.pth')
    out = tmp_path / 'ours.pth'
    said = call_tool('convert_dino_checkpoint.py', tmp_path / 'released.pth', out).splitlines()
    start = said.index(f'{out}: 6 entries')
    assert said[start + 1].startswith(
        "note: NVIDIA's FasterViT weights are under their own non-com"
    )
    assert said[start + 2 :] == [
        'left out 2 entries: classifier',
        'left out 1 entries: derived from the weights at every size',
        'left out 3 entries: heads stored several times',
    ]
    written = torch.load(out, weights_only=True)
    converted, _ = convert_detector(tmp_path / 'released.pth')
    assert written['meta'] == dict(source='released.pth') and set(written) == {'state_dict', 'meta'}
    assert list(written['state_dict']) == list(converted)
    assert all(torch.equal(written['state_dict'][k], v) for k, v in converted.items())
    # it was checked against the network of the released detector
    ((ours, network),) = tool_of_a_small_release
    assert set(ours) == set(converted)
    assert network['backbone.norm3.running_mean'].shape == (1568,)
    assert network['bbox_head.cls_branches.6.weight'].shape == (80, 256)

    away = tmp_path / 'away' / 'ours.pth'
    said = call_tool('convert_dino_checkpoint.py', tmp_path / 'released.pth', away, expect=1)
    assert f'error: {away.parent} is not a folder; make it first' in said
    assert not away.parent.exists()
