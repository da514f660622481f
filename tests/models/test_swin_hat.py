"""SwinHAT: any image, Swin's own stages where it keeps them, Swin's files of weights accounted for."""

import copy
import re

import pytest
import torch
from mmdet.models import SwinTransformer
from mmengine.config import ConfigDict
from mmengine.registry import MODELS
from torch import Tensor, nn

from fastervit_mm import HierarchicalAttention, fuse
from fastervit_mm.errors import ArgumentError, FileError
from fastervit_mm.models.swin_hat import SwinHAT, SwinHATStage
from fastervit_mm.weights import accounting

SMALL = dict(embed_dims=8, depths=(2, 2, 2, 2), num_heads=(1, 2, 2, 4), window_size=3)


def build(**options) -> SwinHAT:
    torch.manual_seed(0)
    model = SwinHAT(**{**SMALL, **options})
    model.init_weights()
    return model.eval()


def swin() -> SwinTransformer:
    torch.manual_seed(0)
    model = SwinTransformer(**SMALL)
    model.eval()  # which returns nothing
    return model


@pytest.mark.parametrize('size', [(64, 96), (1, 1), (33, 57), (4, 130)])
def test_maps_of_any_image_have_swins_shapes(size):
    torch.manual_seed(0)
    image = torch.randn(2, 3, *size)
    with torch.no_grad():
        found, expected = build()(image), swin()(image)
    assert isinstance(found, tuple) and all(m.isfinite().all() for m in found)
    assert [m.shape for m in found] == [m.shape for m in expected]


def test_which_stages_are_replaced_and_by_what():
    model = SwinHAT(**SMALL, drop_path_rate=0.7, with_cp=True, mlp_ratio=3)
    assert [type(stage) is SwinHATStage for stage in model.stages] == [True, True, False, False]
    second = model.stages[1]
    assert isinstance(second, HierarchicalAttention)
    assert (second.dim, second.num_heads, second.window, second.hidden) == (16, 2, 3, 48)
    assert (second.with_cp, second.global_tokenizer.ct_size) == (True, 2)
    rates = [block.drop_path.drop_prob for block in second.blocks]
    assert rates == pytest.approx([0.2, 0.3])  # of eight blocks up to 0.7
    assert type(second.downsample).__name__ == 'PatchMerging'
    last = SwinHAT(**SMALL, hat_stages=[3], ct_size=1, layer_scale=0.1, do_propagation=True)
    assert [type(stage) is SwinHATStage for stage in last.stages] == [False] * 3 + [True]
    stage = last.stages[3]
    assert stage.downsample is None and stage.do_propagation and stage.blocks[0].gamma1 is not None
    both = SwinHAT(**SMALL, hat_stages=(3, 1), ct_size=(1, 2))
    assert [both.stages[i].global_tokenizer.ct_size for i in (3, 1)] == [1, 2]
    assert type(MODELS.build(dict(type='fastervit_mm.SwinHAT', **SMALL))) is SwinHAT


def test_without_replaced_stages_it_is_swin():
    theirs, image = swin(), torch.randn(1, 3, 50, 39)
    model = SwinHAT(**SMALL, hat_stages=()).eval()
    model.load_state_dict(theirs.state_dict())
    with torch.no_grad():
        for found, expected in zip(model(image), theirs(image), strict=True):
            assert torch.equal(found, expected)


def test_tokens_go_through_the_layer_as_a_map():
    model = build()
    stage = model.stages[0]
    layer = HierarchicalAttention(8, 2, 1, window_size=3).eval()
    weights = {n: v for n, v in stage.state_dict().items() if not n.startswith('downsample')}
    layer.load_state_dict(weights)
    x = torch.randn(2, 8, 5, 7)
    with torch.no_grad():
        *_, tokens, size = stage(x.flatten(2).transpose(1, 2), (5, 7))
        assert size == (5, 7)
        assert torch.equal(tokens.transpose(1, 2).reshape(2, 8, 5, 7), layer(x))


def test_every_parameter_learns():
    model = build().train()
    assert model.train(False) is model and not model.training
    sum(m.square().mean() for m in model.train()(torch.randn(1, 3, 48, 64))).backward()
    assert [n for n, p in model.named_parameters() if p.grad is None] == []


