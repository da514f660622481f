"""What a user relies on: any size, gradients, modes, states, and errors that say what to do."""

import copy
import gc
import pickle

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmengine.model import ExponentialMovingAverage
from torch import nn

from fastervit_mm import FasterViT
from fastervit_mm.network.backbone import drop_path_rates
from tests.helpers import SMALL

PROPAGATING = dict(SMALL, layer_scale=0.5, do_propagation=True)


def build(arch=SMALL, **kwargs) -> FasterViT:
    torch.manual_seed(0)
    model = FasterViT(arch, **kwargs)
    model.init_weights()
    return model


def random_loss(maps) -> torch.Tensor:
    """A loss that every map's values count in: sums over normalised maps would be constants."""
    generator = torch.Generator().manual_seed(0)
    return sum((m * torch.randn(m.shape, generator=generator)).mean() for m in maps)


def halved(size: int, times: int) -> int:
    for _ in range(times):
        size = -(-size // 2)
    return size


@pytest.fixture(scope='module')
def evaluated() -> FasterViT:
    return build(PROPAGATING).eval()


@given(st.integers(1, 300), st.integers(1, 300), st.integers(1, 2))
@settings(max_examples=25, deadline=None)
def test_any_size_gives_maps_of_the_promised_shapes(evaluated, height, width, batch):
    with torch.no_grad():
        maps = evaluated(torch.randn(batch, 3, height, width))
    assert [tuple(m.shape) for m in maps] == [
        (batch, 16 * 2**i, halved(height, 2 + i), halved(width, 2 + i)) for i in range(4)
    ]
    assert all(torch.isfinite(m).all() for m in maps)


@pytest.mark.parametrize('size', [(1, 1), (5, 1000), (1333, 800)])
def test_extreme_sizes(evaluated, size):
    with torch.no_grad():
        assert evaluated(torch.randn(1, 3, *size))[3].shape[-2:] == tuple(
            halved(s, 5) for s in size
        )


def transpose_weights(model: FasterViT) -> FasterViT:
    """A network for which rows are columns and columns rows."""
    model = copy.deepcopy(model)
    for name, module in model.named_modules():
        if isinstance(module, nn.Conv2d):
            module.weight.data = module.weight.data.transpose(2, 3).contiguous()
        if name.endswith('cpb_mlp.0'):
            module.weight.data = module.weight.data.flip(1)
    return model


@pytest.mark.parametrize('window, ct_size', [(7, 2), (6, 3), (5, 1)])
@pytest.mark.parametrize('pooling', ['aligned', 'stretched'])
def test_rows_and_columns_are_treated_alike(window, ct_size, pooling):
    model = build(PROPAGATING, window_size=window, ct_size=ct_size, carrier_pooling=pooling).eval()
    x = torch.randn(1, 3, 150, 333)
    with torch.no_grad():
        maps, turned = model(x), transpose_weights(model)(x.transpose(2, 3))
    for one, other in zip(maps, turned, strict=True):
        assert torch.allclose(one, other.transpose(2, 3), atol=1e-4)


def test_an_image_does_not_depend_on_the_others_of_its_batch(evaluated):
    x = torch.randn(3, 3, 130, 250)
    with torch.no_grad():
        together, alone = evaluated(x), evaluated(x[1:2])
    for one, other in zip(together, alone, strict=True):
        assert torch.allclose(one[1:2], other, atol=1e-4)


@pytest.mark.parametrize('size', [(1, 1), (32, 32), (64, 500), (224, 224), (230, 460)])
@pytest.mark.parametrize('ct_size', [1, 2])
def test_every_parameter_gets_a_gradient_at_every_size(size, ct_size):
    model = build(PROPAGATING, ct_size=ct_size).train()
    random_loss(model(torch.randn(2, 3, *size))).backward()
    gradients = {name: p.grad for name, p in model.named_parameters()}
    assert not [name for name, g in gradients.items() if g is None]
    if min(size) >= 224 and ct_size > 1:
        assert not [name for name, g in gradients.items() if g.abs().max() == 0]


def test_a_window_sees_the_others_through_carriers_only_with_hat():
    x = torch.randn(1, 3, 448, 448)
    changed = x.clone()
    changed[..., -32:, -32:] += 1
    for hat, sees in ((True, True), (False, False)):
        model = build(dict(SMALL, hat=(False, False, hat, False)), out_indices=(2,)).eval()
        with torch.no_grad():
            difference = (model(x)[0] - model(changed)[0]).abs()
        assert (difference[..., :7, :7].max() > 0) == sees


def one_step(model: FasterViT, size=(64, 96)) -> None:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    random_loss(model.train()(torch.randn(2, 3, *size))).backward()
    optimizer.step()
    optimizer.zero_grad()


def test_copies_and_checkpoints_do_not_depend_on_what_was_run_before(tmp_path):
    model = build()
    names = list(model.state_dict())
    one_step(model)
    model.eval()(torch.randn(1, 3, 333, 80))
    average = ExponentialMovingAverage(model)
    one_step(model, (100, 50))
    average.update_parameters(model)
    assert list(model.state_dict()) == names == list(average.module.state_dict())
    x = torch.randn(1, 3, 120, 200)
    torch.save(model.state_dict(), tmp_path / 'weights.pth')
    other = build()
    other.load_state_dict(torch.load(tmp_path / 'weights.pth', weights_only=True))
    with torch.no_grad():
        expected = model.eval()(x)
        for same in (copy.deepcopy(model), pickle.loads(pickle.dumps(model)), other.eval()):
            assert all(map(torch.equal, same(x), expected))


def test_weights_written_behind_the_optimisers_back_count_at_once():
    model = build().eval()
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        before = model(x)[2]
        for name, parameter in model.named_parameters():
            if 'cpb_mlp' in name:
                parameter.data.mul_(3)
        assert not torch.allclose(model(x)[2], before)


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_autocast_stays_finite_and_close(evaluated, dtype):
    x = torch.randn(1, 3, 1333, 800)
    with torch.no_grad():
        exact = evaluated(x)
        with torch.autocast('cpu', dtype):
            rough = evaluated(x)
    for one, other in zip(rough, exact, strict=True):
        assert torch.isfinite(one).all()
        assert (one - other).abs().mean() < 0.05 * other.abs().mean()


def test_a_model_in_bfloat16_runs():
    maps = build().to(torch.bfloat16).eval()(torch.randn(1, 3, 50, 90, dtype=torch.bfloat16))
    assert all(m.dtype == torch.bfloat16 and torch.isfinite(m).all() for m in maps)


@pytest.mark.parametrize('frozen', range(-1, 5))
def test_frozen_stages(frozen):
    model = build(frozen_stages=frozen, out_norm='bn')
    assert model.train() is model
    expected = []
    for name, parameter in model.named_parameters():
        part = name.split('.')[0]
        stage = (
            -1
            if part == 'patch_embed'
            else int(name.split('.')[1] if part == 'levels' else part[-1])
        )
        expected.append(stage < frozen)
        assert parameter.requires_grad == (stage >= frozen), name
    assert any(expected) == (frozen >= 0) and all(expected) == (frozen == 4)
    statistics = {k: v.clone() for k, v in model.state_dict().items() if 'running' in k}
    model(torch.randn(2, 3, 64, 64))
    moved = [k for k, v in statistics.items() if not torch.equal(v, model.state_dict()[k])]
    assert not [k for k in moved if k.startswith('patch_embed')] or frozen < 0
    assert not [k for k in moved if k.startswith('levels.0')] or frozen < 1
    assert (not moved) == (frozen == 4)


def test_norm_eval_keeps_batch_norm_still_in_training():
    model = build(norm_eval=True).train()
    assert model.training and model.levels[2].blocks[0].training
    assert not any(m.training for m in model.modules() if isinstance(m, nn.BatchNorm2d))
    model(torch.randn(1, 3, 1, 1))


@pytest.mark.parametrize('norm_eval', [False, True])
def test_checkpointing_gives_the_same_gradients_and_statistics(norm_eval):
    results = []
    for with_cp in (False, True):
        model = build(
            dict(PROPAGATING, drop_path_rate=0.3), with_cp=with_cp, norm_eval=norm_eval
        ).train()
        torch.manual_seed(1)
        (1000 * random_loss(model(torch.randn(2, 3, 96, 160)))).backward()
        results.append((model.state_dict(), {n: p.grad for n, p in model.named_parameters()}))
    (statistics, gradients), (other_statistics, other_gradients) = results
    assert min(g.abs().max() for g in gradients.values()) > 1e-6
    for name, gradient in gradients.items():
        scale = gradient.abs().max()
        assert torch.allclose(gradient, other_gradients[name], atol=1e-4 * scale, rtol=1e-3), name
    assert all(
        torch.allclose(statistics[k].float(), other_statistics[k].float()) for k in statistics
    )


def test_recomputing_suits_synchronised_batch_norm():
    """It wants a count to add to, which must not stay."""
    from fastervit_mm.network.stages import _running_statistics_kept

    block = nn.SyncBatchNorm.convert_sync_batchnorm(build().levels[0].blocks[0]).train()
    count = block.norm1.num_batches_tracked.clone()
    with _running_statistics_kept(block):
        block.norm1(torch.randn(2, 16, 4, 4))
    assert torch.equal(block.norm1.num_batches_tracked, count) and block.norm1.momentum == 0.1


def test_checkpointing_keeps_fewer_activations():
    kept = []
    for with_cp in (False, True):
        sizes = []
        model = build(with_cp=with_cp).train()
        with torch.autograd.graph.saved_tensors_hooks(
            lambda t, sizes=sizes: sizes.append(t.numel()) or t, lambda t: t
        ):
            model(torch.randn(2, 3, 128, 128))
        kept.append(sum(sizes))
    assert kept[1] < 0.6 * kept[0]


def test_only_what_is_emitted_is_built_and_in_the_order_asked_for():
    model = build(out_indices=(2, 0))
    assert len(model.levels) == 3 and model.levels[2].downsample is None
    assert (model.out_channels, model.out_strides) == ((64, 16), (16, 4))
    maps = model(torch.randn(2, 3, 64, 64))
    assert [m.shape[1] for m in maps] == [64, 16]
    assert {n.split('.')[0] for n in model.state_dict()} == {
        'patch_embed',
        'levels',
        'norm0',
        'norm2',
    }


@pytest.mark.parametrize('out_norm', ['ln2d', 'bn', None])
def test_maps_are_contiguous_because_operators_of_mmcv_rely_on_it(out_norm):
    x = torch.randn(1, 3, 64, 64)
    for memory_format in (torch.contiguous_format, torch.channels_last):
        model = build(out_norm=out_norm).eval().to(memory_format=memory_format)
        assert all(m.is_contiguous() for m in model(x.to(memory_format=memory_format)))


def test_channels_last_changes_the_layout_and_nothing_else():
    x = torch.randn(2, 3, 96, 130)
    results = []
    for channels_last in (False, True):
        model = build(PROPAGATING, channels_last=channels_last, drop_path_rate=0.0).train()
        maps = model(x)
        random_loss(maps).backward()
        assert all(m.is_contiguous() for m in maps)
        results.append([*maps, *(p.grad for p in model.parameters())])
    weight = model.levels[0].blocks[0].conv1.weight
    assert weight.is_contiguous(memory_format=torch.channels_last)
    for a, b in zip(*results, strict=True):
        assert torch.allclose(a, b, rtol=1e-3, atol=1e-6 + 1e-4 * a.abs().max().item())


def test_two_hundred_sizes_leave_nothing_behind(evaluated):
    """Neither tensors nor entries of the state: nothing is kept by size."""

    def tensors() -> int:
        gc.collect()
        return sum(isinstance(thing, torch.Tensor) for thing in gc.get_objects())

    generator = torch.Generator().manual_seed(0)
    sizes = torch.randint(20, 260, (200, 2), generator=generator).tolist()
    state, before = set(evaluated.state_dict()), None
    for size in sizes:
        with torch.no_grad():
            evaluated(torch.zeros(1, 3, *size))
        before = tensors() if before is None else before
    assert tensors() == before and set(evaluated.state_dict()) == state


def test_padding_of_all_stages_changes_values_not_shapes():
    x = torch.randn(1, 3, 100, 140)
    plain, padded = (build(pad_all_stages=p).eval()(x) for p in (False, True))
    assert [m.shape for m in plain] == [m.shape for m in padded]
    assert not torch.allclose(plain[0], padded[0])


def test_drop_path_rises_from_zero_to_its_rate():
    rates = drop_path_rates((1, 2, 2), 0.4)
    assert rates == [[0], [pytest.approx(0.1), 0.2], [pytest.approx(0.3), 0.4]]


@pytest.mark.parametrize(
    'arguments, expected',
    [
        (dict(arch='fastervit_21k'), r"arch is 'fastervit_21k'; did you mean .*fastervit_"),
        (dict(arch=dict(SMALL, depth=3)), r"unknown word 'depth'; did you mean 'depths'"),
        (dict(arch=dict(dim=16)), 'arch lacks in_dim, depths, num_heads'),
        (dict(arch=dict(SMALL, depths=(1, 1))), 'depths.* has 2 values'),
        (
            dict(arch=dict(SMALL, num_heads=3)),
            r'num_heads\[2\] is 3; it must divide the 64 channels',
        ),
        (dict(arch=dict(SMALL, hat=(True, False, True, False))), 'hat is .* convolutional'),
        (dict(out_indices=(0, 4)), r'out_indices is \(0, 4\).* 0 to 3'),
        (dict(out_indices=()), 'out_indices is'),
        (dict(ct_size=8), 'ct_size is 8; .* between 1 and .* 7'),
        (dict(window_size=(7, 7)), 'window_size has 2 values'),
        (dict(window_size=0), 'window_size'),
        (dict(drop_path_rate=1.5), 'drop_path_rate is 1.5'),
        (dict(frozen_stages=5), 'frozen_stages is 5'),
        (
            dict(carrier_pooling='mean'),
            "carrier_pooling is 'mean'; allowed: 'aligned', 'stretched'",
        ),
        (dict(position_unit='px'), 'position_unit'),
        (dict(out_norm='ln'), "out_norm is 'ln'; allowed: 'ln2d', 'bn', None"),
        (dict(in_channels=0), 'in_channels is 0'),
        (dict(in_channels='3'), "in_channels is '3'"),
        (dict(arch=[1]), r'arch is \[1\]'),
        (dict(arch=dict(SMALL, dim=0)), 'dim, in_dim and mlp_ratio are 0'),
        (dict(arch=dict(SMALL, mlp_ratio=0)), 'must be positive'),
    ],
)
def test_wrong_arguments_say_what_is_allowed(arguments, expected):
    with pytest.raises(ValueError, match=expected):
        FasterViT(**{'arch': SMALL, **arguments})


@pytest.mark.parametrize(
    'shape, expected',
    [
        ((1, 4, 32, 32), r'shape \(1, 4, 32, 32\); expected \(B, 3, H, W\)'),
        ((1, 3, 0, 32), 'at least'),
        ((3, 32, 32), r'expected \(B, 3, H, W\)'),
    ],
)
def test_wrong_images_say_what_is_expected(evaluated, shape, expected):
    with pytest.raises(ValueError, match=expected):
        evaluated(torch.zeros(shape))


def test_a_batch_too_small_for_batch_norm_says_so():
    with pytest.raises(ValueError, match='more than 1 value per channel when training'):
        build().train()(torch.zeros(1, 3, 8, 8))
    build(frozen_stages=4).train()(torch.zeros(1, 3, 8, 8))
