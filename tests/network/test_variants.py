"""The published networks against the table of the paper, and what a description may say."""

import inspect

import pytest
import torch

from fastervit_mm import VARIANTS, FasterViT, Variant
from fastervit_mm.errors import ArgumentError
from fastervit_mm.variants import WEIGHTS_URL, per_stage, resolve_variant
from tests.helpers import SMALL

FEW, MANY = (2, 4, 8, 16), (4, 8, 16, 32)
# dim, in_dim, depths, heads, windows of stages 2 and 3, carriers, drop path, file
TABLE = {
    'fastervit_0': (64, 64, (2, 3, 6, 5), FEW, (7, 7), True, 0.2, '0_224_1k'),
    'fastervit_1': (80, 32, (1, 3, 8, 5), FEW, (7, 7), True, 0.2, '1_224_1k'),
    'fastervit_2': (96, 64, (3, 3, 8, 5), FEW, (7, 7), True, 0.2, '2_224_1k'),
    'fastervit_3': (128, 64, (3, 3, 12, 5), FEW, (7, 7), True, 0.3, '3_224_1k'),
    'fastervit_4': (196, 64, (3, 3, 12, 5), MANY, (7, 7), True, 0.3, '4_224_1k'),
    'fastervit_5': (320, 64, (3, 3, 12, 5), MANY, (7, 7), True, 0.3, '5_224_1k'),
    'fastervit_6': (320, 64, (3, 3, 16, 8), MANY, (7, 7), True, 0.5, '6_224_1k'),
    'fastervit_4_21k_224': (196, 64, (3, 3, 12, 5), MANY, (14, 7), False, 0.42, '4_21k_224_w14'),
    'fastervit_4_21k_384': (196, 64, (3, 3, 12, 5), MANY, (24, 12), False, 0.42, '4_21k_384_w24'),
    'fastervit_4_21k_512': (196, 64, (3, 3, 12, 5), MANY, (32, 16), False, 0.42, '4_21k_512_w32'),
    'fastervit_4_21k_768': (196, 64, (3, 3, 12, 5), MANY, (48, 24), False, 0.42, '4_21k_768_w48'),
}
WITH_SCALES = set(TABLE) - {'fastervit_0', 'fastervit_1', 'fastervit_2'}


def test_the_table_is_complete():
    assert list(VARIANTS) == list(TABLE)
    assert WEIGHTS_URL == 'https://huggingface.co/ahatamiz/FasterViT/resolve/main/'


@pytest.mark.parametrize('name', TABLE)
def test_a_variant_is_as_published(name):
    dim, in_dim, depths, heads, windows, carriers, drop_path, file = TABLE[name]
    variant, scales = VARIANTS[name], name in WITH_SCALES
    assert (variant.dim, variant.in_dim, variant.depths) == (dim, in_dim, depths)
    assert variant.num_heads == heads
    assert variant.window_size == (7, 7, *windows)
    assert variant.hat == (False, False, carriers, False)
    assert variant.drop_path_rate == drop_path
    assert variant.weights == f'fastervit_{file}.pth.tar'
    assert (variant.layer_scale, variant.do_propagation) == (1e-5 if scales else None, scales)
    assert (variant.mlp_ratio, variant.ct_size) == (4, 2)
    assert variant.channels == (dim, 2 * dim, 4 * dim, 8 * dim)


@pytest.mark.parametrize('name', ['fastervit_2', 'fastervit_3', 'fastervit_4_21k_384'])
def test_the_network_built_from_a_variant_has_what_the_table_says(name):
    dim, in_dim, depths, heads, windows, carriers, _, _ = TABLE[name]
    with torch.device('meta'):
        model = FasterViT(name)
    assert model.out_channels == (dim, 2 * dim, 4 * dim, 8 * dim)
    assert tuple(len(level.blocks) for level in model.levels) == depths
    assert model.patch_embed.conv_down[0].weight.shape == (in_dim, 3, 3, 3)
    assert model.patch_embed.conv_down[3].weight.shape == (dim, in_dim, 3, 3)
    for i in (2, 3):
        block = model.levels[i].blocks[0]
        assert block.attn.num_heads == heads[i]
        assert block.attn.pos_emb_funct.cpb_mlp[2].weight.shape == (heads[i], 512)
        assert block.mlp.fc1.weight.shape == (4 * dim * 2**i, dim * 2**i)
        assert model.levels[i].window == windows[i - 2]
        assert (block.gamma3 is not None) == (name in WITH_SCALES)
    tokenizers = [model.levels[i].global_tokenizer for i in (2, 3)]
    assert [t is not None for t in tokenizers] == [carriers, False]
    assert hasattr(model.levels[2].blocks[0], 'hat_attn') == carriers
    assert model.levels[2].do_propagation == (carriers and name in WITH_SCALES)


