"""Any network, size, precision, layout and mode: finite maps of the promised shapes, or one line."""

from contextlib import ExitStack

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from fastervit_mm import FasterViT, fuse
from fastervit_mm.errors import ArgumentError
from tests.helpers import SMALL

LAYOUTS = ('contiguous', 'channels last', 'slice', 'transposed', 'one pixel', 'one image')
MODES = ('train', 'eval', 'no_grad', 'inference_mode', 'fused', 'fused with gradients')
AUTOCAST = 'fp32 with autocast'
DTYPES = (torch.float32, torch.bfloat16, torch.float16, torch.float64, AUTOCAST)
TOO_FEW = 'more than 1 value per channel when training'  # PyTorch's own, of BatchNorm


@st.composite
def networks(draw: st.DrawFn) -> dict:
    """Arguments of a small backbone; every one of the table is drawn."""
    windows = [draw(st.integers(1, 12)) for _ in range(4)]
    arch = dict(
        dim=draw(st.sampled_from([4, 6, 8])),
        in_dim=draw(st.integers(1, 8)),
        depths=[draw(st.integers(1, 2)) for _ in range(4)],
        num_heads=[draw(st.sampled_from([1, 2, 4])) for _ in range(4)],
        mlp_ratio=draw(st.sampled_from([0.1, 1, 2.5])),
        hat=[False, False, draw(st.booleans()), draw(st.booleans())],
        layer_scale=draw(st.sampled_from([None, 0, 1e-5, 1.0])),
        do_propagation=draw(st.booleans()),
        drop_path_rate=draw(st.sampled_from([0.0, 0.5])),
    )
    return dict(
        arch=arch,
        in_channels=draw(st.integers(1, 4)),
        out_indices=draw(st.lists(st.integers(0, 3), min_size=1, max_size=4, unique=True)),
        window_size=windows,
        ct_size=draw(st.integers(1, min(windows[2], windows[3], 4))),
        carrier_pooling=draw(st.sampled_from(['aligned', 'stretched'])),
        position_unit=draw(st.sampled_from(['side', 'token_count'])),
        pad_all_stages=draw(st.booleans()),
        out_norm=draw(st.sampled_from(['ln2d', 'bn', None])),
        frozen_stages=draw(st.integers(-1, 4)),
        norm_eval=draw(st.booleans()),
        with_cp=draw(st.booleans()),
        channels_last=draw(st.booleans()),
    )


def images(layout: str, batch: int, channels: int, height: int, width: int) -> Tensor:
    """Random pixels of that shape, stored in one of `LAYOUTS`."""
    shape = (batch, channels, height, width)
    if layout == 'slice':
        whole = torch.randn(batch + 1, channels + 2, 2 * height, width + 3)
        return whole[1:, 1:-1, ::2, 2:-1]
    if layout == 'transposed':
        return torch.randn(batch, channels, width, height).transpose(2, 3)
    if layout == 'one pixel':
        return torch.randn(1, channels, 1, 1).expand(shape)
    if layout == 'one image':
        return torch.randn(1, *shape[1:]).expand(shape)
    x = torch.randn(shape)
    return x.to(memory_format=torch.channels_last) if layout == 'channels last' else x


sides = st.one_of(st.integers(1, 40), st.integers(1, 160))
cases = st.fixed_dictionaries(
    dict(
        network=networks(),
        size=st.tuples(sides, sides),
        batch=st.integers(1, 3),
        dtype=st.sampled_from(DTYPES),
        layout=st.sampled_from(LAYOUTS),
        mode=st.sampled_from(MODES),
        requires_grad=st.booleans(),
    )
)


def run(model: FasterViT, x: Tensor, mode: str, dtype: torch.dtype | str) -> tuple[Tensor, ...]:
    with ExitStack() as contexts:
        if dtype == AUTOCAST:
            contexts.enter_context(torch.autocast('cpu', torch.bfloat16))
        if mode in ('no_grad', 'fused'):
            contexts.enter_context(torch.no_grad())
        if mode == 'inference_mode':
            contexts.enter_context(torch.inference_mode())
        return model(x)


