"""A compiled backbone can be trained: one graph, the eager gradients and statistics."""

import copy

import pytest
import torch

from fastervit_mm import FasterViT
from fastervit_mm.inference.compiling import compile_backbones

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