def test_a_dict_gets_the_published_constructors_defaults():
    assert resolve_variant(dict(dim=16, in_dim=8, depths=[1, 2, 3, 4], num_heads=2)) == Variant(
        dim=16,
        in_dim=8,
        depths=(1, 2, 3, 4),
        num_heads=(2, 2, 2, 2),
        window_size=(7, 7, 7, 7),
        ct_size=2,
        mlp_ratio=4,
        hat=(False, False, True, False),
        layer_scale=None,
        do_propagation=False,
        drop_path_rate=0.0,
        weights='',
    )
    own = dict(SMALL, window_size=5, hat=False, ct_size=3, mlp_ratio=2.5, layer_scale=1)
    variant = resolve_variant(dict(own, do_propagation=True, drop_path_rate=0.1))
    assert variant.window_size == (5, 5, 5, 5) and variant.hat == (False,) * 4
    assert (variant.ct_size, variant.mlp_ratio, variant.layer_scale) == (3, 2.5, 1)
    assert (variant.do_propagation, variant.drop_path_rate) == (True, 0.1)
    assert (variant.dim, variant.in_dim) == (16, 8)


def test_what_the_caller_gives_wins_over_the_variant():
    changed = resolve_variant('fastervit_0', window_size=(7, 7, 10, 5), ct_size=1, drop_path_rate=0)
    assert (changed.window_size, changed.ct_size, changed.drop_path_rate) == ((7, 7, 10, 5), 1, 0)
    assert changed.depths == VARIANTS['fastervit_0'].depths
    assert resolve_variant('fastervit_0', window_size=12).window_size == (12, 12, 12, 12)
    assert resolve_variant('fastervit_0') == VARIANTS['fastervit_0']
    model = FasterViT(SMALL, window_size=(7, 7, 6, 3), ct_size=3)
    assert [model.levels[i].window for i in (2, 3)] == [6, 3]
    assert model.levels[2].global_tokenizer.ct_size == 3
    assert model.levels[2].global_tokenizer.window == 6


def test_one_value_or_four():
    assert per_stage('heads', 3) == (3, 3, 3, 3)
    assert per_stage('heads', [1, 2, 3, 4]) == (1, 2, 3, 4)
    expected = r'^heads has 3 values \(1, 2, 3\); give one value or 4, one per stage$'
    with pytest.raises(ArgumentError, match=expected):
        per_stage('heads', [1, 2, 3])


def test_the_constructors_defaults_are_as_documented():
    parameters = inspect.signature(FasterViT).parameters.values()
    assert {p.name: p.default for p in parameters} == dict(
        arch='fastervit_0',
        in_channels=3,
        out_indices=(0, 1, 2, 3),
        window_size=None,
        ct_size=None,
        drop_path_rate=None,
        carrier_pooling='aligned',
        position_unit='side',
        pad_all_stages=False,
        out_norm='ln2d',
        frozen_stages=-1,
        norm_eval=False,
        with_cp=False,
        channels_last=False,
        init_cfg=None,
        stage_types=None,
    )


WORDS = (
    'dim, in_dim, depths, num_heads, window_size, ct_size, mlp_ratio, hat, layer_scale, '
    'do_propagation, drop_path_rate'
)


