"""Deformable and masked convolutions: against ordinary ones, plain loops and differences."""

import pytest
import torch
from mmcv.ops import deform_conv2d, masked_conv2d, modulated_deform_conv2d
from torch.nn import functional as F

from tests.operators.cases import ours, using


@pytest.fixture(autouse=True)
def our_operators():
    with using(ours()):
        yield


def drawn(*shape, dtype=torch.float32, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


SETTINGS = [(1, 1, 1, 1), (2, 1, 1, 1), (1, 2, 2, 2), ((2, 1), (0, 1), (1, 2), 1)]


@pytest.mark.parametrize('stride, padding, dilation, groups', SETTINGS)
def test_without_offsets_it_is_the_ordinary_convolution(stride, padding, dilation, groups):
    x, w, b = drawn(2, 4, 9, 10), drawn(6, 4 // groups, 3, 3, seed=1), drawn(6, seed=2)
    expected = F.conv2d(x, w, None, stride, padding, dilation, groups)
    offset, mask = (expected.new_zeros(2, n, *expected.shape[2:]) for n in (18, 9))
    found = deform_conv2d(x, offset, w, stride, padding, dilation, groups, 1)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    found = modulated_deform_conv2d(
        x, offset, mask + 0.5, w, b, stride, padding, dilation, groups, 1
    )
    torch.testing.assert_close(found, expected * 0.5 + b[:, None, None], rtol=1e-4, atol=1e-4)


def test_offsets_move_each_sample_down_and_right():
    x = drawn(1, 1, 6, 6)
    w = torch.zeros(1, 1, 3, 3)
    w[0, 0, 1, 2] = 1.0  # takes the right neighbour
    offset = torch.zeros(1, 18, 6, 6)
    place = 2 * (1 * 3 + 2)
    offset[:, place], offset[:, place + 1] = 2.0, -1.0  # two px down, one to the left
    found = deform_conv2d(x, offset, w, 1, 1, 1, 1, 1)
    assert torch.equal(found[..., :4, :], x[..., 2:, :]) and found[..., 4:, :].eq(0).all()
    offset[:, place] = 0.25  # between two rows
    found = deform_conv2d(x, offset, w, 1, 1, 1, 1, 1)
    torch.testing.assert_close(found[..., :5, :], 0.75 * x[..., :5, :] + 0.25 * x[..., 1:, :])


def test_groups_of_offsets_move_their_own_channels():
    x, w = drawn(1, 4, 5, 5), torch.eye(4)[:, :, None, None]
    offset = torch.zeros(1, 4, 5, 5)
    offset[:, 2] = 1.0  # the second half, one px down
    found = deform_conv2d(x, offset, w, 1, 0, 1, 1, 2)
    assert torch.equal(found[:, :2], x[:, :2])
    assert torch.equal(found[:, 2:, :4], x[:, 2:, 1:])


@pytest.mark.parametrize('modulated', [False, True])
def test_gradients_are_those_of_differences(modulated):
    double = torch.float64
    x, offset = drawn(2, 4, 5, 5, dtype=double), drawn(2, 36, 5, 5, dtype=double, seed=1)
    w, mask = drawn(2, 2, 3, 3, dtype=double, seed=2), drawn(2, 18, 5, 5, dtype=double, seed=3)
    b = drawn(2, dtype=double, seed=4)
    given = (x, offset, mask, w, b) if modulated else (x, offset, w)
    leaves = [t.requires_grad_() for t in given]
    function = modulated_deform_conv2d if modulated else deform_conv2d
    assert torch.autograd.gradcheck(
        lambda *t: function(*t, 1, 1, 1, 2, 2), leaves, fast_mode=True, atol=1e-4
    )


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_half_precision_is_taken(dtype):
    x, offset, w = drawn(1, 4, 5, 5), drawn(1, 18, 5, 5, seed=1), drawn(2, 4, 3, 3, seed=2)
    expected = deform_conv2d(x, offset.to(dtype).float(), w, 1, 1, 1, 1, 1)
    x = x.requires_grad_()
    found = deform_conv2d(x, offset.to(dtype), w, 1, 1, 1, 1, 1)
    assert found.dtype is dtype  # as mmcv casts: by the offsets
    assert (found.float() - expected).abs().max() < 0.03 * expected.abs().max()
    found.float().sum().backward()
    assert x.grad.isfinite().all() and x.grad.abs().sum() > 0


@pytest.mark.parametrize('kernel, padding', [((3, 3), 1), ((1, 1), 0), ((3, 5), (1, 2))])
def test_a_masked_convolution_is_the_convolution_where_the_mask_is(kernel, padding):
    x, w, b = drawn(1, 3, 6, 7), drawn(4, 3, *kernel, seed=1), drawn(4, seed=2)
    mask = (drawn(1, 6, 7, seed=3) > 0).float()
    found = masked_conv2d(x, mask, w, b, padding)
    expected = F.conv2d(x, w, b, padding=padding)
    torch.testing.assert_close(found, expected * mask, rtol=1e-4, atol=1e-5)
    assert masked_conv2d(x, mask * 0, w, b, padding).eq(0).all()


@pytest.mark.parametrize('function', [deform_conv2d, modulated_deform_conv2d])
def test_samples_in_the_padding_do_not_pull_their_offsets(function):
    """At -1 px and at the map's size nothing is sampled; offsets begin at 0, so that is where."""
    x = torch.full((1, 1, 4, 4), 2.0)
    offset = torch.zeros(1, 18, 4, 4, requires_grad=True)
    mask = [torch.ones(1, 9, 4, 4)] if function is modulated_deform_conv2d else []
    w = torch.ones(1, 1, 3, 3)
    bias = [None] if mask else []
    function(x, offset, *mask, w, *bias, 1, 1, 1, 1, 1).sum().backward()
    slopes = offset.grad.view(3, 3, 2, 4, 4)  # of tap (row, column), y and x, at each output px
    assert slopes[0, :, :, 0].eq(0).all() and slopes[2, :, :, 3].eq(0).all()
    assert slopes[:, 0, :, :, 0].eq(0).all() and slopes[:, 2, :, :, 3].eq(0).all()
    # one px before the last row, the next sample below is padding: its value falls from 2 to 0
    assert slopes[1, 1, 0, 3].tolist() == [-2.0] * 4 and slopes[1, 1, 0, :3].eq(0).all()
