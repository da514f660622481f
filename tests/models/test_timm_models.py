"""FasterViT in timm: its factory's contract, as timm's own test_models.py has it; the published logits."""

import copy
import fnmatch
import json
import warnings
from functools import partial

import numpy as np
import pytest
import timm
import torch
from timm.models import PretrainedCfg
from timm.models._hub import has_hf_hub, save_for_hf
from timm.models._manipulate import group_parameters

from fastervit_mm import VARIANTS, FasterViT, timm_models
from fastervit_mm.errors import ArgumentError, FileError
from fastervit_mm.models.classifier import POOLS, FasterViTClassifier
from tests.helpers import FIXTURES, SMALL, published_tensor
from tests.stand_in_weights import image

CASES = json.loads((FIXTURES / 'cases.json').read_text())
HIGH = {'fastervit_4_21k_384': 384, 'fastervit_4_21k_512': 512, 'fastervit_4_21k_768': 768}


def small(**changes):
    torch.manual_seed(0)
    return FasterViTClassifier(**{'arch': SMALL, 'num_classes': 7, **changes}).eval()


def meta(name, **changes):
    """A network as timm's factory makes it, without memory."""
    with torch.device('meta'):
        return timm.create_model(name, **changes).eval()


@pytest.mark.parametrize('name', CASES)
def test_logits_equal_the_published_networks(name):
    case = CASES[name]
    entries = {key: published_tensor(key, shape) for key, shape in case['keys'].items()}
    pooling = 'stretched' if name.endswith('stretched') else 'aligned'
    classes = entries['head.bias'].numel()
    model = FasterViTClassifier(case['arch'], num_classes=classes, carrier_pooling=pooling).eval()
    model.load_state_dict(timm_models.checkpoint_filter_fn(entries, model))
    with torch.no_grad():
        logits = model(torch.from_numpy(image(name, 1, *case['res']))).numpy()
    theirs = np.load(FIXTURES / f'{name}.npz')['logits']
    assert np.abs(logits - theirs).max() / theirs.std() < 1e-4


def test_timm_lists_all_eleven():
    assert timm.list_models('fastervit*') == sorted(VARIANTS)
    assert timm.list_pretrained('fastervit*') == sorted(VARIANTS)


@pytest.mark.parametrize('name', VARIANTS)
def test_the_file_of_a_variant_is_all_that_its_network_has(name, official_keys):
    published = official_keys[name]
    model = meta(name)
    own = {key: list(value.shape) for key, value in model.state_dict().items()}
    stored = {k: v for k, v in published['keys'].items() if not k.startswith('module.')}
    kept = {k for k in stored if k in own}
    assert kept == set(own) and all(own[k] == stored[k] for k in kept)
    assert sum(p.numel() for p in model.parameters()) == published['n_params']