@pytest.mark.parametrize(
    'arch, expected',
    [
        (
            'fastervit_9',
            "arch is 'fastervit_9'; did you mean 'fastervit_6' or 'fastervit_5' or 'fastervit_4'? "
            f'allowed: {", ".join(TABLE)}, or a dict',
        ),
        ('resnet', f"arch is 'resnet'; allowed: {', '.join(TABLE)}, or a dict"),
        (None, f'arch is None; allowed: {", ".join(TABLE)}, or a dict'),
        (
            dict(SMALL, dims=3),
            f"unknown word 'dims'; did you mean 'dim' or 'in_dim'? allowed: {WORDS}",
        ),
        (dict(SMALL, x=3, y=4), f"arch has the unknown word 'x'; allowed: {WORDS}"),
        # what only describes the published file is no word of a network
        (dict(SMALL, weights='w.pth'), f"the unknown word 'weights'; allowed: {WORDS}"),
        (
            dict(depths=(1, 1, 1, 1), in_dim=3),
            'arch lacks dim, num_heads; a dict needs dim, in_dim, depths and num_heads',
        ),
        (
            dict(SMALL, num_heads=(1, 2)),
            "arch['num_heads'] has 2 values (1, 2); give one value or 4",
        ),
        (dict(SMALL, in_dim=0), 'dim, in_dim and mlp_ratio are 16, 0 and 4; all must be positive'),
        (dict(SMALL, dim=-8), 'dim, in_dim and mlp_ratio are -8, 8 and 4; all must be positive'),
        (dict(SMALL, mlp_ratio=-1), 'dim, in_dim and mlp_ratio are 16, 8 and -1;'),
        (dict(SMALL, num_heads=(1, 1, 0, 4)), 'num_heads[2] is 0; it must divide the 64 channels'),
        (
            dict(SMALL, num_heads=(1, 1, 2, 3)),
            'num_heads[3] is 3; it must divide the 128 channels of stage 3',
        ),
        (
            dict(SMALL, hat=(False, True, False, False)),
            'hat is (False, True, False, False); stages 0 and 1 are convolutional',
        ),
        (
            dict(SMALL, window_size=(7, 0, 7, 7)),
            'window_size is (7, 0, 7, 7); each must be at least 1',
        ),
        (dict(SMALL, depths=(1, 1, 1, 0)), 'depths is (1, 1, 1, 0); every stage needs at least 1'),
        (
            dict(SMALL, ct_size=8),
            'ct_size is 8; it must lie between 1 and the window_size of stage 2, which is 7',
        ),
        (dict(SMALL, ct_size=0), 'ct_size is 0; it must lie between 1 and'),
        (
            dict(SMALL, hat=(False, False, False, True), window_size=(7, 7, 7, 3), ct_size=4),
            'ct_size is 4; it must lie between 1 and the window_size of stage 3, which is 3',
        ),
        (dict(SMALL, drop_path_rate=1), 'drop_path_rate is 1; it must be at least 0 and below 1'),
        (dict(SMALL, drop_path_rate=-0.1), 'drop_path_rate is -0.1; it must be at least 0'),
    ],
)
def test_descriptions_of_no_network_say_why(arch, expected):
    with pytest.raises(ArgumentError) as caught:
        resolve_variant(arch)
    assert expected in str(caught.value) and '\n' not in str(caught.value)


@pytest.mark.parametrize(
    'changes',
    [
        dict(num_heads=(0, 5, 2, 4)),  # stages 0 and 1 have no attention
        dict(num_heads=(1, 1, 1, 1)),
        dict(num_heads=64),
        dict(ct_size=7),
        dict(ct_size=1, window_size=1),
        dict(ct_size=9, hat=False),
        dict(ct_size=5, window_size=(1, 1, 5, 1)),
        dict(hat=(False, False, True, True)),
        dict(hat=(False, False, False, True)),
        dict(drop_path_rate=0.99),
        dict(dim=1, in_dim=1, num_heads=1, mlp_ratio=0.5),
    ],
)
def test_everything_else_is_allowed(changes):
    variant = resolve_variant(dict(SMALL, **changes))
    for name, value in changes.items():
        assert getattr(variant, name) in (value, (value,) * 4)


