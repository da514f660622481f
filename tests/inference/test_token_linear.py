"""The fused linear layer on each of its paths against PyTorch's own."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from fastervit_mm.network.token_linear import TokenLinear

SHAPES = [(5, 12), (2, 7, 12), (2, 3, 4, 12), (1, 12), (0, 4, 12)]
ACTIVATIONS = {'none': lambda x: x, 'gelu': F.gelu}


@pytest.fixture
def layer() -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(12, 8)


def take(layer: nn.Linear, activation: str) -> TokenLinear:
    return TokenLinear(copy.deepcopy(layer), activation)


@pytest.mark.parametrize('activation', ACTIVATIONS)
@pytest.mark.parametrize('shape', SHAPES)
def test_in_inference(layer, activation, shape):
    x = torch.randn(shape)
    with torch.no_grad():
        got = take(layer, activation)(x)
        expected = ACTIVATIONS[activation](layer(x))
    assert got.shape == expected.shape and torch.allclose(got, expected, atol=1e-6)


@pytest.mark.parametrize('activation', ACTIVATIONS)
@pytest.mark.parametrize('shape', SHAPES[:3])
def test_with_gradients(layer, activation, shape):
    ours, inputs = take(layer, activation), torch.randn(shape)
    results = []
    for module, after in ((ours, lambda y: y), (layer, ACTIVATIONS[activation])):
        x = inputs.clone().requires_grad_()
        out = after(module(x))
        out.square().sum().backward()
        results.append([out, x.grad, module.weight.grad, module.bias.grad])
    for got, expected in zip(*results, strict=True):
        assert torch.allclose(got, expected, atol=1e-5)


@pytest.mark.parametrize('activation', ACTIVATIONS)
@pytest.mark.parametrize('grad', [False, True])
@pytest.mark.parametrize(
    'dtype, tolerance', [(torch.float64, 1e-12), (torch.bfloat16, 0.02), (torch.float16, 2e-3)]
)
def test_in_other_precisions(layer, activation, grad, dtype, tolerance):
    x = torch.randn(3, 5, 12).to(dtype)
    expected = ACTIVATIONS[activation](layer.to(dtype).double()(x.double()))
    with torch.set_grad_enabled(grad):
        got = take(layer.to(dtype), activation)(x)
    assert got.dtype == dtype
    assert (got - expected).abs().max() <= tolerance * expected.abs().max()


@pytest.mark.parametrize('activation', ACTIVATIONS)
def test_under_autocast(layer, activation):
    """As PyTorch's layer, whose result is bf16: computing in fp32 would be no mixed precision."""
    x = torch.randn(3, 5, 12)
    with torch.no_grad(), torch.autocast('cpu', torch.bfloat16):
        got, expected = take(layer, activation)(x), ACTIVATIONS[activation](layer(x))
    assert got.dtype == expected.dtype == torch.bfloat16
    assert (got - expected).abs().max() <= 0.02 * expected.abs().max()


class Operators(TorchDispatchMode):
    """Names of the operators that are called meanwhile."""

    def __torch_dispatch__(self, function, types, arguments=(), keywords=None):
        self.names = [*getattr(self, 'names', []), str(function)]
        return function(*arguments, **(keywords or {}))


@pytest.mark.parametrize('activation', ACTIVATIONS)
@pytest.mark.parametrize(
    'grad, autocast, dtype, fused',
    [
        (False, False, torch.float32, True),
        (True, False, torch.float32, False),
        (False, True, torch.float32, False),
        (False, False, torch.float64, False),
        (False, False, torch.float16, False),
    ],
)
def test_onednns_layer_computes_what_it_can_and_a_convolution_the_rest(
    layer, activation, grad, autocast, dtype, fused
):
    taken, x = take(layer.to(dtype), activation), torch.randn(2, 3, 12, dtype=dtype)
    with (
        torch.set_grad_enabled(grad),
        torch.autocast('cpu', torch.bfloat16, enabled=autocast),
        Operators() as called,
    ):
        taken(x)
    linear = [name for name in called.names if 'linear' in name or 'mm' in name]
    assert linear == (['mkldnn._linear_pointwise.default'] if fused else [])
    assert any('convolution' in name for name in called.names) == (not fused)
    assert any('gelu' in name for name in called.names) == (activation == 'gelu' and not fused)


@pytest.mark.parametrize('activation', ACTIVATIONS)
def test_traced(layer, activation):
    """A trace holds nothing but standard operators, and takes other sizes."""
    with torch.no_grad():
        traced = torch.jit.trace(take(layer, activation), torch.randn(2, 3, 12))
        x = torch.randn(2, 3, 12)
        assert torch.allclose(traced(x), ACTIVATIONS[activation](layer(x)), atol=1e-6)
    assert 'mkldnn' not in str(traced.inlined_graph)


@pytest.mark.parametrize('activation', ACTIVATIONS)
def test_compiled_code_holds_standard_operators_alone(layer, activation):
    graphs = []

    def backend(graph, inputs):
        graphs.append(graph)
        return graph.forward

    torch.compiler.reset()
    compiled = torch.compile(take(layer, activation), backend=backend, fullgraph=True)
    x = torch.randn(2, 3, 12)
    with torch.no_grad():
        assert torch.allclose(compiled(x), ACTIVATIONS[activation](layer(x)), atol=1e-6)
    torch.compiler.reset()
    assert len(graphs) == 1 and 'mkldnn' not in str(graphs[0].graph)


def test_on_another_device(layer):
    meta = take(layer, 'gelu').to('meta')
    assert meta(torch.zeros(2, 7, 12, device='meta')).shape == (2, 7, 8)


def test_its_parameters_are_the_layers_own(layer):
    taken = TokenLinear(layer)
    assert taken.weight is layer.weight and taken.bias is layer.bias
    assert (taken.in_features, taken.out_features) == (12, 8)
    assert taken.activation == 'none' and not taken.training
    assert list(taken.state_dict()) == ['weight', 'bias']
    assert all(p.device.type == 'cpu' for p in taken.parameters())
    x = torch.randn(4, 12)
    with torch.no_grad():
        layer.weight.mul_(2)
        assert torch.allclose(taken(x), layer(x), atol=1e-6)