def test_frozen_stages_stay():
    model = SwinHAT(**SMALL, frozen_stages=1).train()
    assert not any(p.requires_grad for p in model.stages[0].parameters())
    assert not model.stages[0].training and model.stages[1].training
    assert all(p.requires_grad for p in model.stages[1].parameters())


def test_its_layers_are_fused():
    model, image = build(), torch.randn(1, 3, 50, 61)
    plain = copy.deepcopy(model)
    assert fuse(model) is model and model.stages[0].fused
    with torch.no_grad():
        for a, b in zip(plain(image), model(image), strict=True):
            assert torch.allclose(a, b, atol=1e-4)


@pytest.mark.parametrize(
    ('arguments', 'expected'),
    [
        (dict(hat_stages=(4,)), 'hat_stages is (4,); give stages out of 0 to 3'),
        (dict(hat_stages=(0.0,)), 'hat_stages is (0.0,); give stages'),
        (dict(ct_size=4), 'ct_size is 4; it must lie between 1 and window_size, which is 3'),
        (
            dict(ct_size=(1, 2, 2)),
            'ct_size is (1, 2, 2); give one value, or one for each of hat_stag',
        ),
        (dict(qkv_bias=False), 'qkv_bias is False; hierarchical attention has no such setting'),
        (dict(attn_drop_rate=0.1), 'attn_drop_rate is 0.1; hierarchical attention has no such'),
        (
            dict(act_cfg=dict(type='ReLU')),
            "act_cfg is {'type': 'ReLU'}; hierarchical attention has",
        ),
        (
            dict(norm_cfg=dict(type='BN')),
            "norm_cfg is {'type': 'BN'}; hierarchical attention has no",
        ),
        (dict(norm_cfg=None), 'norm_cfg is None; hierarchical attention has no such setting'),
        (
            dict(pretrained='swin.pth'),
            "pretrained is 'swin.pth'; it is not read: give init_cfg=dict(type='Pretrained', ",
        ),
        (dict(hat_stages=(0, 0)), 'hat_stages is (0, 0); give stages out of 0 to 3, each once'),
        (dict(hat_stages=1), 'hat_stages is 1; give stages out of 0 to 3'),
        (dict(hat_stages=None), 'hat_stages is None; give stages out of 0 to 3'),
        (dict(hat_stages='01'), "hat_stages is '01'; give stages out of 0 to 3"),
        (dict(hat_stages=[[0]]), 'hat_stages is ([0],); give stages out of 0 to 3'),
    ],
)
def test_arguments_that_are_not_allowed_are_named_in_one_line(arguments, expected):
    with pytest.raises(ArgumentError) as caught:
        SwinHAT(**{**SMALL, **arguments})
    assert str(caught.value).startswith(expected) and '\n' not in str(caught.value)


def test_settings_of_swins_that_change_nothing_are_taken():
    same = dict(
        type='fastervit_mm.SwinHAT',
        **SMALL,
        hat_stages=[1],
        act_cfg=dict(type='GELU'),
        norm_cfg=dict(type='LN', requires_grad=True),
        drop_rate=0.0,
        pretrained=None,
    )
    model = MODELS.build(ConfigDict(same))
    replaced = [isinstance(stage, SwinHATStage) for stage in model.stages]
    assert replaced == [False, True, False, False]


# -- weights ------------------------------------------------------------------------------------


