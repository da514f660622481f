"""A compiled backbone can be trained: one graph, the eager gradients and statistics."""

import copy
import os
import shutil

import pytest
import torch
from torch import nn

from fastervit_mm import FasterViT
from fastervit_mm.inference.compiling import compile_backbones, with_layouts_kept
from fastervit_mm.network.convolution import Downsample

TINY = dict(dim=8, in_dim=8, depths=(1, 1, 1, 1), num_heads=(1, 1, 1, 1), mlp_ratio=1)


@pytest.fixture(autouse=True)
def nothing_compiled():
    torch.compiler.reset()
    yield
    torch.compiler.reset()


def step(model: FasterViT, image: torch.Tensor) -> dict[str, torch.Tensor]:
    torch.manual_seed(1)  # drop path draws
    maps = model(image)
    weights = [torch.linspace(-1, 1, m.numel()).reshape(m.shape) for m in maps]
    sum((m * w).sum() for m, w in zip(maps, weights, strict=True)).backward()
    return {name: p.grad for name, p in model.named_parameters()}


def assert_same_gradients(found: dict, expected: dict) -> None:
    largest = max(gradient.norm() for gradient in expected.values())
    for name, gradient in expected.items():
        # before a BatchNorm a bias has no gradient but the rounding errors of others
        rounding = 1e-5 * largest if name.endswith(('conv1.bias', 'conv2.bias')) else 1e-7
        difference = (found[name] - gradient).norm()
        assert difference <= 1e-4 * gradient.norm() + rounding, (name, difference, rounding)


def assert_trains_as_eager(sizes: list, stage: int = 3, **options) -> None:
    """A step of training at each of ``sizes`` by one graph, then evaluation."""
    torch.manual_seed(0)
    arch = dict(TINY, layer_scale=0.5, do_propagation=True)
    eager = FasterViT(arch, out_indices=(stage,))
    eager.init_weights()
    compiled = compile_backbones(copy.deepcopy(eager), **options)
    eager.train(), compiled.train()
    for number, size in enumerate(sizes):
        image = torch.randn(2, 3, *size)
        eager.zero_grad(), compiled.zero_grad()
        # the second size and those after it run what was compiled for the first
        with torch._dynamo.config.patch(error_on_recompile=number > 0):
            found = step(compiled, image)
        assert_same_gradients(found, step(eager, image))
    state = compiled.state_dict()
    for name, value in eager.state_dict().items():
        assert torch.allclose(state[name].float(), value.float(), rtol=1e-4, atol=1e-6), name
    assert state['patch_embed.conv_down.1.num_batches_tracked'] == len(sizes)
    eager.eval(), compiled.eval()
    with torch.no_grad():
        assert torch.allclose(compiled(image)[0], eager(image)[0], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize('with_cp', [False, True])
def test_a_compiled_backbone_is_trained(with_cp):
    torch.manual_seed(0)
    arch = dict(TINY, layer_scale=0.5, do_propagation=True, drop_path_rate=0.3)
    eager = FasterViT(arch, out_indices=(2,), with_cp=with_cp)
    eager.init_weights()
    compiled, image = copy.deepcopy(eager), torch.randn(2, 3, 96, 130)
    # with fullgraph=True: a break in the graph is an error
    compile_backbones(compiled, backend='eager', dynamic=False)  # quicker for one size
    with torch.no_grad():
        compiled.eval()(image)
    expected, found = step(eager.train(), image), step(compiled.train(), image)
    for name, gradient in expected.items():
        scale = gradient.abs().max()
        assert torch.allclose(found[name], gradient, atol=1e-4 * scale, rtol=1e-3), name
    state = compiled.state_dict()
    for name, value in eager.state_dict().items():
        assert torch.allclose(state[name].float(), value.float(), rtol=1e-4), name
    assert state['patch_embed.conv_down.1.num_batches_tracked'] == 1


SIZES = [(256, 320), (272, 400), (384, 256)]


def test_one_graph_trains_the_convolutional_stages_at_several_sizes():
    assert_trains_as_eager(SIZES, stage=1, backend='aot_eager')


@pytest.mark.long
def test_one_graph_trains_at_several_sizes():
    assert_trains_as_eager(SIZES, backend='aot_eager')


compiler_needed = pytest.mark.skipif(
    not (shutil.which(os.environ.get('CXX', 'g++')) or shutil.which('clang++')),
    reason='no C++ compiler for generated code',
)


@pytest.mark.long
@compiler_needed
def test_the_default_compiler_trains_at_several_sizes():
    """Minutes: code is generated and compiled for the whole forward and backward pass."""
    assert_trains_as_eager(SIZES)


@pytest.mark.long
@compiler_needed
def test_the_default_compiler_trains_the_step_between_stages():
    """Where inductor fails by itself: a permuted map before a convolution, kept for backward."""
    torch.manual_seed(0)
    eager = nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1), Downsample(16))
    compiled = copy.deepcopy(eager)
    compiled.compile(**with_layouts_kept(dict(dynamic=True, fullgraph=True)))
    for number, size in enumerate([(64, 96), (80, 48), (56, 56)]):
        image = torch.randn(2, 3, *size)
        eager.zero_grad(), compiled.zero_grad()
        with torch._dynamo.config.patch(error_on_recompile=number > 0):
            compiled(image).square().sum().backward()
        eager(image).square().sum().backward()
        found = {name: p.grad for name, p in compiled.named_parameters()}
        assert_same_gradients(found, {name: p.grad for name, p in eager.named_parameters()})
