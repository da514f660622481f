"""What a subject's name means, and what is built and called for it."""

import sys
from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config
from torch import nn

from fastervit_mm import VARIANTS
from fastervit_mm.benchmark import subjects
from fastervit_mm.benchmark.subjects import (
    CHANGES,
    DTYPES,
    IMAGENET_TOP1,
    Subject,
    Workload,
    parse_subject,
    published_accuracy,
    read_subjects,
)
from fastervit_mm.errors import ArgumentError
from tests.benchmark.stand_ins import INFER

CASCADE = 'configs/detection/cascade_fastervit_2_3x.py'
SWIN = 'configs/detection/peers/cascade_swin_t_3x.py'
SWIN_OWN = SWIN.replace('3x', '3x_own')
SHAPES = 'configs/detection/cascade_fastervit_shapes.py'
NOTHING = frozenset()
# arXiv 2306.06189, tables 1 and 6, and the published page
TOP1 = {
    'fastervit_0': 82.1,
    'fastervit_1': 83.2,
    'fastervit_2': 84.2,
    'fastervit_3': 84.9,
    'fastervit_4': 85.4,
    'fastervit_5': 85.6,
    'fastervit_6': 85.8,
    'fastervit_4_21k_224': 86.6,
    'fastervit_4_21k_384': 87.6,
    'fastervit_4_21k_512': 87.8,
    'fastervit_4_21k_768': 87.9,
}


def test_a_task_in_words():
    assert str(Workload(800, 1280, 4, 'bf16', 'train', 'cpu')) == '800x1280, batch 4, bf16, train'


def test_what_may_be_asked_for():
    assert CHANGES == ('fused', 'compiled', 'channels_last', 'checkpointed')
    assert DTYPES == dict(fp32=torch.float32, bf16=torch.bfloat16, fp16=torch.float16)


@pytest.mark.parametrize(
    ('text', 'source', 'changes', 'dtype', 'part'),
    [
        ('fastervit_2', 'fastervit_2', set(), None, 'backbone'),
        ('fastervit_2+fused+bf16', 'fastervit_2', {'fused'}, 'bf16', 'backbone'),
        ('fastervit_2+bf16+compiled+fp16', 'fastervit_2', {'compiled'}, 'fp16', 'backbone'),
        (f'{SWIN}+checkpointed', SWIN, {'checkpointed'}, None, 'model'),
        ('timm:resnet18+channels_last', 'timm:resnet18', {'channels_last'}, None, 'backbone'),
        ('published:a+compiled+fp32', 'published:a', {'compiled'}, 'fp32', 'backbone'),
    ],
)
def test_a_subject_as_typed(text, source, changes, dtype, part):
    expected = Subject(text, source, frozenset(changes), dtype, part)
    assert parse_subject(text) == expected
    assert parse_subject(text, 'model') == expected


def test_a_part_is_chosen_for_configs_only():
    assert parse_subject(SWIN, 'backbone').part == 'backbone'
    assert parse_subject('fastervit_0', 'model').part == 'backbone'


def test_changes_asked_for_all_are_taken_by_those_that_can():
    asked = frozenset({'fused', 'compiled', 'channels_last'})
    assert parse_subject('fastervit_0+checkpointed', changes=asked).changes == {
        *asked,
        'checkpointed',
    }
    assert parse_subject(SWIN, changes=asked).changes == asked
    for name in ('timm:resnet18', 'published:a'):
        assert parse_subject(name, changes=asked).changes == {'compiled', 'channels_last'}


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        (
            'fastervit_0+fused+faster+slower',
            "fastervit_0+fused+faster+slower: 'faster' is no change; allowed: fused, compiled, "
            'channels_last, checkpointed, fp32, bf16, fp16',
        ),
        (
            'fastervit_9',
            f"'fastervit_9' is no subject; give a variant ({', '.join(VARIANTS)}), the path of a "
            'config, timm:NAME or published:NAME',
        ),
        (
            'timm:resnet18+fused',
            "timm:resnet18+fused: others' code can only be compiled or channels_last",
        ),
        (
            'published:a+checkpointed',
            "published:a+checkpointed: others' code can only be compiled or channels_last",
        ),
    ],
)
def test_what_is_no_subject(text, message):
    with pytest.raises(ArgumentError) as caught:
        parse_subject(text)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ('name', 'published', 'ours', 'config'),
    [
        ('fastervit_0', False, True, False),
        (SWIN, False, True, True),
        ('timm:resnet18', False, False, False),
        ('published:a', True, False, False),
    ],
)
def test_kinds_of_subjects(name, published, ours, config):
    one = parse_subject(name)
    assert (one.is_published, one.is_ours, one.is_config) == (published, ours, config)


def test_a_dtype_of_its_own_comes_before_the_tasks():
    assert parse_subject('fastervit_0').on(INFER) == INFER
    assert parse_subject('fastervit_0+bf16').on(INFER) == INFER._replace(dtype='bf16')