def authors_file() -> dict[str, Tensor]:
    """Names and shapes of the authors' classifier with the sizes of `SMALL`, random values."""
    torch.manual_seed(1)
    sizes = {'patch_embed.proj.weight': (8, 3, 4, 4), 'patch_embed.proj.bias': (8,)}
    sizes |= {f'patch_embed.norm.{part}': (8,) for part in ('weight', 'bias')}
    for i, heads in enumerate((1, 2, 2, 4)):
        c, stage = 8 * 2**i, f'layers.{i}'
        for block in (f'{stage}.blocks.0', f'{stage}.blocks.1'):
            sizes[f'{block}.attn.relative_position_bias_table'] = (25, heads)
            for layer, wide, deep in (
                ('attn.qkv', 3 * c, c), ('attn.proj', c, c), ('mlp.fc1', 4 * c, c),
                ('mlp.fc2', c, 4 * c),
            ):  # fmt: skip
                sizes |= {f'{block}.{layer}.weight': (wide, deep), f'{block}.{layer}.bias': (wide,)}
            norms = [f'{block}.{norm}.{part}' for norm in ('norm1', 'norm2') for part in WB]
            sizes |= dict.fromkeys(norms, (c,))
        if i < 3:
            sizes[f'{stage}.downsample.reduction.weight'] = (2 * c, 4 * c)
            sizes |= {f'{stage}.downsample.norm.{part}': (4 * c,) for part in WB}
    sizes |= {'norm.weight': (64,), 'norm.bias': (64,), 'head.weight': (9, 64), 'head.bias': (9,)}
    entries = {name: torch.randn(shape) for name, shape in sizes.items()}
    index = SwinTransformer(**SMALL).stages[0].blocks[0].attn.w_msa.relative_position_index
    for i in range(4):
        for j in range(2):
            entries[f'layers.{i}.blocks.{j}.attn.relative_position_index'] = index.clone()
        entries[f'layers.{i}.blocks.1.attn_mask'] = torch.zeros(4, 9, 9)
    return entries


WB = ('weight', 'bias')
RENAMED = [
    (r'\.attn\.w_msa\.', '.attn.'), (r'\.ffn\.layers\.0\.0\.', '.mlp.fc1.'),
    (r'\.ffn\.layers\.1\.', '.mlp.fc2.'),
]  # fmt: skip


def loaded(monkeypatch, path, **options) -> tuple[SwinHAT, list[str]]:
    lines: list[str] = []
    monkeypatch.setattr(accounting, 'print_log', lambda line, logger: lines.append(line))
    return build(init_cfg=dict(type='Pretrained', checkpoint=str(path)), **options), lines


@pytest.fixture
def authors(tmp_path):
    path = tmp_path / 'swin.pth'
    torch.save({'model': authors_file()}, path)
    return path


def by_mmdet(path) -> dict[str, Tensor]:
    """The same file, loaded by mmdet's own Swin."""
    from mmengine.config import ConfigDict

    init_cfg = ConfigDict(type='Pretrained', checkpoint=str(path))
    swin = SwinTransformer(**SMALL, convert_weights=True, init_cfg=init_cfg)
    swin.init_weights()
    return swin.state_dict()


def check_shared(model: SwinHAT, swin: dict[str, Tensor]) -> None:
    own, shared = model.state_dict(), 0
    for name, value in swin.items():
        if name.startswith(('stages.0.', 'stages.1.')):
            for theirs, ours in RENAMED:
                name = re.sub(theirs, ours, name)
        if not re.match(r'norm\d|stages\.[01]\..*relative_position', name):
            assert torch.equal(own[name], value), name
            shared += 1
    # the stem; two stages of 2 blocks with 14 entries and two with 12; three steps to the next stage
    assert shared == 4 + 2 * 2 * 14 + 2 * 2 * 12 + 3 * 3


def test_the_authors_file_loads_as_into_mmdets_swin(monkeypatch, authors):
    model, lines = loaded(monkeypatch, authors)
    check_shared(model, by_mmdet(authors))
    assert sorted(re.sub(r': [^:]*$', '', line) for line in lines[1:]) == sorted(
        [
            'swin.pth: skipped 4 entries (position tables of replaced stages: hierarchical attention '
            'has MLPs for any window)',
            "swin.pth: skipped 8 entries (not learned: they follow from the window's size)",
            'swin.pth: skipped 4 entries (classifier)',
            f'swin.pth: {2 * (2 + 2 * (3 + 3 + 3 + 3 + 12))} entries not in it start from scratch (what only '
            'hierarchical attention has: carrier tokens, position MLPs, layer scales)',
            'swin.pth: 8 entries not in it start from scratch (norms of the emitted maps)',
        ]
    )
    assert lines[0] == f'swin.pth: loaded {4 + 2 * 2 * 14 + 2 * 2 * 12 + 3 * 3} entries'