def check(case: dict) -> None:
    torch.manual_seed(0)
    model, mode, dtype = FasterViT(**case['network']), case['mode'], case['dtype']
    model.init_weights()
    model.train(mode == 'train')
    model.to(torch.float32 if dtype == AUTOCAST else dtype)
    if mode.startswith('fused'):
        fuse(model)
    x = images(case['layout'], case['batch'], model.in_channels, *case['size'])
    x = x if dtype == AUTOCAST else x.to(dtype)
    x = x.detach().requires_grad_(case['requires_grad'])
    try:
        maps = run(model, x, mode, dtype)
    except ValueError as error:
        assert mode == 'train' and TOO_FEW in str(error)
        return
    height, width = case['size']
    assert [tuple(m.shape) for m in maps] == [
        (case['batch'], channels, -(-height // stride), -(-width // stride))
        for channels, stride in zip(model.out_channels, model.out_strides, strict=True)
    ]
    assert all(m.is_contiguous() and m.isfinite().all() for m in maps)
    if any(m.requires_grad for m in maps):
        sum(m.float().square().mean() for m in maps if m.requires_grad).backward()
        gradients = [p.grad for p in (x, *model.parameters()) if p.grad is not None]
        # oneDNN leaves bf16 gradients of a convolution's weights unwritten for a map 1 px wide
        unwritten = dtype in (torch.bfloat16, AUTOCAST) and width <= 16
        assert gradients and (unwritten or all(g.isfinite().all() for g in gradients))
        assert (x.grad is not None) == case['requires_grad']


@given(cases)
@settings(max_examples=100, derandomize=True, deadline=None)
def test_finite_maps_of_the_promised_shapes(case):
    check(case)


@pytest.mark.long
@given(cases)
@settings(max_examples=500, derandomize=True, deadline=None)
def test_finite_maps_of_the_promised_shapes_in_five_hundred_cases(case):
    check(case)


@pytest.mark.parametrize('layout', LAYOUTS)
@pytest.mark.parametrize('fused', [False, True])
def test_how_an_image_is_stored_does_not_matter(layout, fused):
    torch.manual_seed(0)
    model = FasterViT(SMALL).eval()
    model, x = fuse(model) if fused else model, images(layout, 2, 3, 70, 45)
    with torch.no_grad():
        for a, b in zip(model(x), model(x.contiguous()), strict=True):
            assert torch.allclose(a, b, atol=1e-4)


def test_pixels_that_are_not_numbers_reach_the_maps_of_their_image_alone():
    torch.manual_seed(0)
    model, x = FasterViT(SMALL).eval(), torch.randn(3, 3, 64, 96)
    x[1, 0, 5, 7] = torch.nan
    with torch.no_grad():
        for found, expected in zip(model(x), model(x.nan_to_num()), strict=True):
            assert found[1].isnan().any()
            assert torch.allclose(found[[0, 2]], expected[[0, 2]], atol=1e-5)


@pytest.mark.parametrize(
    'x, expected',
    [
        (torch.zeros(0, 3, 32, 32), 'shape (0, 3, 32, 32); it must hold at least one image'),
        (torch.zeros(1, 3, 32, 0), 'shape (1, 3, 32, 0); it must hold at least one image'),
        (torch.zeros(3, 32, 32), 'shape (3, 32, 32); expected (B, 3, H, W)'),
        (torch.zeros(1, 32, 32, 3), 'shape (1, 32, 32, 3); expected (B, 3, H, W)'),
        (torch.zeros(1, 3, 8, 8, dtype=torch.uint8), 'dtype torch.uint8; normalise it'),
        (torch.zeros(1, 3, 8, 8, dtype=torch.int64), 'dtype torch.int64; normalise it'),
        (torch.zeros(1, 3, 8, 8, dtype=torch.float64), 'torch.float64, the weights have torch.fl'),
        (np.zeros((1, 3, 8, 8)), 'of type ndarray; give a tensor of shape (B, 3, H, W)'),
        (None, 'of type NoneType; give a tensor'),
    ],
)
@pytest.mark.parametrize('fused', [False, True])
def test_what_is_no_image_batch_is_named_in_one_line(x, expected, fused):
    model = FasterViT(SMALL).eval()
    with pytest.raises(ArgumentError) as caught:
        (fuse(model) if fused else model)(x)
    message = str(caught.value)
    assert message.startswith('the image batch ') and expected in message and '\n' not in message


@pytest.mark.parametrize(
    'arguments, expected',
    [
        (dict(window_size=7.0), 'window_size is (7.0, 7.0, 7.0, 7.0); it takes whole numbers'),
        (dict(window_size='7777'), "window_size is '7777'; give one value or 4"),
        (dict(window_size=(7, 7, 7, '7')), "window_size is (7, 7, 7, '7'); it takes whole"),
        (dict(ct_size='2'), "ct_size is '2'; it takes whole numbers"),
        (dict(ct_size=True), 'ct_size is True; it takes whole numbers'),
        (dict(drop_path_rate='0.2'), "drop_path_rate is '0.2'; it takes a finite number"),
        (dict(out_indices=(0.0,)), 'out_indices is (0.0,); give'),
        (dict(out_indices=(True,)), 'out_indices is (True,); give'),
        (dict(out_indices={0}), 'out_indices is ({0},); give'),
        (dict(frozen_stages=1.0), 'frozen_stages is 1.0; allowed: -1, 0'),
        (dict(in_channels=True), 'in_channels is True'),
        (dict(arch=dict(SMALL, depths=None)), "arch['depths'] is None; give one value or 4"),
        (dict(arch=dict(SMALL, depths=(1, 1, 1.5, 1))), 'depths is (1, 1, 1.5, 1); it takes whole'),
        (dict(arch=dict(SMALL, dim=16.0)), 'dim is 16.0; it takes whole numbers'),
        (dict(arch=dict(SMALL, mlp_ratio=float('nan'))), 'mlp_ratio is nan; it takes a finite'),
        (dict(arch=dict(SMALL, mlp_ratio=0.01)), 'mlp_ratio is 0.01; stage 2 has 64 channels'),
        (dict(arch=dict(SMALL, layer_scale=float('inf'))), 'layer_scale is inf; it takes a finite'),
        (dict(arch=dict(SMALL, layer_scale='1e-5')), "layer_scale is '1e-5'; it takes a finite"),
    ],
)
def test_arguments_of_the_wrong_kind_are_named_in_one_line(arguments, expected):
    with pytest.raises(ArgumentError) as caught:
        FasterViT(**{'arch': SMALL, **arguments})
    assert str(caught.value).startswith(expected) and '\n' not in str(caught.value)
