"""A fused backbone gives the same maps, alone and inside a detector, and cannot be trained."""

import copy
import gc
import weakref
from types import SimpleNamespace

import pytest
import torch
from torch import nn

import fastervit_mm
from fastervit_mm import FasterViT, fuse

TINY = dict(dim=16, in_dim=8, depths=(1, 2, 2, 1), num_heads=(1, 1, 2, 2))


def trained(**changes):
    """A backbone whose every parameter and statistic is away from its first value."""
    torch.manual_seed(0)
    backbone = FasterViT({**TINY, **changes.pop('arch', {})}, **changes).eval()
    for tensor in backbone.state_dict().values():
        if tensor.is_floating_point():
            tensor.add_(0.2 * (torch.rand_like(tensor) - 0.5))
    return backbone


@pytest.mark.parametrize(
    'changes',
    [
        {},
        dict(arch=dict(layer_scale=0.3, do_propagation=True)),
        dict(arch=dict(layer_scale=0.3, hat=(False,) * 4), out_norm='bn', pad_all_stages=True),
        dict(position_unit='token_count', out_indices=(1, 3), ct_size=1),
    ],
)
@pytest.mark.parametrize('size', [(64, 64), (150, 259)])
def test_fused_maps_are_the_same(changes, size):
    plain = trained(**changes)
    fused = fuse(copy.deepcopy(plain))
    image = torch.randn(2, 3, *size)
    with torch.no_grad():
        for a, b in zip(plain(image), fused(image), strict=True):
            assert (a - b).abs().max() <= 1e-4 * a.std()
    inner = [fused.patch_embed, *(block for level in fused.levels for block in level.blocks)]
    assert not any(isinstance(m, nn.BatchNorm2d) for part in inner for m in part.modules())


@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16])
def test_a_state_and_a_copy_taken_before_stay_as_they_were(dtype):
    plain = trained(arch=dict(layer_scale=0.3, do_propagation=True)).to(dtype)
    copied, sharing = copy.deepcopy(plain), copy.deepcopy(plain)
    state, kept = plain.state_dict(), plain.state_dict(keep_vars=True)
    sharing.load_state_dict(state, assign=True)  # another model on the very same tensors
    before = {name: tensor.clone() for name, tensor in state.items()}
    image = torch.randn(1, 3, 70, 90, dtype=dtype)
    with torch.no_grad():
        maps = plain(image)
        fuse(plain)
        for same in (state, kept, copied.state_dict(), sharing.state_dict()):
            assert not [name for name in before if not torch.equal(same[name], before[name])]
        for unfused in (copied, sharing):
            assert all(map(torch.equal, unfused(image), maps))
        for a, b in zip(plain(image), maps, strict=True):
            assert (a - b).abs().max() <= (1e-4 if dtype == torch.float32 else 0.2) * b.std()


def test_fusing_keeps_no_second_copy_of_the_weights():
    model = trained(arch=dict(layer_scale=0.3))

    def held() -> int:
        tensors = [*model.parameters(), *model.buffers()]
        return sum({t.data_ptr(): t.untyped_storage().nbytes() for t in tensors}.values())

    # what is folded is computed anew: convolutions before a BatchNorm, layers before a scale
    ends = ('conv_down.0.weight', 'conv1.weight', 'conv2.weight', 'proj.weight', 'fc2.weight')
    old = [weakref.ref(p) for n, p in model.named_parameters() if n.endswith(ends)]
    before = held()
    fuse(model)
    gc.collect()
    assert len(old) == 17 and not any(ref() is not None for ref in old)
    assert held() < 1.05 * before


def test_it_says_what_it_fused(monkeypatch):
    lines = []
    monkeypatch.setattr(
        'fastervit_mm.inference.fusing.print_log', lambda line, logger: lines.append(line)
    )
    fuse(trained(arch=dict(layer_scale=0.3)))
    (told,) = lines
    assert '8 BatchNorm layers into convolutions' in told  # stem 2, three conv blocks 2 each
    assert '10 layer scales' in told  # two HAT blocks 4 each, one window block 2
    assert '6 position tables' in told
    assert '20 linear layers' in told  # 4 a window block, 8 a HAT block