def test_carriers_in_both_window_stages():
    model = FasterViT(dict(SMALL, hat=(False, False, True, True), do_propagation=True)).eval()
    assert all(model.levels[i].global_tokenizer.ct_size == 2 for i in (2, 3))
    assert [model.levels[i].global_tokenizer.pos_embed.weight.shape[0] for i in (2, 3)] == [64, 128]
    with torch.no_grad():
        assert model(torch.randn(1, 3, 250, 470))[3].shape == (1, 128, 8, 15)


@pytest.mark.parametrize(
    'types', [('hat', 'window', 'conv', 'hat'), ('conv', 'conv', 'window', 'conv')]
)
def test_every_stage_can_be_of_every_type(types):
    model = FasterViT(SMALL, stage_types=types, window_size=(7, 6, 5, 4), ct_size=(3, 1, 1, 2))
    for i, (level, kind) in enumerate(zip(model.levels, types, strict=True)):
        assert hasattr(level.blocks[0], 'conv1') == (kind == 'conv')
        assert hasattr(level.blocks[0], 'hat_attn') == (kind == 'hat')
        if kind == 'hat':
            assert level.global_tokenizer.ct_size == (3, 1, 1, 2)[i]
            assert level.window == (7, 6, 5, 4)[i]
    with torch.no_grad():
        maps = model.eval()(torch.randn(1, 3, 70, 130))
    assert [m.shape[1:] for m in maps] == [(16, 18, 33), (32, 9, 17), (64, 5, 9), (128, 3, 5)]


def test_the_published_types_are_the_default():
    plain, stated = (
        FasterViT(SMALL),
        FasterViT(SMALL, stage_types=('conv', 'conv', 'hat', 'window')),
    )
    assert list(plain.state_dict()) == list(stated.state_dict())
    carriers = resolve_variant(dict(SMALL, ct_size=[1, 1, 3, 1])).carriers
    assert carriers == (None, None, 3, None)


def test_carriers_carry_what_is_far_away_and_windows_do_not():
    """What an ablation is about: a change in one corner's window, seen in the opposite one's."""
    image = torch.rand(1, 3, 112, 112)
    changed = image.clone()
    changed[..., 90:, 90:] = 0
    far = []
    for kind in ('window', 'hat'):
        types = (kind, 'conv', 'conv', 'conv')
        model = FasterViT(SMALL, stage_types=types, out_indices=(0,)).eval()
        with torch.no_grad():
            before, after = model(image)[0], model(changed)[0]
        far.append((before - after)[..., :7, :7].abs().max().item())
    assert far[0] == 0 < far[1]


@pytest.mark.parametrize(
    'changes, expected',
    [
        (
            dict(stage_types=('conv', 'conv', 'swin', 'window')),
            "stage_types has 'swin'; allowed: 'conv', 'window', 'hat'",
        ),
        (
            dict(stage_types='hat'),
            "stage_types is 'hat'; give 4 values, one per stage, out of 'conv'",
        ),
        (dict(stage_types=1), 'stage_types is 1; give 4 values, one per stage'),
        (dict(stage_types=('hat', 'conv')), "stage_types is ('hat', 'conv'); give 4 values"),
        (dict(ct_size=(2, 2)), 'ct_size has 2 values (2, 2); give one value or 4'),
        (dict(ct_size=(2, 2, 2.0, 2)), 'ct_size is (2, 2, 2.0, 2); it takes whole numbers'),
        (
            dict(stage_types=('conv', 'hat', 'hat', 'conv'), ct_size=(9, 8, 2, 9)),
            'ct_size is (9, 8, 2, 9); it must lie between 1 and the window_size of stage 1',
        ),
        (
            dict(stage_types=('window', 'conv', 'conv', 'conv'), arch=dict(SMALL, num_heads=3)),
            'num_heads[0] is 3; it must divide the 16 channels of stage 0',
        ),
    ],
)
def test_stages_that_cannot_be_say_why(changes, expected):
    with pytest.raises(ArgumentError) as caught:
        FasterViT(**{'arch': SMALL, **changes})
    assert expected in str(caught.value) and '\n' not in str(caught.value)
