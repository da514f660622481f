"""``init_cfg=dict(type='Pretrained')`` means the published file of ``arch``: one list of files."""

import re

import pytest
import torch
from mmengine.config import Config

from fastervit_mm import VARIANTS, FasterViT, Variant
from fastervit_mm.errors import ArgumentError
from fastervit_mm.weights.published import checkpoint_of
from tests.helpers import ROOT, SMALL

PUBLISHED = 'https://huggingface.co/ahatamiz/FasterViT/resolve/main/'
FILES = {
    'fastervit_0': 'fastervit_0_224_1k.pth.tar',
    'fastervit_1': 'fastervit_1_224_1k.pth.tar',
    'fastervit_2': 'fastervit_2_224_1k.pth.tar',
    'fastervit_3': 'fastervit_3_224_1k.pth.tar',
    'fastervit_4': 'fastervit_4_224_1k.pth.tar',
    'fastervit_5': 'fastervit_5_224_1k.pth.tar',
    'fastervit_6': 'fastervit_6_224_1k.pth.tar',
    'fastervit_4_21k_224': 'fastervit_4_21k_224_w14.pth.tar',
    'fastervit_4_21k_384': 'fastervit_4_21k_384_w24.pth.tar',
    'fastervit_4_21k_512': 'fastervit_4_21k_512_w32.pth.tar',
    'fastervit_4_21k_768': 'fastervit_4_21k_768_w48.pth.tar',
}
OWN = dict(type='Pretrained')
CONFIGS = sorted(p for p in (ROOT / 'configs').rglob('*fastervit*.py') if 'shapes' not in p.stem)


def test_every_variant_has_its_file():
    assert {name: checkpoint_of(name, OWN) for name in VARIANTS} == {
        name: PUBLISHED + file for name, file in FILES.items()
    }


def test_a_checkpoint_that_is_named_wins():
    for arch in ('fastervit_0', dict(SMALL)):
        assert checkpoint_of(arch, dict(OWN, checkpoint='/weights/a.pth')) == '/weights/a.pth'
    assert (
        checkpoint_of('fastervit_1', dict(OWN, checkpoint=None)) == PUBLISHED + FILES['fastervit_1']
    )


def test_a_network_of_ones_own_has_no_published_file(monkeypatch):
    monkeypatch.setitem(VARIANTS, 'tiny', Variant(**SMALL))
    for arch in ('tiny', dict(SMALL)):
        with pytest.raises(ArgumentError) as caught:
            FasterViT(arch, init_cfg=OWN).init_weights()
        assert str(caught.value) == (
            "init_cfg is {'type': 'Pretrained'}; allowed: None or dict(type='Pretrained', "
            f'checkpoint=PATH_OR_URL), because arch={arch!r} has no published weights'
        )


@pytest.mark.parametrize(
    'init_cfg', [dict(type='Kaiming'), dict(type='Pretrained', checkpoint=''), dict(checkpoint='a')]
)
def test_anything_else_says_what_is_allowed(init_cfg):
    with pytest.raises(ArgumentError) as caught:
        checkpoint_of('fastervit_0', init_cfg)
    assert str(caught.value) == (
        f"init_cfg is {init_cfg}; allowed: None or dict(type='Pretrained', "
        'checkpoint=PATH_OR_URL), without checkpoint for the published weights of arch'
    )


def test_the_variants_file_is_downloaded_and_loaded(monkeypatch, tmp_path):
    monkeypatch.setitem(VARIANTS, 'tiny', Variant(**SMALL, weights='tiny.pth.tar'))
    monkeypatch.setenv('TORCH_HOME', str(tmp_path))
    torch.manual_seed(1)
    theirs = FasterViT('tiny').state_dict()
    asked = []

    def download(url, path):
        asked.append(url)
        torch.save(dict(state_dict=theirs), path)

    monkeypatch.setattr('fastervit_mm.weights.download._download_part', download)
    torch.manual_seed(2)
    model = FasterViT('tiny', init_cfg=OWN)
    assert asked == []  # not in the constructor
    model.init_weights()
    assert asked == [PUBLISHED + 'tiny.pth.tar']
    assert all(torch.equal(v, theirs[k]) for k, v in model.state_dict().items())


def test_an_overridden_window_keeps_the_variants_file():
    model = FasterViT('fastervit_0', window_size=9, out_indices=(0,), init_cfg=OWN)
    assert checkpoint_of(model.arch, model.init_cfg) == PUBLISHED + FILES['fastervit_0']


@pytest.mark.parametrize('path', CONFIGS, ids=lambda p: p.stem)
def test_a_config_loads_the_weights_it_is_named_for(path):
    backbone = Config.fromfile(path, import_custom_modules=False).model.backbone
    name = re.search(r'fastervit_\d(_21k_\d+)?', path.stem)[0]
    assert backbone.arch == name and backbone.init_cfg == dict(type='Pretrained')
    assert checkpoint_of(backbone.arch, backbone.init_cfg) == PUBLISHED + FILES[name]


def test_no_config_repeats_a_published_url():
    assert len(CONFIGS) == 39
    for path in (ROOT / 'configs').rglob('*.py'):
        assert 'ahatamiz' not in path.read_text(), path


RELEASED = ROOT / 'configs/detection/dino_4scale_fastervit_4_21k_224_12e_released.py'


def test_the_released_detector_is_trained_again_from_the_21k_weights(tmp_path):
    """Its network takes everything of an ImageNet file; only its output norms are new."""
    backbone = Config.fromfile(RELEASED, import_custom_modules=False).model.backbone
    assert backbone.init_cfg == dict(type='Pretrained')
    settings = {k: backbone[k] for k in ('position_unit', 'pad_all_stages', 'out_norm')}
    assert settings == dict(position_unit='token_count', pad_all_stages=True, out_norm='bn')
    theirs = FasterViT(SMALL)
    for value in theirs.state_dict().values():
        value.add_(1) if value.is_floating_point() else None  # nothing that starts so
    torch.save(dict(state_dict=theirs.state_dict()), tmp_path / 'imagenet.pth')
    model = FasterViT(
        SMALL,
        out_indices=(1, 2, 3),
        init_cfg=dict(type='Pretrained', checkpoint=str(tmp_path / 'imagenet.pth')),
        **settings,
    )
    model.init_weights()
    new = {
        name
        for name, value in model.state_dict().items()
        if not torch.equal(value, theirs.state_dict().get(name, torch.empty(0)))
        and value.is_floating_point()
    }
    assert {name.split('.')[0] for name in new} == {'norm1', 'norm2', 'norm3'}
