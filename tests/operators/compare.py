"""The table of docs/operators.md: mmcv's compiled operators and ours, side by side.

    python -m tests.operators.compare [--device cuda] [--repeats 5]

Differences are those of `cases`; times are of one forward, and forward with backward, in sizes as
detectors have them, one after the other in one process, the quickest of the repeats.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from types import ModuleType
from typing import Any, NamedTuple

import torch
from torch import Tensor

from tests.operators.cases import Case, boxes, cases, difference, noise, ours, rois, run, using
from tests.operators.without import has_compiled

SOURCES = {
    'nms': 'torchvision',
    'softnms': 'NumPy',
    'nms_match': 'NumPy',
    'roi_align (avg)': 'torchvision',
    'roi_align (max)': 'torchvision, finer grid',
    'roi_pool': 'PyTorch',
    'sigmoid_focal_loss': 'PyTorch',
    'softmax_focal_loss': 'PyTorch',
    'deform_conv': 'torchvision',
    'modulated_deform_conv': 'torchvision',
    'masked_im2col, masked_col2im': 'PyTorch',
    'carafe': 'PyTorch',
    'carafe_naive': 'PyTorch',
    'ms_deform_attn': "mmcv's PyTorch formula",
}


class Row(NamedTuple):
    """What was found of one operator; None: it could not be compared here."""

    cases: int = 0
    forward: float = 0.0
    gradient: float | None = None
    slower: str = '–'


def compared(case: Case, compiled: ModuleType, mine: ModuleType, device: str) -> Row | None:
    """The differences of one case; None: mmcv has not compiled it for this device."""
    try:
        theirs = run(case, compiled, device)
    except (RuntimeError, NotImplementedError) as error:
        if 'not found' not in str(error) and 'not implemented' not in str(error):
            raise
        return None
    found = run(case, mine, device)
    gradient = difference(found.gradients, theirs.gradients) if case.graded else None
    return Row(1, difference(found.outputs, theirs.outputs), gradient)


def together(rows: list[Row]) -> Row:
    """The largest differences of several cases."""
    gradients = [row.gradient for row in rows if row.gradient is not None]
    return Row(len(rows), max(row.forward for row in rows), max(gradients, default=None))


def timed_calls(device: str) -> dict[str, Callable[[], tuple[Callable[..., Any], list[Tensor]]]]:
    """For each operator that is timed, a call in a detector's size and its inputs."""
    import mmcv.ops as ops
    from mmcv.ops.multi_scale_deform_attn import MultiScaleDeformableAttnFunction

    draw = torch.Generator().manual_seed(0)
    features = noise(draw, 1, 256, 100, 136)
    regions = rois(draw, 1000, images=1, size=1000.0, extent=4.0)
    scored = boxes(draw, 2000, 1000.0), torch.rand(2000, generator=draw)
    small = noise(draw, 1, 256, 50, 68)
    offset, weight = noise(draw, 1, 18, 50, 68), noise(draw, 256, 256, 3, 3)
    mask = torch.rand(1, 9, 50, 68, generator=draw)
    shapes = torch.tensor([[100, 160], [50, 80], [25, 40], [13, 20]])
    count = int(shapes.prod(1).sum())
    start = torch.cat((torch.zeros(1).long(), shapes.prod(1).cumsum(0)[:-1]))

    def attention() -> list[Tensor]:
        locations = torch.rand(1, count, 8, 4, 4, 2, generator=draw)
        weights = torch.rand(1, count, 8, 4, 4, generator=draw)
        return [noise(draw, 1, count, 8, 32), shapes, start, locations, weights]

    def logits() -> list[Tensor]:
        return [noise(draw, 20000, 80), torch.randint(81, (20000,), generator=draw)]

    def of(call: Callable[..., Any], *inputs: Tensor) -> Callable[[], Any]:
        return lambda: (call, list(inputs))

    def align(mode: str) -> Callable[..., Any]:
        return lambda x, r: ops.roi_align(x, r.detach(), 7, 0.125, 0, mode, True)

    calls = {
        'nms': of(lambda b, s: ops.nms(b, s, 0.7), *scored),
        'softnms': of(lambda b, s: ops.soft_nms(b, s, 0.5), *scored),
        'nms_match': of(lambda b, s: ops.nms_match(torch.cat((b, s[:, None]), 1), 0.5), *scored),
        'roi_align (avg)': of(align('avg'), features, regions),
        'roi_align (max)': of(align('max'), features, regions),
        'deform_conv': of(lambda x, o, w: ops.deform_conv2d(x, o, w, 1, 1), small, offset, weight),
        'modulated_deform_conv': of(
            lambda x, o, w, m: ops.modulated_deform_conv2d(x, o, m, w, None, 1, 1),
            *(small, offset, weight, mask),
        ),
    }
    if device == 'cuda':
        calls |= {
            'roi_pool': of(lambda x, r: ops.roi_pool(x, r.detach(), 7, 0.125), features, regions),
            'sigmoid_focal_loss': lambda: (ops.sigmoid_focal_loss, logits()),
            'ms_deform_attn': lambda: (
                lambda *t: MultiScaleDeformableAttnFunction.apply(*t, 64),
                attention(),
            ),
            'carafe': of(
                lambda x, m: ops.carafe(x, m, 5, 1, 2),
                *(small, noise(draw, 1, 25, 100, 136)),
            ),
        }
    return calls


