"""RoIAlign and RoIPool against plain loops, and their gradients against differences."""

import math

import pytest
import torch
from torch import nn

from tests.operators.cases import ours, rois, using

mmcv_ops = pytest.importorskip('mmcv.ops', reason='mmcv is not installed')


@pytest.fixture(autouse=True)
def our_operators():
    with using(ours()):
        yield


def maps(dtype=torch.float32):
    draw = torch.Generator().manual_seed(0)
    return torch.randn(2, 3, 9, 12, generator=draw).to(dtype), rois(draw, 12, size=48, extent=0.5)


def sampled(plane, y, x):
    """A map's value between its pixels: 0 beyond them by more than one."""
    height, width = plane.shape[-2:]
    if not (-1 <= y <= height and -1 <= x <= width):
        return torch.zeros(plane.shape[0])
    y, x = min(max(y, 0), height - 1), min(max(x, 0), width - 1)
    top, left = int(y), int(x)
    below, right = min(top + 1, height - 1), min(left + 1, width - 1)
    dy, dx = y - top, x - left
    upper = plane[:, top, left] * (1 - dx) + plane[:, top, right] * dx
    lower = plane[:, below, left] * (1 - dx) + plane[:, below, right] * dx
    return upper * (1 - dy) + lower * dy


def by_loops(features, regions, size, scale, ratio, mode, aligned):
    """RoIAlign as the papers say it (Mask R-CNN; half a px less where aligned)."""
    found = torch.zeros(len(regions), features.shape[1], *size)
    for k, (image, x1, y1, x2, y2) in enumerate(regions.tolist()):
        shift = 0.5 if aligned else 0.0
        left, top = x1 * scale - shift, y1 * scale - shift
        width, height = (x2 - x1) * scale, (y2 - y1) * scale
        if not aligned:
            width, height = max(width, 1.0), max(height, 1.0)
        bin_h, bin_w = height / size[0], width / size[1]
        down = ratio or math.ceil(bin_h)
        across = ratio or math.ceil(bin_w)
        for i in range(size[0]):
            for j in range(size[1]):
                values = [
                    sampled(
                        features[int(image)],
                        top + bin_h * (i + (a + 0.5) / down),
                        left + bin_w * (j + (b + 0.5) / across),
                    )
                    for a in range(down)
                    for b in range(across)
                ]
                values = torch.stack(values)
                found[k, :, i, j] = values.mean(0) if mode == 'avg' else values.amax(0)
    return found


