"""Deformable attention and CARAFE against plain loops, gradients against differences."""

import pytest
import torch
from mmcv.ops import carafe
from mmcv.ops.carafe import carafe_naive
from mmcv.ops.multi_scale_deform_attn import MultiScaleDeformableAttnFunction

from tests.operators.cases import cases, ours, run, using


@pytest.fixture(autouse=True)
def our_operators():
    with using(ours()):
        yield


def attention_inputs(dtype=torch.float64):
    draw = torch.Generator().manual_seed(0)
    shapes, start = torch.tensor([[3, 4], [2, 2]]), torch.tensor([0, 12])
    value = torch.randn(2, 16, 2, 3, generator=draw)
    locations = torch.rand(2, 5, 2, 2, 3, 2, generator=draw) * 1.4 - 0.2
    weights = torch.rand(2, 5, 2, 2, 3, generator=draw)
    return [
        t.to(dtype) if t.is_floating_point() else t
        for t in (value, shapes, start, locations, weights)
    ]


def test_attention_is_what_loops_give():
    value, shapes, start, locations, weights = attention_inputs()
    expected = torch.zeros(2, 5, 2, 3, dtype=torch.float64)
    for b, q, m, level, p in torch.cartesian_prod(*map(torch.arange, (2, 5, 2, 2, 3))).tolist():
        height, width = shapes[level].tolist()
        x, y = (locations[b, q, m, level, p] * torch.tensor([width, height]) - 0.5).tolist()
        for row in range(height):
            for column in range(width):
                share = max(0, 1 - abs(y - row)) * max(0, 1 - abs(x - column))
                pixel = value[b, int(start[level]) + row * width + column, m]
                expected[b, q, m] += weights[b, q, m, level, p] * share * pixel
    found = MultiScaleDeformableAttnFunction.apply(value, shapes, start, locations, weights, 64)
    torch.testing.assert_close(found, expected.flatten(2))


def test_attentions_gradients_are_those_of_differences():
    value, shapes, start, locations, weights = attention_inputs()
    leaves = [t.requires_grad_() for t in (value, locations, weights)]
    assert torch.autograd.gradcheck(
        lambda v, lo, w: MultiScaleDeformableAttnFunction.apply(v, shapes, start, lo, w, 64),
        leaves,
        fast_mode=True,
        atol=1e-4,
    )


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_attention_takes_half_precision(dtype):
    inputs = attention_inputs(torch.float32)
    expected = MultiScaleDeformableAttnFunction.apply(*inputs, 64)
    inputs[0] = inputs[0].to(dtype).requires_grad_()  # the others follow, as mmcv casts
    found = MultiScaleDeformableAttnFunction.apply(*inputs, 64)
    assert found.dtype is dtype
    assert (found.float() - expected).abs().max() < 0.05 * expected.abs().max()
    found.float().sum().backward()
    assert inputs[0].grad.isfinite().all()


def carafe_by_loops(x, masks, kernel, groups, scale):
    batch, channels, height, width = x.shape
    found = torch.zeros(batch, channels, height * scale, width * scale, dtype=x.dtype)
    reach = kernel // 2
    for c in range(channels):
        group = c // (channels // groups)
        for row in range(height * scale):
            for column in range(width * scale):
                for i in range(-reach, reach + 1):
                    for j in range(-reach, reach + 1):
                        y, z = row // scale + i, column // scale + j
                        if 0 <= y < height and 0 <= z < width:
                            place = group * kernel**2 + (i + reach) * kernel + j + reach
                            found[:, c, row, column] += x[:, c, y, z] * masks[:, place, row, column]
    return found


@pytest.mark.parametrize('function', [carafe, carafe_naive])
@pytest.mark.parametrize('kernel, groups, scale', [(3, 2, 2), (5, 1, 1), (1, 4, 3)])
def test_carafe_is_what_loops_give(function, kernel, groups, scale):
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(2, 4, 3, 4, generator=draw)
    masks = torch.randn(2, groups * kernel**2, 3 * scale, 4 * scale, generator=draw)
    expected = carafe_by_loops(x, masks, kernel, groups, scale)
    torch.testing.assert_close(function(x, masks, kernel, groups, scale), expected)


def test_carafes_gradients_are_those_of_differences():
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(1, 4, 3, 4, generator=draw).double().requires_grad_()
    masks = torch.randn(1, 18, 6, 8, generator=draw).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda x, m: carafe(x, m, 3, 2, 2), (x, masks), fast_mode=True)
    # mmcv allows the naive one's on CUDA alone; what it would call there:
    from fastervit_mm.operators.carafe import carafe_naive_backward

    above = torch.randn(1, 4, 6, 8, generator=draw).double()
    expected = torch.autograd.grad(carafe(x, masks, 3, 2, 2), (x, masks), above)
    found = [torch.zeros_like(x), torch.zeros_like(masks)]
    options = dict(kernel_size=3, group_size=2, scale_factor=2)
    carafe_naive_backward(above, x, masks, *found, **options)
    assert torch.equal(found[0], expected[0]) and torch.equal(found[1], expected[1])


@pytest.mark.parametrize('case', cases(), ids=lambda c: f'{c.operator}: {c.name}')
def test_every_case_of_the_comparison_runs_over_ours(case):
    """So that the table of docs/operators.md can be made wherever compiled operators are."""
    answer = run(case, ours())
    if case.name != 'boxes without extent':  # whose overlaps are 0 / 0
        assert all(t.isfinite().all() for t in (*answer.outputs, *answer.gradients))
    assert bool(answer.gradients) == case.graded