def test_a_fused_backbone_refuses_training_and_weights():
    backbone = trained()
    weights = backbone.state_dict()
    fuse(backbone)
    assert not any(p.requires_grad for p in backbone.parameters())
    with pytest.raises(ValueError, match='train it before fuse'):
        backbone.train()
    with pytest.raises(ValueError, match='load them, then call fuse'):
        backbone.load_state_dict(weights, strict=False)
    with pytest.raises(ValueError, match='load them, then call fuse'):
        backbone.init_weights()
    assert fuse(backbone) is backbone  # once more changes nothing
    copy.deepcopy(backbone)


def test_a_whole_detector_is_fused_and_stays_in_one_piece():
    class Detector(nn.Module):
        def __init__(self):
            super().__init__()
            self.backbone = trained()
            self.neck = nn.Sequential(nn.Conv2d(128, 8, 1), nn.BatchNorm2d(8))

        def forward(self, x):
            return self.neck(self.backbone(x)[-1])

    detector = Detector()
    before = copy.deepcopy(detector).eval()
    assert fastervit_mm.fuse(detector) is detector
    image = torch.randn(1, 3, 100, 130)
    with torch.no_grad():
        assert torch.allclose(before(image), detector(image), atol=1e-4)
    assert isinstance(detector.neck[1], nn.BatchNorm2d)
    with pytest.raises(ValueError, match='train it before fuse'):
        detector.train()


def test_a_model_without_our_backbone_is_named():
    with pytest.raises(ValueError, match='Linear holds no fastervit_mm.FasterViT'):
        fuse(nn.Linear(1, 1))


def test_half_precision_after_fusing():
    plain = trained()
    fused = fuse(copy.deepcopy(plain)).bfloat16()
    image = torch.randn(1, 3, 96, 160)
    with torch.no_grad():
        for a, b in zip(plain(image), fused(image.bfloat16()), strict=True):
            assert b.dtype == torch.bfloat16
            assert (a - b.float()).std() < 0.1 * a.std()


def test_a_fused_backbone_can_be_traced_and_asked_for_the_image_s_gradient():
    fused = trained()
    with torch.inference_mode():
        fuse(fused)
    image = torch.randn(1, 3, 64, 96, requires_grad=True)
    sum(m.square().mean() for m in fused(image)).backward()
    assert image.grad.abs().sum() > 0
    with torch.no_grad():
        traced = torch.jit.trace(fused, image.detach())
        for a, b in zip(traced(image), fused(image), strict=True):
            assert torch.allclose(a, b, atol=1e-4)


def test_a_run_with_averaged_weights_is_tested_fused(tmp_path):
    """EMAHook would swap tensors that the fused model no longer has."""
    from mmengine.hooks import EMAHook

    from fastervit_mm.training.hooks import FasterInferenceHook

    hooks = [EMAHook(), FasterInferenceHook(fuse=True)]
    runner = SimpleNamespace(model=nn.Sequential(trained()), hooks=hooks, _hooks=hooks)
    runner.hooks[1].before_test(runner)
    assert runner.model[0].fused
    assert [type(hook) for hook in runner._hooks] == [FasterInferenceHook]


def test_the_hook_compiles_the_backbone(monkeypatch):
    from fastervit_mm.training.hooks import FasterInferenceHook

    runner = SimpleNamespace(model=nn.Sequential(trained()), hooks=[])
    asked = []
    monkeypatch.setattr(nn.Module, 'compile', lambda self, **options: asked.append(options))
    FasterInferenceHook(compile=True).before_test(runner)
    (options,) = asked
    assert options['dynamic'] and options['fullgraph'] and not runner.model[0].fused
