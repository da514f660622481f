"""torch.compile: one graph, few compilations over many sizes, the eager numbers."""

import pytest
import torch
from torch import nn

from fastervit_mm import FasterViT, fuse
from fastervit_mm.inference.compiling import compile_backbones

TINY = dict(
    dim=64,
    in_dim=32,  # PyTorch itself parts small convolutions on a CPU from large ones
    depths=(1, 1, 1, 1),
    num_heads=(1, 1, 1, 1),
    mlp_ratio=1,
    layer_scale=0.5,
    do_propagation=True,
)
# square and not, needing padding and not, one window and many
SIZES = (
    [(320, 256), (384, 384), (224, 224), (256, 400), (300, 300), (100, 100), (300, 250)]
    + [(250, 300), (448, 448), (333, 260), (336, 448), (224, 160), (97, 113), (225, 224)]
    + [(224, 450), (112, 112), (113, 336), (448, 224), (160, 224), (320, 320)]
)


class Counting:
    """A backend that compiles nothing and counts the graphs it is given."""

    def __init__(self):
        self.graphs = 0

    def __call__(self, graph, inputs):
        self.graphs += 1
        return graph.forward


@pytest.fixture
def backend():
    torch.compiler.reset()
    yield Counting()
    torch.compiler.reset()


def build(**changes):
    torch.manual_seed(0)
    backbone = FasterViT({**TINY, **changes}).eval()
    backbone.init_weights()
    return backbone


def assert_equal(compiled, eager, sizes):
    for size in sizes:
        image = torch.randn(1, 3, *size)
        with torch.no_grad():
            for a, b in zip(compiled(image), eager(image), strict=True):
                assert a.shape == b.shape and a.is_contiguous()
                assert (a - b).abs().max() <= 1e-3


@pytest.mark.parametrize('fused', [False, True])
def test_few_compilations_over_many_sizes_and_the_eager_numbers(backend, fused):
    backbone = fuse(build()) if fused else build()
    compiled = torch.compile(backbone, dynamic=True, fullgraph=True, backend=backend)
    assert_equal(compiled, build(), SIZES)
    assert 1 <= backend.graphs <= 4


def test_a_square_image_first(backend):
    backbone = build()
    compiled = torch.compile(backbone, dynamic=True, fullgraph=True, backend=backend)
    assert_equal(compiled, backbone, [(320, 320), (320, 256), (260, 260), (300, 400), (400, 260)])
    assert backend.graphs <= 2


def test_without_carrier_tokens(backend):
    backbone = build(hat=(False,) * 4, window_size=(7, 7, 14, 7))
    compiled = torch.compile(backbone, dynamic=True, fullgraph=True, backend=backend)
    assert_equal(compiled, backbone, [(320, 512), (448, 448), (333, 500), (640, 300)])
    assert backend.graphs == 1


def test_the_backbone_of_a_model_is_compiled_in_place(backend):
    model = nn.Sequential(build())
    names = list(model.state_dict())
    assert compile_backbones(model, backend=backend) is model
    assert_equal(model, build(), [(160, 256), (320, 512)])
    assert backend.graphs >= 1 and list(model.state_dict()) == names
    with pytest.raises(ValueError, match='Linear holds no'):
        compile_backbones(nn.Linear(1, 1))


@pytest.mark.long
def test_the_default_compiler_gives_the_eager_numbers():
    """With code generation, which needs a C++ compiler and minutes."""
    torch.compiler.reset()
    backbone = build(dim=16)
    compiled = torch.compile(backbone, dynamic=True, fullgraph=True)
    assert_equal(compiled, backbone, [(320, 512), (448, 448), (333, 500)])
    torch.compiler.reset()