NO_GRADIENT = ('nms', 'softnms', 'nms_match')


def seconds(
    call: Callable[..., Any],
    inputs: list[Tensor],
    extension: ModuleType,
    backward: bool,
    device: str,
) -> float:
    """Of one call over ``extension``."""
    if device == 'cuda':
        torch.cuda.synchronize()
    began = time.perf_counter()
    with using(extension):
        found = call(*inputs)
        if backward:
            found.sum().backward()
    if device == 'cuda':
        torch.cuda.synchronize()
    return time.perf_counter() - began


def ratios(name: str, make: Any, extensions: tuple, device: str, repeats: int) -> str:
    """How many times as long as the compiled one ours takes, forward and with backward."""
    call, inputs = make()
    inputs = [t.to(device) for t in inputs]
    told = []
    for backward in (False,) if name in NO_GRADIENT else (False, True):
        given = [t.requires_grad_(backward) if t.is_floating_point() else t for t in inputs]
        best = [
            min(seconds(call, given, e, backward, device) for _ in range(repeats))
            for e in extensions
        ]
        told.append(f'{best[1] / best[0]:.2f}')
    return ' / '.join(told)


def shown(value: float | None) -> str:
    if value is None:
        return '–'
    return '0' if value == 0 else f'{value:.0e}'


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--device', default='cpu')
    parser.add_argument('--repeats', type=int, default=5)
    args = parser.parse_args()
    if not has_compiled():
        sys.exit('mmcv has no compiled operators here; make test-compiled builds them')
    compiled, mine = importlib.import_module('mmcv._ext'), ours()
    rows: dict[str, list[Row]] = defaultdict(list)
    for case in cases():
        row = compared(case, compiled, mine, args.device)
        if row is not None:
            rows[case.operator].append(row)
    calls = timed_calls(args.device)
    print(
        '| operator | source | cases | forward differs by | gradient differs by '
        '| time, forward / with backward |\n| --- | --- | ---: | ---: | ---: | ---: |'
    )
    for name, source in SOURCES.items():
        row = together(rows[name]) if rows[name] else None
        times = '–'
        if row and name in calls:
            times = ratios(name, calls[name], (compiled, mine), args.device, args.repeats)
        if row is None:
            print(f'| {name} | {source} | – | compiled for CUDA alone | | |', flush=True)
            continue
        told = (row.cases, shown(row.forward), shown(row.gradient), times)
        print(f'| {name} | {source} | ' + ' | '.join(map(str, told)) + ' |', flush=True)


if __name__ == '__main__':
    main()