@pytest.mark.parametrize('name', VARIANTS)
def test_the_settings_of_all(name):
    cfg, side = timm.get_pretrained_cfg(name), HIGH.get(name, 224)
    assert cfg.input_size == (3, side, side) and cfg.pool_size == (side // 32,) * 2
    assert cfg.url.endswith(VARIANTS[name].weights) and 'License-NC' in cfg.license
    assert cfg.interpolation == 'bicubic' and 0.8 < cfg.crop_pct <= 1


@pytest.mark.parametrize('name', ['fastervit_0', 'fastervit_3', 'fastervit_4_21k_384'])
def test_what_timm_is_told(name):
    model = meta(name)
    cfg, side = model.default_cfg, HIGH.get(name, 224)
    assert cfg['input_size'] == (3, side, side) and cfg['pool_size'] == (side // 32,) * 2
    state = model.state_dict()
    assert f'{cfg["first_conv"]}.weight' in state and f'{cfg["classifier"]}.weight' in state
    assert model.num_features == model.head_hidden_size == VARIANTS[name].channels[-1]
    x = torch.randn(1, *cfg['input_size'], device='meta')
    features = model.forward_features(x)
    assert features.shape == (1, model.num_features, *cfg['pool_size'])
    assert model.forward_head(features, pre_logits=True).shape == (1, model.num_features)
    model.reset_classifier(0)
    assert model(x).shape == (1, model.num_features) and model.num_classes == 0
    model.reset_classifier(0, '')
    assert model(x).shape == features.shape
    assert meta(name, num_classes=0)(x).shape == (1, model.num_features)
    assert meta(name, num_classes=0, global_pool='')(x).shape == features.shape
    with pytest.raises(TypeError):
        meta(name, not_a_model_arg=1)


@pytest.mark.parametrize('size', [(64, 64), (97, 130), (33, 224)])
def test_any_size_and_checkpointing(size):
    model = small()
    x = torch.randn(2, 3, *size)
    expected = model(x)
    assert expected.shape == (2, 7) and expected.isfinite().all()
    model.set_grad_checkpointing()
    torch.testing.assert_close(model(x), expected, rtol=1e-4, atol=1e-5)
    model.train()
    model(x).mean().backward()
    assert not [n for n, p in model.named_parameters() if p.grad is None]


@pytest.mark.parametrize('chans', [1, 4])
def test_other_channels(chans):
    assert small(in_chans=chans)(torch.randn(1, chans, 64, 64)).shape == (1, 7)
    with pytest.raises(ArgumentError, match=f'because in_chans is {chans}'):
        small(in_chans=chans)(torch.randn(1, 3, 64, 64))


def test_it_is_the_backbone_with_a_head():
    model = small()
    backbone = FasterViT(SMALL, out_norm=None).eval()
    backbone.load_state_dict(model.state_dict(), strict=False)
    x = torch.randn(1, 3, 75, 110)
    with torch.no_grad():
        maps = model.forward_intermediates(x, intermediates_only=True)
        assert all(torch.equal(a, b) for a, b in zip(maps, backbone(x), strict=True))


def test_intermediates():
    model = small()
    x = torch.randn(2, 3, 96, 96)
    last = 3
    with torch.no_grad():
        final, maps = model.forward_intermediates(x)
        torch.testing.assert_close(final, model.forward_features(x), rtol=0, atol=0)
        assert [m.shape[1] for m in maps] == [info['num_chs'] for info in model.feature_info]
        assert [96 // m.shape[2] for m in maps] == [
            info['reduction'] for info in model.feature_info
        ]
        normed = model.forward_intermediates(x, norm=True, intermediates_only=True)
        torch.testing.assert_close(normed[last], final)
        for i in range(4):
            (one,) = model.forward_intermediates(
                x, indices=[i], stop_early=True, intermediates_only=True
            )
            assert torch.equal(one, maps[i])
            stopped, _ = model.forward_intermediates(x, indices=[i], stop_early=True)
            torch.testing.assert_close(stopped, final if i == last else maps[i])
    with pytest.raises(ValueError, match='output_fmt'):
        model.forward_intermediates(x, output_fmt='NHWC')


@pytest.mark.parametrize('i', range(4))
def test_pruning(i):
    """What is left gives the same map, and every parameter of it is used."""
    model = small()
    x = torch.randn(2, 3, 96, 96)
    with torch.no_grad():
        maps, expected = model.forward_intermediates(x, intermediates_only=True), model(x)
        kept = copy.deepcopy(model)
        kept.prune_intermediate_layers([3], prune_head=False)
        assert torch.equal(kept(x), expected)
        pruned = copy.deepcopy(model)
        take = pruned.prune_intermediate_layers([i], prune_norm=True)
        assert torch.equal(pruned.forward_features(x), maps[i])
        pruned.reset_classifier(0, 'avg')
        torch.testing.assert_close(pruned(x), maps[i].mean((2, 3)))
    pruned.train()
    (tap,) = pruned.forward_intermediates(x, indices=take, intermediates_only=True)
    (tap.sum() + pruned.forward_features(x).sum()).backward()
    assert not [n for n, p in pruned.named_parameters() if p.grad is None]
    pruned.reset_classifier(5)
    assert pruned(x).shape == (2, 5)


@pytest.mark.parametrize('indices', [(0, 1, 2, 3), (1, 3), (2,), 2, (-1,)])
def test_features_only(indices):
    model = timm.create_model('fastervit_0', features_only=True, out_indices=indices).eval()
    maps = model(torch.zeros(1, 3, 64, 96))
    channels, strides = model.feature_info.channels(), model.feature_info.reduction()
    assert [tuple(m.shape[1:]) for m in maps] == [
        (c, 64 // s, 96 // s) for c, s in zip(channels, strides, strict=True)
    ]
    assert not any('head' in name for name, _ in model.named_parameters())


def test_groups_for_layer_decay():
    """As deep as our own layer decay says; timm counts the step between stages before it, not after."""
    model, backbone = small(), FasterViT(SMALL, out_norm=None)
    names = [name for name, _ in model.named_parameters()]
    fine = group_parameters(model, model.group_matcher(), reverse=True)
    assert set(fine) == set(names)
    depth = {name: backbone.get_layer_depth(name)[0] for name in names}
    order = sorted(set(fine.values()))
    for name in names:
        if not name.startswith('head'):
            earlier = '.downsample.' in name or name.startswith('norm.')
            assert order.index(fine[name]) == depth[name] - earlier, name
    coarse = group_parameters(model, model.group_matcher(coarse=True), reverse=True)
    assert len(set(coarse.values())) >= 5
    assert not [p for p in model.no_weight_decay() if not any(fnmatch.fnmatch(n, p) for n in names)]


def test_a_new_head_is_where_and_what_the_network_is():
    model = small().to(torch.float64)
    model.requires_grad_(False)
    model.reset_classifier(0)
    assert not [n for n, p in model.named_parameters() if p.requires_grad]
    model.reset_classifier(3)
    assert model.head.weight.dtype == torch.float64 and model.head.weight.shape == (3, 128)
    assert all(module.training is False for module in model.modules())
    assert model.get_classifier() is model.head
    assert model(torch.randn(1, 3, 64, 64, dtype=torch.float64)).dtype == torch.float64


@pytest.mark.parametrize(
    'arguments, expected',
    [
        (
            dict(global_pool='catavgmax'),
            "global_pool is 'catavgmax'; allowed: 'avg', 'max', 'avgmax'",
        ),
        (dict(global_pool='foo'), "global_pool is 'foo'; allowed: 'avg'"),
        (
            dict(global_pool=''),
            "global_pool is '' with 7 classes; a head takes pooled features: give",
        ),
        (dict(global_pool=None), 'global_pool is None; allowed'),
        (dict(carrier_pooling='x'), "carrier_pooling is 'x'; allowed: 'aligned', 'stretched'"),
        (dict(in_chans=0), 'in_chans is 0; it must be a number of at least 1'),
        (dict(in_chans=3.0), 'in_chans is 3.0; it must be'),
        (dict(num_classes=-1), 'num_classes is -1; it must be a number of at least 0'),
    ],
)
def test_arguments_that_are_not_allowed_are_named_in_one_line(arguments, expected):
    with pytest.raises(ArgumentError) as caught:
        small(**arguments)
    assert str(caught.value).startswith(expected) and '\n' not in str(caught.value)


def test_the_head_may_have_any_pooling_that_timm_offers_for_it():
    model, x = small(), torch.randn(2, 3, 64, 96)
    for pool in POOLS[:-1]:
        model.reset_classifier(5, pool)
        assert model(x).shape == (2, 5)
        assert small(global_pool=pool)(x).shape == (2, 7)
    with pytest.raises(ArgumentError, match="^global_pool is '' with 9 classes"):
        model.reset_classifier(9, '')
    assert model(x).shape == (2, 5)
    model.reset_classifier(0, '')
    assert model(x).shape == (2, 128, 2, 3) == small(num_classes=0, global_pool='')(x).shape
    with pytest.raises(ArgumentError, match="give global_pool='avg'"):
        model.reset_classifier(5)
    model.reset_classifier(5, 'avg')
    assert model(x).shape == (2, 5)


def test_device_and_type_of_the_factory():
    model = timm.create_model('fastervit_0', device='meta', dtype=torch.bfloat16)
    tensors = [*model.parameters(), *(b for b in model.buffers() if b.is_floating_point())]
    assert {(t.device.type, t.dtype) for t in tensors} == {('meta', torch.bfloat16)}


@pytest.fixture
def published_file(tmp_path):
    """A file as NVIDIA published them, of a small network that stands in for fastervit_0."""
    import argparse

    with torch.device('meta'):
        shapes = FasterViTClassifier('fastervit_0').state_dict()
    torch.manual_seed(0)
    state = {f'module.{n}': torch.rand(v.shape).to(v.dtype) * 0.01 for n, v in shapes.items()}
    state['module.levels.2.blocks.0.attn.pos_emb_funct.relative_bias'] = torch.zeros(1)
    path = tmp_path / 'fastervit_0_224_1k.pth.tar'
    torch.save(dict(state_dict=state, args=argparse.Namespace(a=1), epoch=3), path)
    return path, state


def test_pretrained(published_file):
    """By timm's usual ways, though the file is a pickle that safe loading by timm refuses."""
    path, state = published_file
    overlay = dict(file=str(path))
    model = timm.create_model('fastervit_0', pretrained=True, pretrained_cfg_overlay=overlay)
    own = model.state_dict()
    assert all(torch.equal(own[n], state[f'module.{n}']) for n in own)
    assert 'state_dict' not in model.pretrained_cfg
    fewer = timm.create_model(
        'fastervit_0', pretrained=True, pretrained_cfg_overlay=overlay, in_chans=1, num_classes=5
    )
    assert fewer.head.weight.shape == (5, 512)
    first = state['module.patch_embed.conv_down.0.weight'].sum(1, keepdim=True)
    torch.testing.assert_close(fewer.patch_embed.conv_down[0].weight.data, first)
    features = timm.create_model(
        'fastervit_0', pretrained=True, pretrained_cfg_overlay=overlay, features_only=True
    )
    name = 'levels.0.blocks.0.conv1.weight'
    assert torch.equal(features.model.state_dict()[name], state[f'module.{name}'])


def test_the_users_own_file_counts(published_file, tmp_path):
    """By timm's ``pretrained_cfg`` too; one of another network is one line."""
    path, state = published_file
    name = 'levels.0.blocks.0.conv1.weight'
    for kind in (dict, partial(PretrainedCfg, num_classes=1000)):
        stated = kind(file=str(path))
        model = timm.create_model('fastervit_0', pretrained=True, pretrained_cfg=stated)
        assert torch.equal(model.state_dict()[name], state[f'module.{name}'])
        assert 'state_dict' not in model.pretrained_cfg
    torch.save({k: v for k, v in state.items() if 'norm1' not in k}, tmp_path / 'less.pth')
    overlay = dict(file=str(tmp_path / 'less.pth'))
    with pytest.raises(FileError, match='the weights are not of fastervit_0'):
        timm.create_model('fastervit_0', pretrained=True, pretrained_cfg_overlay=overlay)


@pytest.mark.parametrize('safe', [True, False])
def test_a_folder_that_timm_wrote(safe, tmp_path):
    """With its head where the classes are as many; without weights it is one line."""
    if not has_hf_hub():
        pytest.skip('timm finds no huggingface_hub, which it asks for')
    model = timm.create_model('fastervit_0', num_classes=7)
    torch.nn.init.normal_(model.head.weight)
    save_for_hf(model, tmp_path, safe_serialization=safe)
    again = timm.create_model(f'local-dir:{tmp_path}', pretrained=True)
    own = again.state_dict()
    assert all(torch.equal(own[name], value) for name, value in model.state_dict().items())
    other = timm.create_model(f'local-dir:{tmp_path}', pretrained=True, num_classes=3)
    name = 'levels.0.blocks.0.conv1.weight'
    assert other.head.weight.shape == (3, 512) and torch.equal(other.state_dict()[name], own[name])
    (tmp_path / ('model.safetensors' if safe else 'pytorch_model.bin')).unlink()
    with pytest.raises(FileError, match='holds no weights; looked for model.safetensors, pytorch'):
        timm.create_model(f'local-dir:{tmp_path}', pretrained=True)


def test_tracing_goes_round_the_stages():
    """As timm's FX features do: what depends on the size is not looked into."""
    from timm.models._features_fx import create_feature_extractor

    model = small()
    graph = create_feature_extractor(model, return_nodes=['levels.3', 'head'])
    x = torch.randn(1, 3, 70, 90)
    with torch.no_grad():
        last, logits = graph(x).values()
        assert torch.equal(logits, model(x))
        (expected,) = model.forward_intermediates(x, indices=[3], intermediates_only=True)
        assert torch.equal(last, expected)


@pytest.mark.parametrize('changes', [{}, dict(layer_scale=1e-5, do_propagation=True)])
def test_a_traced_network_takes_any_size(changes):
    """TorchScript by tracing: at one size, right at others and for other batches."""
    model = small(arch=SMALL | changes)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter('ignore')  # of what is decided by the size, which we check here
        traced = torch.jit.trace(model, torch.randn(1, 3, 224, 224))
        results = []
        for size in [(1, 3, 224, 224), (2, 3, 96, 160), (3, 3, 401, 33)]:
            x = torch.randn(size)
            results.append(traced(x))
            torch.testing.assert_close(results[-1], model(x))
    assert not torch.allclose(results[0][0], results[1][0], atol=1e-3)
