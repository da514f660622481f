"""Calls of mmcv's operators, each with inputs as models give them, and at the edges.

A case is run by mmcv's own Python code twice, over two extensions: the compiled one and ours
(``using``), or over ours alone. Run as a script, it prints the table of docs/operators.md.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any, NamedTuple

import torch
from torch import Tensor


class Case(NamedTuple):
    """One call.

    Attributes:
        operator: what it is listed under.
        name: what is special about it.
        make: inputs from a generator and a dtype; those in floating point get gradients.
        call: the operator's function of mmcv, applied to them.
        tolerance: largest difference that is allowed, of the outputs' (or gradients') largest value.
        graded: whether it has gradients.
        cuda: whether mmcv has compiled it for CUDA alone.
    """

    operator: str
    name: str
    make: Callable[[torch.Generator], tuple[Tensor, ...]]
    call: Callable[..., Any]
    tolerance: float = 1e-5
    graded: bool = True
    cuda: bool = False


def ours() -> ModuleType:
    """Our extension, as a module of its own."""
    from fastervit_mm.operators.extension import fill

    module = ModuleType('ours')
    fill(module)
    return module


@contextmanager
def using(extension: ModuleType) -> Iterator[None]:
    """Let ``mmcv.ops`` call ``extension``, whatever it was imported with."""
    import mmcv.ops  # noqa: F401

    modules = [
        module
        for name, module in sys.modules.items()
        if name.startswith('mmcv.ops.') and hasattr(module, 'ext_module')
    ]
    before = [module.ext_module for module in modules]
    for module in modules:
        module.ext_module = extension
    try:
        yield
    finally:
        for module, extension in zip(modules, before, strict=True):
            module.ext_module = extension


def boxes(draw: torch.Generator, count: int, size: float = 100.0) -> Tensor:
    """(count, 4) boxes of which many overlap, px."""
    low = torch.rand(count, 2, generator=draw) * size * 0.7
    return torch.cat((low, low + torch.rand(count, 2, generator=draw) * size * 0.4 + 1), 1)


def rois(
    draw: torch.Generator, count: int, images: int = 2, size: float = 100.0, extent: float = 0.0
) -> Tensor:
    """(count, 5) RoIs, one beyond the map and one of the side ``extent``."""
    found = boxes(draw, count, size) - 10
    if count > 3:
        found[0] = torch.tensor([size, size, size + 90, size + 90])
        found[1, 2:] = found[1, :2] + extent
    image = torch.randint(images, (count, 1), generator=draw)
    return torch.cat((image.float(), found), 1)


def noise(draw: torch.Generator, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=draw)


def _nms(**options: Any) -> Callable[..., Any]:
    from mmcv.ops import nms

    return lambda b, s: nms(b, s, 0.5, **options)


def _soft(method: str, **options: Any) -> Callable[..., Any]:
    from mmcv.ops import soft_nms

    return lambda b, s: soft_nms(b, s, method=method, **options)


def _scored(count: int, same: bool = False) -> Callable[[torch.Generator], tuple[Tensor, ...]]:
    def make(draw: torch.Generator) -> tuple[Tensor, ...]:
        scores = torch.rand(count, generator=draw)
        return boxes(draw, count), (scores * 4).round() / 4 if same else scores

    return make


def box_cases() -> Iterator[Case]:
    """Non-maximum suppression."""
    from mmcv.ops import batched_nms, nms, nms_match

    for count in (0, 1, 300):
        for offset in (0, 1):
            call = _nms(offset=offset)
            yield Case('nms', f'{count} boxes, offset {offset}', _scored(count), call, graded=False)
    options = dict(score_threshold=0.3, max_num=20)
    yield Case('nms', 'threshold, most', _scored(300), _nms(**options), graded=False)

    def empty_boxes(draw: torch.Generator) -> tuple[Tensor, ...]:
        corner = torch.rand(50, 2, generator=draw).mul(4).round()
        return torch.cat((corner, corner), 1), torch.rand(50, generator=draw)

    yield Case('nms', 'boxes without extent', empty_boxes, _nms(), graded=False)

    def at_threshold(draw: torch.Generator) -> tuple[Tensor, ...]:
        return torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 5]]), torch.tensor([0.9, 0.8])

    yield Case('nms', 'overlap equal to the threshold', at_threshold, _nms(), graded=False)

    def sixty(b: Tensor, s: Tensor) -> Any:
        return nms(torch.cat((b[:1], b[1:] + b.new_tensor([0, 0, 0, 1])), 0), s, 0.6)

    yield Case('nms', 'overlap of 0.6 and a threshold of 0.6', at_threshold, sixty, graded=False)
    yield Case('softnms', 'boxes without extent', empty_boxes, _soft('gaussian'), graded=False)
    for name in ('nms', 'soft_nms'):

        def batched(b: Tensor, s: Tensor, name: str = name) -> Any:
            labels = (s * 1000).long() % 3
            return batched_nms(b, s, labels, dict(type=name, iou_threshold=0.4))

        yield Case(
            'nms' if name == 'nms' else 'softnms', 'by class', _scored(200), batched, graded=False
        )
    for method in ('naive', 'linear', 'gaussian'):
        for count in (0, 1, 200):
            call = _soft(method)
            yield Case('softnms', f'{method}, {count} boxes', _scored(count), call, graded=False)
        call = _soft(method, offset=1, min_score=0.2)
        yield Case('softnms', f'{method}, equal scores', _scored(200, True), call, graded=False)

    def match(b: Tensor, s: Tensor) -> Any:
        return nms_match(torch.cat((b, s[:, None]), 1), 0.4)

    for count in (1, 200):
        yield Case('nms_match', f'{count} boxes', _scored(count), match, graded=False)


def roi_cases() -> Iterator[Case]:
    """RoIAlign and RoIPool."""
    from mmcv.ops import roi_align, roi_pool

    def make(count: int, extent: float = 0.0) -> Callable[..., tuple[Tensor, ...]]:
        def inputs(draw: torch.Generator) -> tuple[Tensor, ...]:
            return noise(draw, 2, 6, 25, 34), rois(draw, count, extent=extent)

        return inputs

    for mode in ('avg', 'max'):
        for aligned in (True, False):
            for ratio in (0, 2):

                def call(x: Tensor, r: Tensor, o: tuple = (ratio, mode, aligned)) -> Tensor:
                    return roi_align(x, r.detach(), (7, 5), 0.25, *o)

                name = f'{mode}, {"aligned" if aligned else "not aligned"}, sampling {ratio}'
                # the compiled maximum over nothing is -10000, ours 0
                inputs = make(40, extent=0.0 if mode == 'avg' else 0.5)
                yield Case(f'roi_align ({mode})', name, inputs, call)

        def call(x: Tensor, r: Tensor, mode: str = mode) -> Tensor:
            return roi_align(x, r.detach(), 7, 0.25, 0, mode, True)

        def whole(draw: torch.Generator) -> tuple[Tensor, ...]:
            low = torch.randint(20, (200, 2), generator=draw)
            high = low + torch.randint(1, 20, (200, 2), generator=draw) * 10
            regions = torch.cat((torch.zeros(200, 1), low, high), 1)
            return noise(draw, 1, 2, 40, 40), regions.float()

        def third(x: Tensor, r: Tensor, mode: str = mode) -> Tensor:
            return roi_align(x, r.detach(), 7, 0.3, 0, mode, True)

        yield Case(f'roi_align ({mode})', 'sides that are whole bins', whole, third)
        yield Case(f'roi_align ({mode})', 'no RoI', make(0), call)

    def pool(x: Tensor, r: Tensor) -> Tensor:
        return roi_pool(x, r.detach(), (7, 5), 0.25)

    for count in (0, 40):
        yield Case('roi_pool', f'{count} RoIs', make(count), pool, cuda=True)


def loss_cases() -> Iterator[Case]:
    """Focal losses."""
    from mmcv.ops import sigmoid_focal_loss, softmax_focal_loss

    for operator, function in (
        ('sigmoid_focal_loss', sigmoid_focal_loss),
        ('softmax_focal_loss', softmax_focal_loss),
    ):
        for weighted in (False, True):
            for reduction in ('none', 'mean', 'sum'):

                def make(draw: torch.Generator) -> tuple[Tensor, ...]:
                    classes = torch.randint(5, (40,), generator=draw)
                    # larger logits: compiled ones are not exact
                    return noise(draw, 40, 5) * 2, classes, torch.rand(5, generator=draw)

                def call(
                    x: Tensor,
                    target: Tensor,
                    weight: Tensor,
                    o: tuple = (function, weighted, reduction),
                ) -> Tensor:
                    return o[0](x, target, 2.0, 0.25, weight.detach() if o[1] else None, o[2])

                name = f'{"weighted, " if weighted else ""}{reduction}'
                # mmcv's own gradient takes one value for all rows
                graded = reduction != 'none' or operator.startswith('sigmoid')
                yield Case(operator, name, make, call, 1e-4, cuda=True, graded=graded)


def convolution_cases() -> Iterator[Case]:
    """Deformable convolutions, and those at chosen places."""
    from mmcv.ops import deform_conv2d, masked_conv2d, modulated_deform_conv2d

    settings = {
        'plain': ((1, 1, 1, 1, 1), torch.clone),
        'stride 2, dilation 2': ((2, 2, 2, 1, 1), torch.clone),
        'groups': ((1, 1, 1, 2, 2), torch.clone),
        # samples at exactly -1 px, as where training begins
        'offsets of 0': ((1, 1, 1, 1, 1), torch.zeros_like),
        'whole offsets': ((2, 1, 1, 1, 2), torch.round),
    }
    for name, (o, round_) in settings.items():
        stride, padding, dilation, groups, deform_groups = o
        side = (12 + 2 * padding - 2 * dilation - 1) // stride + 1

        def make(
            draw: torch.Generator,
            side: int = side,
            groups: int = groups,
            d: int = deform_groups,
            round_: Callable[[Tensor], Tensor] = round_,
        ) -> tuple[Tensor, ...]:
            return (
                noise(draw, 2, 4, 12, 12),
                round_(noise(draw, 2, d * 18, side, side) * 2),
                noise(draw, 6, 4 // groups, 3, 3),
                torch.rand(2, d * 9, side, side, generator=draw),
                noise(draw, 6),
            )

        def plain(x: Tensor, offset: Tensor, w: Tensor, m: Tensor, b: Tensor, o: tuple = o) -> Any:
            return deform_conv2d(x, offset, w, *o)

        def modulated(
            x: Tensor, offset: Tensor, w: Tensor, m: Tensor, b: Tensor, o: tuple = o
        ) -> Any:
            return modulated_deform_conv2d(x, offset, m, w, b, *o)

        def unbiased(
            x: Tensor, offset: Tensor, w: Tensor, m: Tensor, b: Tensor, o: tuple = o
        ) -> Any:
            return modulated_deform_conv2d(x, offset, m, w, None, *o)

        yield Case('deform_conv', name, make, plain, 1e-4)
        yield Case('modulated_deform_conv', name, make, modulated, 1e-4)
        yield Case('modulated_deform_conv', f'{name}, no bias', make, unbiased, 1e-4)

    for count in (0, 30):

        def chosen(draw: torch.Generator, count: int = count) -> tuple[Tensor, ...]:
            mask = torch.zeros(1, 12, 12)
            mask.view(-1)[torch.randperm(144, generator=draw)[:count]] = 1
            return noise(draw, 1, 4, 12, 12), noise(draw, 6, 4, 3, 3), noise(draw, 6), mask

        def masked(x: Tensor, w: Tensor, b: Tensor, mask: Tensor) -> Tensor:
            return masked_conv2d(x, mask, w, b, 1)

        name = f'{count} places'
        yield Case('masked_im2col, masked_col2im', name, chosen, masked, graded=False, cuda=True)


def other_cases() -> Iterator[Case]:
    """CARAFE and deformable attention."""
    from mmcv.ops import carafe, carafe_naive
    from mmcv.ops.multi_scale_deform_attn import MultiScaleDeformableAttnFunction

    for kernel, groups, scale in ((5, 1, 2), (3, 2, 3)):

        def make(draw: torch.Generator, o: tuple = (kernel, groups, scale)) -> tuple[Tensor, ...]:
            kernel, groups, scale = o
            masks = noise(draw, 2, groups * kernel**2, 6 * scale, 7 * scale)
            return noise(draw, 2, 4, 6, 7), masks.softmax(1)

        for operator, function in (('carafe', carafe), ('carafe_naive', carafe_naive)):

            def call(x: Tensor, m: Tensor, o: tuple = (function, kernel, groups, scale)) -> Tensor:
                return o[0](x, m, *o[1:])

            # the naive one's gradient is for CUDA by mmcv's own assertion
            yield Case(
                operator, f'kernel {kernel}, {groups} groups, ×{scale}', make, call, cuda=True,
                graded=operator == 'carafe',
            )  # fmt: skip

    def attention(draw: torch.Generator) -> tuple[Tensor, ...]:
        shapes = torch.tensor([[9, 11], [5, 6]])
        start = torch.tensor([0, 99])
        locations = torch.rand(2, 20, 3, 2, 4, 2, generator=draw) * 1.2 - 0.1
        weights = torch.rand(2, 20, 3, 2, 4, generator=draw)
        return noise(draw, 2, 129, 3, 8), shapes, start, locations, weights

    def attend(*inputs: Tensor) -> Tensor:
        return MultiScaleDeformableAttnFunction.apply(*inputs, 64)

    yield Case('ms_deform_attn', '2 levels, 4 points', attention, attend, 1e-4, cuda=True)


def cases() -> list[Case]:
    """All of them."""
    kinds = (box_cases, roi_cases, loss_cases, convolution_cases, other_cases)
    return [case for kind in kinds for case in kind()]


class Answer(NamedTuple):
    """What a case gave: outputs, gradients of the inputs, and how long the two took in s."""

    outputs: list[Tensor]
    gradients: list[Tensor]
    seconds: float


def run(case: Case, extension: ModuleType, device: str = 'cpu', dtype: Any = None) -> Answer:
    """The case over ``extension``.

    Args:
        case: what to call.
        extension: mmcv's or ours.
        device: where.
        dtype: of the inputs in floating point; None: fp32.
    """
    draw = torch.Generator().manual_seed(0)
    inputs = [t.to(device) for t in case.make(draw)]
    leaves = []
    for i, t in enumerate(inputs):
        if t.is_floating_point():
            t = t.to(dtype) if dtype else t
            inputs[i] = t.detach().requires_grad_(case.graded)
            leaves.append(inputs[i])
    began = time.perf_counter()
    with using(extension):
        found = case.call(*inputs)
        outputs = list(found) if isinstance(found, (tuple, list)) else [found]
        gradients: list[Tensor] = []
        if case.graded:
            draw = torch.Generator().manual_seed(1)
            weights = torch.randn(outputs[0].shape, generator=draw).to(outputs[0])
            grads = torch.autograd.grad(
                outputs[0], leaves, weights, allow_unused=True, materialize_grads=True
            )
            gradients = list(grads)
    return Answer([o.detach() for o in outputs], gradients, time.perf_counter() - began)


def difference(one: list[Tensor], other: list[Tensor]) -> float:
    """The largest, as a share of the largest value; infinite where shapes or indices differ."""
    if len(one) != len(other):
        return float('inf')
    worst = 0.0
    for a, b in zip(one, other, strict=True):
        if a.shape != b.shape or (not a.is_floating_point() and not torch.equal(a, b)):
            return float('inf')
        if a.numel() and a.is_floating_point():
            scale = max(float(b.double().abs().max()), 1e-6)
            worst = max(worst, float((a.double() - b.double()).abs().max()) / scale)
    return worst