@pytest.mark.parametrize('mode', ['avg', 'max'])
@pytest.mark.parametrize('aligned', [True, False])
@pytest.mark.parametrize('ratio', [0, 2])
def test_roi_align_is_what_loops_give(mode, aligned, ratio):
    features, regions = maps()
    settings = ((3, 2), 0.25, ratio, mode, aligned)
    found = mmcv_ops.roi_align(features, regions, *settings)
    torch.testing.assert_close(found, by_loops(features, regions, *settings), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('mode', ['avg', 'max'])
@pytest.mark.parametrize('aligned', [True, False])
@pytest.mark.parametrize('ratio', [0, 2])
def test_roi_aligns_gradient_is_that_of_differences(mode, aligned, ratio):
    features, regions = maps(torch.float64)
    settings = (2, 0.25, ratio, mode, aligned)
    x = features[:, :2].clone().requires_grad_()
    assert torch.autograd.gradcheck(
        lambda x: mmcv_ops.roi_align(x, regions.double(), *settings), x, fast_mode=True
    )


def pooled_by_loops(features, regions, size, scale):
    found = torch.zeros(len(regions), features.shape[1], *size)
    for k, (image, x1, y1, x2, y2) in enumerate(regions.tolist()):
        left, top = x1 * scale, y1 * scale
        width, height = (x2 + 1) * scale - left, (y2 + 1) * scale - top
        if width <= 0 or height <= 0:
            continue
        for i in range(size[0]):
            for j in range(size[1]):
                first, after = (
                    math.floor(top + i * height / size[0]),
                    math.ceil(top + (i + 1) * height / size[0]),
                )
                start, end = (
                    math.floor(left + j * width / size[1]),
                    math.ceil(left + (j + 1) * width / size[1]),
                )
                cut = features[
                    int(image), :, max(first, 0) : max(after, 0), max(start, 0) : max(end, 0)
                ]
                if cut.numel():
                    found[k, :, i, j] = cut.amax((1, 2))
    return found  # fmt: skip


@pytest.mark.parametrize('at_once', [2**24, 1])
def test_roi_pool_is_what_loops_give(at_once, monkeypatch):
    monkeypatch.setattr('fastervit_mm.operators.rois.AT_ONCE', at_once)
    features, regions = maps()
    regions[5, 3:] = regions[5, 1:3] - 20  # turned around: nothing is pooled
    found = mmcv_ops.roi_pool(features, regions, (3, 2), 0.25)
    expected = pooled_by_loops(features, regions, (3, 2), 0.25)
    assert torch.equal(found, expected) and expected[5].eq(0).all() and expected[0].eq(0).all()


def test_roi_pools_gradient_goes_to_the_maximum():
    features = torch.zeros(1, 1, 4, 4)
    features[0, 0, 1, 2] = 5.0
    features.requires_grad_()
    region = torch.tensor([[0.0, 0, 0, 3, 3]])
    found = mmcv_ops.roi_pool(features, region, 1, 1.0)
    (grad,) = torch.autograd.grad(found.sum() * 3, features)
    assert (
        found.item() == 5 and grad.nonzero().tolist() == [[0, 0, 1, 2]] and grad.sum().item() == 3
    )
    x, regions = maps(torch.float64)
    x = x.clone().requires_grad_()
    assert torch.autograd.gradcheck(
        lambda x: mmcv_ops.roi_pool(x, regions.double(), 2, 0.25), x, fast_mode=True
    )


@pytest.mark.parametrize('name', ['RoIAlign', 'RoIPool'])
def test_no_rois_give_no_values_and_no_gradient(name):
    x = torch.randn(1, 3, 5, 5, requires_grad=True)
    found = getattr(mmcv_ops, name)(7, 0.25)(x, torch.zeros(0, 5))
    assert found.shape == (0, 3, 7, 7)
    found.sum().backward()
    assert x.grad.eq(0).all()


@pytest.mark.parametrize('mode', ['avg', 'max'])
def test_memory_format_and_precision_do_not_change_the_answer(mode):
    features, regions = maps()
    expected = mmcv_ops.roi_align(features, regions, 3, 0.25, 2, mode, True)
    channels_last = features.to(memory_format=torch.channels_last)
    assert torch.equal(mmcv_ops.roi_align(channels_last, regions, 3, 0.25, 2, mode, True), expected)
    cut = torch.cat((features, features), 3)[..., :12]
    assert torch.equal(mmcv_ops.roi_align(cut, regions, 3, 0.25, 2, mode, True), expected)
    for dtype, tolerance in ((torch.float16, 5e-3), (torch.bfloat16, 4e-2)):
        x = features.to(dtype).requires_grad_()
        found = mmcv_ops.roi_align(x, regions, 3, 0.25, 2, mode, True)
        assert found.dtype is dtype
        assert (found.float() - expected).abs().max() < tolerance * expected.abs().max()
        found.sum().backward()
        assert x.grad.dtype is dtype and x.grad.isfinite().all()


def test_mmdets_roi_extractor_runs_under_autocast():
    from mmdet.models.roi_heads import SingleRoIExtractor

    extractor = SingleRoIExtractor(
        dict(type='RoIAlign', output_size=7, sampling_ratio=0),
        out_channels=4,
        featmap_strides=[4, 8],
    )
    convolution = nn.Conv2d(3, 4, 1)
    pixels = torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.autocast('cpu', torch.bfloat16):
        features = [convolution(pixels), convolution(pixels[..., ::2, ::2])]
        found = extractor(features, torch.tensor([[0.0, 3, 4, 60, 70]]))
    found.float().sum().backward()
    assert found.shape == (1, 4, 7, 7) and convolution.weight.grad.isfinite().all()


@pytest.mark.parametrize('name', ['avg', 'max', 'pool'])
@pytest.mark.parametrize('value', [float('nan'), float('inf'), -float('inf')])
def test_a_roi_that_is_none_gives_zeros_and_harms_no_other(name, value):
    features, regions = maps()
    features = features.requires_grad_()

    def pooled(regions):
        if name == 'pool':
            return mmcv_ops.roi_pool(features, regions, 2, 0.25)
        return mmcv_ops.roi_align(features, regions, 2, 0.25, 0, name, True)

    expected = pooled(regions)
    for place in range(1, 5):
        broken = regions.clone()
        broken[3, place] = value
        found = pooled(broken)
        assert found[3].eq(0).all()
        rest = [i for i in range(len(regions)) if i != 3]
        assert torch.equal(found[rest], expected[rest])
        (grad,) = torch.autograd.grad(found.sum(), features)
        assert grad.isfinite().all()


@pytest.mark.parametrize('mode', ['max', 'pool'])
def test_large_rois_are_taken_in_parts(mode, monkeypatch):
    """Samples of 40 RoIs over a whole map at once took gigabytes."""
    draw = torch.Generator().manual_seed(0)
    features = torch.randn(1, 2, 60, 60, generator=draw)
    regions = torch.tensor([[0.0, 0, 0, 239, 239]]).repeat(40, 1) + torch.rand(
        40, 5, generator=draw
    )
    regions[:, 0] = 0

    def pooled(x):
        if mode == 'pool':
            return mmcv_ops.roi_pool(x, regions, 3, 0.25)
        return mmcv_ops.roi_align(x, regions, 3, 0.25, 0, mode, True)

    answers = []
    for at_once in (2**24, 1000):
        monkeypatch.setattr('fastervit_mm.operators.rois.AT_ONCE', at_once)
        x = features.clone().requires_grad_()
        found = pooled(x)
        found.square().sum().backward()
        answers.append((found.detach(), x.grad))
    assert torch.equal(answers[0][0], answers[1][0])
    torch.testing.assert_close(answers[0][1], answers[1][1])


def test_a_deterministic_run_goes_on():
    features, regions = maps()
    features = features.requires_grad_()
    torch.use_deterministic_algorithms(True)
    try:
        mmcv_ops.roi_align(features, regions, 2, 0.25, 0, 'avg', True).sum().backward()
        assert torch.are_deterministic_algorithms_enabled()
        assert not torch.is_deterministic_algorithms_warn_only_enabled()
    finally:
        torch.use_deterministic_algorithms(False)
