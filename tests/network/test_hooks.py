"""What a forward hook keeps stays as it was shown: nothing is overwritten that somebody may hold."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import torch
from torch import Tensor, nn
from torch.nn.modules.module import (
    register_module_forward_hook,
    register_module_forward_pre_hook,
)

from fastervit_mm import FasterViT, fuse

TINY = dict(dim=8, in_dim=8, depths=(2, 1, 2, 1), num_heads=(1, 1, 2, 2))
NETWORKS = [
    dict(arch=TINY),
    dict(arch=dict(TINY, layer_scale=0.5, do_propagation=True), out_norm=None),
    dict(arch=dict(TINY, hat=False), out_norm='bn', pad_all_stages=True),
]


def build(fused: bool, options: dict = NETWORKS[1], dtype: torch.dtype = torch.float32):
    torch.manual_seed(0)
    network = FasterViT(**options).eval()
    network.init_weights()
    return (fuse(network) if fused else network).to(dtype)


def tensors_in(values) -> Iterator[Tensor]:
    if isinstance(values, Tensor):
        yield values
    elif isinstance(values, (tuple, list)):
        for value in values:
            yield from tensors_in(value)


class Keeping:
    """A user's hook: keeps what it is shown, and copies of it."""

    def __init__(self) -> None:
        self.shown: list[tuple[str, Tensor, Tensor]] = []

    def __call__(self, module: nn.Module, *values) -> None:
        for tensor in tensors_in(values):
            self.shown.append((type(module).__name__, tensor, tensor.clone()))

    def changed(self) -> list[str]:
        assert self.shown
        return [name for name, tensor, copy in self.shown if not torch.equal(tensor, copy)]


def on_each(register: Callable) -> Callable:
    return lambda network, hook: [register(module, hook) for module in network.modules()]


HOOKS = {
    'outputs': on_each(nn.Module.register_forward_hook),
    'always': on_each(lambda module, hook: module.register_forward_hook(hook, always_call=True)),
    'inputs': on_each(nn.Module.register_forward_pre_hook),
    'all outputs': lambda network, hook: [register_module_forward_hook(hook)],
    'all inputs': lambda network, hook: [register_module_forward_pre_hook(hook)],
}


@contextmanager
def hooked(network: nn.Module, kind: str) -> Iterator[Keeping]:
    keeping = Keeping()
    handles = HOOKS[kind](network, keeping)
    try:
        yield keeping
    finally:
        for handle in handles:
            handle.remove()


@pytest.mark.parametrize('kind', HOOKS)
@pytest.mark.parametrize('fused', [False, True])
@pytest.mark.parametrize('without_gradients', [torch.no_grad, torch.inference_mode])
def test_every_kind_of_hook_keeps_what_it_was_shown(kind, fused, without_gradients):
    network, image = build(fused), torch.randn(2, 3, 70, 90)
    with without_gradients():
        expected = network(image)
        with hooked(network, kind) as keeping:
            maps = network(image)
    assert not keeping.changed()
    assert all(map(torch.equal, maps, expected))


@pytest.mark.parametrize('options', NETWORKS)
@pytest.mark.parametrize('fused', [False, True])
@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16])
def test_in_every_network_and_dtype(options, fused, dtype):
    network, image = build(fused, options, dtype), torch.randn(1, 3, 70, 90, dtype=dtype)
    with torch.inference_mode(), hooked(network, 'outputs') as keeping:
        network(image)
    assert not keeping.changed()


@pytest.mark.parametrize('fused', [False, True])
def test_a_hook_on_one_module_alone(fused):
    shallow = dict(arch=dict(TINY, depths=(1, 1, 1, 1)))
    network, image = build(fused, shallow), torch.randn(1, 3, 30, 40)
    for name, module in network.named_modules():
        keeping = Keeping()
        handle = module.register_forward_hook(keeping)
        with torch.no_grad():
            network(image)
        handle.remove()
        # lists are not called, nor the layers of position MLPs, which their owner evaluates
        called = 'cpb_mlp' not in name and not isinstance(module, nn.ModuleList)
        assert not called or not keeping.changed(), name


def test_in_training_too():
    network, image = build(False).train(), torch.randn(2, 3, 70, 90)
    with hooked(network, 'outputs') as keeping:
        maps = network(image)
    assert not keeping.changed()
    sum(m.sum() for m in maps).backward()
    assert not keeping.changed()


@pytest.mark.parametrize('fused', [False, True])
def test_what_a_hook_returns_instead_stays_the_users(fused):
    network, image = build(fused), torch.randn(1, 3, 64, 64)
    own, before = {}, {}

    def replace(module, inputs, output):
        own[module], before[module] = output.clone(), output.clone()
        return own[module]

    for block in (*network.levels[0].blocks, *network.levels[2].blocks):
        for module in block.children():
            if type(module).__name__ not in ('PositionEmbedding', 'Identity'):
                module.register_forward_hook(replace)
    network.patch_embed.conv_down[1].register_forward_hook(replace)
    with torch.no_grad():
        network(image)
    assert len(own) > 15 and all(torch.equal(own[m], before[m]) for m in own)


@pytest.mark.parametrize('options', NETWORKS)
@pytest.mark.parametrize('fused', [False, True])
def test_a_second_image_changes_neither_the_first_ones_maps_nor_any_image(options, fused):
    network = build(fused, options)
    images = [torch.randn(1, 3, 64, 96) for _ in range(2)]
    before = [image.clone() for image in images]
    with torch.no_grad():
        maps = network(images[0])
        copies = [m.clone() for m in maps]
        network(images[1])
    assert all(map(torch.equal, maps, copies)) and all(map(torch.equal, images, before))
    memory = {m.untyped_storage().data_ptr() for m in (*maps, *images)}
    assert len(memory) == 6  # nobody writes into another's map