def test_subjects_there_are_and_a_line_for_each_there_is_not():
    texts = ['fastervit_1', 'fastervit_9', 'configs/detection/no_such.py', SWIN]
    found, refused = read_subjects(texts, 'backbone', frozenset({'compiled'}))
    assert found == [
        Subject('fastervit_1', 'fastervit_1', frozenset({'compiled'}), None, 'backbone'),
        Subject(SWIN, SWIN, frozenset({'compiled'}), None, 'backbone'),
    ]
    assert len(refused) == 2
    assert refused[0].startswith("'fastervit_9' is no subject")
    assert refused[1].startswith('config configs/detection/no_such.py does not exist')


def test_every_variant_has_its_published_accuracy():
    assert IMAGENET_TOP1 == TOP1 and set(TOP1) == set(VARIANTS)
    for name, top1 in TOP1.items():
        assert published_accuracy(parse_subject(name)) == {'ImageNet top-1': top1}


@pytest.mark.parametrize(
    ('name', 'accuracy'),
    [
        ('fastervit_2+fused', {'ImageNet top-1': 84.2}),
        ('published:faster_vit_2_any_res', {'ImageNet top-1': 84.2}),
        ('published:faster_vit_0_224', {'ImageNet top-1': 82.1}),
        ('published:faster_vit_4_21k_224', {'ImageNet top-1': 86.6}),
        ('published:faster_vit_4_21k_384_any_res', {'ImageNet top-1': 87.6}),
        ('timm:resnet18', {}),
        (CASCADE, {'box AP': 52.1, 'mask AP': 45.2}),
        (f'{CASCADE}+fused', {'box AP': 52.1, 'mask AP': 45.2}),
        (SWIN, {}),  # its published figures belong to its own recipe
        (SWIN_OWN, {'box AP': 50.4, 'mask AP': 43.7}),  # in the metafile of the folder above
        (SHAPES, {}),
        ('/nowhere/at_all.py', {}),
    ],
)
def test_published_accuracy_of(name, accuracy):
    assert published_accuracy(parse_subject(name)) == accuracy


def test_weights_are_left_out_of_a_config():
    cfg = Config(
        dict(
            init_cfg=dict(type='Pretrained'),
            pretrained='file.pth',
            backbone=dict(init_cfg=dict(a=1), pretrained=True, depth=3),
            head=dict(pretrained=False, init_cfg=None, inner=dict(pretrained='x', n=[1, 2])),
        )
    )
    subjects._forget_weights(cfg)
    assert cfg.to_dict() == dict(
        init_cfg=None,
        pretrained=None,
        backbone=dict(init_cfg=None, pretrained=False, depth=3),
        head=dict(pretrained=False, init_cfg=None, inner=dict(pretrained=None, n=[1, 2])),
    )


def test_the_published_package_builds_for_the_tasks_size(monkeypatch):
    built = []

    def create(name, **options):
        if name == 'unknown':
            raise KeyError(name)
        built.append((name, options))
        return nn.Linear(1, 1)

    monkeypatch.setitem(sys.modules, 'fastervit', SimpleNamespace(create_model=create))
    model = subjects.load_model(parse_subject('published:faster_vit_0_any_res'), INFER)
    subjects.load_model(parse_subject('published:faster_vit_0_224'), INFER)
    assert built == [
        ('faster_vit_0_any_res', {'resolution': [8, 10]}),
        ('faster_vit_0_224', {}),
    ]
    assert isinstance(model, nn.Linear) and not model.training
    with pytest.raises(ArgumentError, match="^published:unknown: the published package says: 'un"):
        subjects.load_model(parse_subject('published:unknown'), INFER)


def test_without_the_published_package_it_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, 'fastervit', None)
    with pytest.raises(ArgumentError) as caught:
        subjects.load_model(parse_subject('published:faster_vit_0_224+compiled'), INFER)
    assert str(caught.value) == (
        'published:faster_vit_0_224+compiled: the published package is not installed; for a '
        'measurement, and under its own non-commercial licence: '
        'pip install --no-deps fastervit==1.0.0'
    )


def test_timms_networks_are_built_for_the_tasks_size_where_they_have_one(monkeypatch):
    import timm

    asked = []

    def create(name, **options):
        if name == 'unknown':
            raise RuntimeError('Unknown model (unknown)')
        asked.append((name, options))
        if name == 'of_any_size' and 'img_size' in options:
            raise TypeError('unexpected keyword argument')
        return nn.Linear(1, 1)

    monkeypatch.setattr(timm, 'create_model', create)
    maps = dict(features_only=True, pretrained=False)
    subjects.load_model(parse_subject('timm:of_one_size'), INFER)
    assert asked == [('of_one_size', dict(img_size=(8, 10), **maps))]
    subjects.load_model(parse_subject('timm:of_any_size'), INFER)
    assert asked[-1] == ('of_any_size', maps)
    with pytest.raises(ArgumentError, match=r'^timm:unknown: timm says: Unknown model \(unknown\)'):
        subjects.load_model(parse_subject('timm:unknown'), INFER)


def test_a_network_of_timms_gives_four_maps_or_five():
    model = subjects.load_model(parse_subject('timm:resnet18'), INFER)
    strides = [64 // m.shape[-1] for m in model(torch.zeros(1, 3, 64, 64))]
    assert strides == [2, 4, 8, 16, 32]
