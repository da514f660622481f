"""Weights at the start: linear layers as published, norms 1 and 0, layer scales at their value."""

import math

import pytest
import torch
from torch import nn

from fastervit_mm import FasterViT
from fastervit_mm.network.hierarchical_attention import layer_scale_parameter, scaled
from tests.helpers import SMALL

SCALED = dict(SMALL, layer_scale=0.25, do_propagation=True)


@pytest.fixture(scope='module')
def model() -> FasterViT:
    """Every parameter is away from its first value before `init_weights`."""
    torch.manual_seed(0)
    model = FasterViT(SCALED)
    for module in model.modules():
        if isinstance(module, nn.Linear):
            for parameter in module.parameters():
                nn.init.constant_(parameter, 3)
    model.init_weights()
    return model


def test_linear_weights_are_normal_of_std_002_and_biases_0(model):
    linear = [m for m in model.modules() if isinstance(m, nn.Linear)]
    assert len(linear) > 30
    for module in linear:
        assert module.bias is None or not module.bias.any()
        few = 4 * 0.02 / math.sqrt(2 * module.weight.numel())  # four standard errors
        assert module.weight.std().item() == pytest.approx(0.02, abs=few)
        assert abs(module.weight.mean().item()) < few * math.sqrt(2)
    everything = torch.cat([m.weight.flatten() for m in linear])
    assert everything.std().item() == pytest.approx(0.02, rel=0.01)
    # a normal distribution: 4.55 % lie further out than two standard deviations
    assert (everything.abs() > 0.04).float().mean().item() == pytest.approx(0.0455, rel=0.05)


def test_norms_start_as_1_and_0(model):
    norms = [m for m in model.modules() if isinstance(m, (nn.LayerNorm, nn.BatchNorm2d))]
    assert len(norms) > 15
    for norm in norms:
        assert (norm.weight == 1).all() and not norm.bias.any()
    for norm in (m for m in norms if isinstance(m, nn.BatchNorm2d)):
        assert not norm.running_mean.any() and (norm.running_var == 1).all()
        assert norm.momentum == 0.1


def test_convolutions_stay_as_pytorch_makes_them():
    torch.manual_seed(0)
    model = FasterViT(SMALL)
    before = {n: p.clone() for n, p in model.named_parameters() if p.dim() == 4}
    model.init_weights()
    assert all(torch.equal(p, before[n]) for n, p in model.named_parameters() if n in before)
    weight = model.levels[0].blocks[0].conv1.weight
    # uniform up to 1 / sqrt(fan in)
    assert weight.std().item() == pytest.approx(1 / math.sqrt(3 * 16 * 9), rel=0.05)


def test_epsilons_are_the_published_ones(model):
    stem = model.patch_embed.conv_down
    assert [stem[i].eps for i in (1, 4)] == [1e-4, 1e-4]
    for stage in model.levels[:2]:
        assert [stage.blocks[0].norm1.eps, stage.blocks[0].norm2.eps] == [1e-5, 1e-5]
        assert stage.downsample.norm.eps == 1e-6
    for stage in model.levels[2:]:
        assert [m.eps for m in stage.blocks[0].modules() if isinstance(m, nn.LayerNorm)] == [
            1e-5
        ] * (2 if stage.global_tokenizer is None else 4)
    assert [getattr(model, f'norm{i}').eps for i in range(4)] == [1e-6] * 4
    batch_norms = FasterViT(SMALL, out_norm='bn')
    assert [type(getattr(batch_norms, f'norm{i}')) for i in range(4)] == [nn.BatchNorm2d] * 4
    assert batch_norms.norm3.num_features == 128 and batch_norms.norm3.eps == 1e-5


def test_convolutions_followed_by_a_norm_have_no_bias():
    model = FasterViT(SMALL)
    assert model.patch_embed.conv_down[0].bias is None
    assert model.patch_embed.conv_down[3].bias is None
    assert model.levels[0].downsample.reduction[0].bias is None
    block = model.levels[0].blocks[0]
    assert block.conv1.bias is not None and block.conv2.bias is not None


def gammas(model: FasterViT) -> dict[str, torch.Tensor]:
    return {n: p for n, p in model.named_parameters() if '.gamma' in n}


def test_layer_scales_start_at_their_value(model):
    found = gammas(model)
    hat = [f'levels.2.blocks.{i}.gamma{j}' for i in (0, 1) for j in (1, 2, 3, 4)]
    assert sorted(found) == [*hat, 'levels.3.blocks.0.gamma3', 'levels.3.blocks.0.gamma4']
    assert all((p == 0.25).all() for p in found.values())
    assert {len(p) for n, p in found.items() if n.startswith('levels.2')} == {64}
    published = FasterViT(dict(SMALL, layer_scale=1e-5))
    assert all((p == torch.tensor(1e-5)).all() for p in gammas(published).values())


def test_without_layer_scale_there_are_no_gammas_and_the_scale_is_1():
    assert not gammas(FasterViT(SMALL))
    assert layer_scale_parameter(3, None) is None
    x = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    assert scaled(x, None) is x
    assert scaled(x, torch.tensor([2.0, 10.0])).tolist() == [[2, 20], [6, 40]]


def test_a_layer_scale_of_zero_is_a_layer_scale():
    """Each branch starts switched off: 0 is a value, None is none."""
    assert len(gammas(FasterViT(dict(SMALL, layer_scale=0)))) == 10


def test_the_model_knows_that_it_is_initialised():
    model = FasterViT(SMALL)
    assert not model.is_init
    model.init_weights()
    assert model.is_init