@pytest.mark.parametrize('prefix', ['', 'backbone.', 'module.backbone.'])
def test_a_file_of_mmdets_loads_too(monkeypatch, tmp_path, authors, prefix):
    swin = by_mmdet(authors)
    heads = {'rpn_head.rpn_cls.weight': torch.zeros(1)} if 'backbone' in prefix else {}
    path = tmp_path / 'mmdet.pth'
    torch.save({'state_dict': {prefix + n: v for n, v in swin.items()} | heads}, path)
    model, lines = loaded(monkeypatch, path)
    check_shared(model, swin)
    assert all(
        torch.equal(getattr(model, f'norm{i}').weight, swin[f'norm{i}.weight']) for i in range(4)
    )
    assert not any('norms' in line or 'classifier' in line for line in lines)


def test_with_swins_weights_it_begins_close_to_swin(monkeypatch, tmp_path):
    """To one without shifts and position tables; docs/hat.md says so."""
    torch.manual_seed(2)
    sizes = dict(SMALL, depths=(1, 1, 1, 1))
    theirs = SwinTransformer(**sizes)
    for name, parameter in theirs.named_parameters():
        if 'table' not in name:  # which are zeros
            nn.init.normal_(parameter, mean=float('norm' in name), std=0.2)
    torch.save(theirs.state_dict(), tmp_path / 'swin.pth')
    theirs.eval()
    model, _ = loaded(monkeypatch, tmp_path / 'swin.pth', depths=(1, 1, 1, 1))
    image = torch.randn(2, 3, 48, 48)  # whole windows in the first two stages
    other = build(depths=(1, 1, 1, 1))
    with torch.no_grad():
        for near, far, swins in zip(model(image), other(image), theirs(image), strict=True):
            assert (near - swins).abs().mean() < 0.02 * swins.abs().mean()
            assert (far - swins).abs().mean() > 0.5 * swins.abs().mean()


def test_its_own_file_loads_whole(monkeypatch, tmp_path):
    torch.save(build(ct_size=1).state_dict(), tmp_path / 'own.pth')
    model, lines = loaded(monkeypatch, tmp_path / 'own.pth', ct_size=1)
    assert lines == [f'own.pth: loaded {len(model.state_dict())} entries']


def test_tables_of_another_window_are_interpolated(monkeypatch, authors):
    model, _ = loaded(monkeypatch, authors, window_size=5)
    table = model.stages[2].blocks[0].attn.w_msa.relative_position_bias_table
    theirs = authors_file()['layers.2.blocks.0.attn.relative_position_bias_table']
    square = theirs.T.reshape(1, 2, 5, 5)
    wanted = nn.functional.interpolate(square, size=(9, 9), mode='bicubic').reshape(2, 81).T
    assert torch.allclose(table, wanted, atol=1e-6)
    index = model.stages[2].blocks[0].attn.w_msa.relative_position_index
    assert index.shape == (25, 25)


@pytest.mark.parametrize(
    ('change', 'expected'),
    [
        (
            lambda e: e.pop('layers.0.blocks.0.attn.qkv.weight'),
            '1 missing: stages.0.blocks.0.attn.q',
        ),
        (
            lambda e: e.pop('layers.2.blocks.1.norm1.bias'),
            '1 missing: stages.2.blocks.1.norm1.bias',
        ),
        (
            lambda e: e.update({'layers.2.blocks.2.norm1.bias': torch.ones(32)}),
            '1 unexpected: stag',
        ),
        (
            lambda e: e.update({'patch_embed.norm.bias': torch.ones(9)}),
            '1 of another shape: patch_e',
        ),
    ],
)
def test_a_file_that_does_not_fit_is_named_in_one_line(monkeypatch, tmp_path, change, expected):
    entries = authors_file()
    change(entries)
    torch.save(entries, tmp_path / 'a.pth')
    with pytest.raises(ArgumentError) as caught:
        loaded(monkeypatch, tmp_path / 'a.pth')
    message = str(caught.value)
    assert message.startswith(
        'a.pth does not fit this Swin: embed_dims, depths, num_heads and mlp_'
    )
    assert expected in message and '\n' not in message


def test_what_names_no_file_is_refused(tmp_path):
    for init_cfg in (dict(type='Pretrained'), dict(type='Xavier', checkpoint='a.pth')):
        with pytest.raises(ArgumentError, match="allowed: None or dict.type='Pretrained'"):
            build(init_cfg=init_cfg)
    with pytest.raises(FileError, match='none.pth'):
        build(init_cfg=dict(type='Pretrained', checkpoint=str(tmp_path / 'none.pth')))
