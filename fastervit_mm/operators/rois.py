"""RoIAlign (torchvision; the maximum by a finer grid of it) and RoIPool, forward and backward.

mmcv passes buffers and wants them filled. RoIs are (K, 5): image, x1, y1, x2, y2 in px of the image.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torchvision  # noqa: F401  (registers torch.ops.torchvision)
from torch import Tensor

from .precision import as_compiled, in_full

MAXIMUM = 0  # mmcv's pool_mode; 1 is the average
AT_ONCE = 2**24  # values that the maxima gather at a time
BEYOND = (0.0, -9999.0, -9999.0, -9998.0, -9998.0)  # a RoI that samples nothing; exact in fp16


def _aligned(
    features: Tensor, rois: Tensor, size: tuple[int, int], scale: float, ratio: int, aligned: bool
) -> Tensor:
    # the operator itself: torchvision's function compiles another one in deterministic runs
    return torch.ops.torchvision.roi_align(features, rois, scale, *size, ratio, aligned)


def _aligned_backward(
    grad: Tensor, rois: Tensor, shape: torch.Size, scale: float, ratio: int, aligned: bool
) -> Tensor:
    """Gradient of a map of ``shape``; torchvision offers it to autograd alone."""
    backward = torch.ops.torchvision._roi_align_backward
    with as_compiled():
        return backward(grad, rois, scale, *grad.shape[-2:], *shape, ratio, aligned)


def _finite(rois: Tensor) -> Tensor:
    """The RoIs, those with a coordinate that is none moved beyond the map: nothing is there."""
    return torch.where(rois.isfinite().all(dim=1, keepdim=True), rois, rois.new_tensor(BEYOND))


def _by_grid(
    rois: Tensor, channels: int, size: tuple[int, int], scale: float, ratio: int, aligned: bool
) -> Iterator[tuple[tuple[int, int], Tensor]]:
    """RoIs (their indices) with the same number of samples down and across a bin of theirs.

    At most so many at a time that their samples are `AT_ONCE` values, or one.
    """
    for (down, across), chosen in _of_grids(rois, size, scale, ratio, aligned):
        step = max(1, AT_ONCE // (channels * size[0] * down * size[1] * across))
        for part in chosen.split(step):
            yield (down, across), part


def _of_grids(
    rois: Tensor, size: tuple[int, int], scale: float, ratio: int, aligned: bool
) -> Iterator[tuple[tuple[int, int], Tensor]]:
    if ratio > 0:
        yield (ratio, ratio), torch.arange(len(rois), device=rois.device)
        return
    shift = 0.5 if aligned else 0.0  # rounded as torchvision does: one sample more or less
    sides = (rois[:, [4, 3]] * scale - shift) - (rois[:, [2, 1]] * scale - shift)
    if not aligned:
        sides = sides.clamp(min=1)
    counts = (sides / sides.new_tensor(size)).ceil().long()
    for count in counts.unique(dim=0):
        if (count > 0).all():  # an empty RoI has no samples: its output stays 0
            chosen = (counts == count).all(dim=1).nonzero()[:, 0]
            yield (int(count[0]), int(count[1])), chosen


def roi_align_forward(
    input: Tensor,
    rois: Tensor,
    output: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    *,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """Fill ``output`` (K, C, aligned_height, aligned_width).

    Args:
        input: (B, C, H, W).
        rois: (K, 5).
        output: filled.
        argmax_y: of ``output``'s shape, filled for the maximum: which sample down its bin it is.
        argmax_x: the same across; small whole numbers, exact in fp16 too.
        aligned_height: bins down a RoI.
        aligned_width: bins across a RoI.
        spatial_scale: px of the map in a px of the image.
        sampling_ratio: samples along a side of a bin; 0: as many as it has px.
        pool_mode: `MAXIMUM`, or the average.
        aligned: pixel centres at half px.
    """
    features, boxes = in_full(input, _finite(rois))
    size = (aligned_height, aligned_width)
    if pool_mode != MAXIMUM:
        output.copy_(_aligned(features, boxes, size, spatial_scale, sampling_ratio, aligned))
        return
    for (down, across), chosen in _by_grid(
        boxes, features.shape[1], size, spatial_scale, sampling_ratio, aligned
    ):
        fine_size = (size[0] * down, size[1] * across)
        fine = _aligned(features, boxes[chosen], fine_size, spatial_scale, 1, aligned)
        # a bin's samples side by side: the first of equal ones counts, as in mmcv
        samples = fine.unflatten(3, (size[1], across)).unflatten(2, (size[0], down))
        values, best = samples.transpose(3, 4).flatten(4).max(dim=4)
        output[chosen] = values.to(output.dtype)
        argmax_y[chosen] = (best // across).to(argmax_y.dtype)
        argmax_x[chosen] = (best % across).to(argmax_x.dtype)


def roi_align_backward(
    grad_output: Tensor,
    rois: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    grad_input: Tensor,
    *,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """Fill ``grad_input`` (B, C, H, W) from ``grad_output`` (K, C, aligned_height, aligned_width).

    Args: as of `roi_align_forward`, which filled ``argmax_y`` and ``argmax_x``.
    """
    grad, boxes = in_full(grad_output, _finite(rois))
    size, shape = (aligned_height, aligned_width), grad_input.shape
    if pool_mode != MAXIMUM:
        found = _aligned_backward(grad, boxes, shape, spatial_scale, sampling_ratio, aligned)
        grad_input.copy_(found)
        return
    total = grad.new_zeros(shape)
    for (down, across), chosen in _by_grid(
        boxes, shape[1], size, spatial_scale, sampling_ratio, aligned
    ):
        best = argmax_y[chosen].long() * across + argmax_x[chosen].long()
        of_samples = grad.new_zeros(*best.shape, down * across)
        of_samples.scatter_(4, best[..., None], grad[chosen][..., None])
        fine = of_samples.unflatten(4, (down, across)).transpose(3, 4).flatten(4).flatten(2, 3)
        total += _aligned_backward(fine, boxes[chosen], shape, spatial_scale, 1, aligned)
    grad_input.copy_(total)


def _bins(low: Tensor, side: Tensor, count: int, limit: int) -> tuple[Tensor, Tensor]:
    """First px of each of ``count`` bins along a side, and the first after it, both (K, count)."""
    edges = torch.arange(count + 1, device=low.device, dtype=low.dtype)
    edges = edges * (side / count)[:, None] + low[:, None]
    first, after = edges[:, :-1].floor(), edges[:, 1:].ceil()
    return first.clamp(0, limit).long(), after.clamp(0, limit).long()


def _pixels(first: Tensor, after: Tensor) -> tuple[Tensor, Tensor]:
    """Px of each bin (K, count, longest), and whether each is in its bin."""
    longest = max(int((after - first).max()), 1)
    pixels = first[..., None] + torch.arange(longest, device=first.device)
    return pixels, pixels < after[..., None]


def roi_pool_forward(
    input: Tensor,
    rois: Tensor,
    output: Tensor,
    argmax: Tensor,
    *,
    pooled_height: int,
    pooled_width: int,
    spatial_scale: float,
) -> None:
    """Fill ``output`` (K, C, pooled_height, pooled_width) with the maximum of each bin.

    mmcv's bins are those of fractional px, not torchvision's whole ones.

    Args:
        input: (B, C, H, W).
        rois: (K, 5); x2 and y2 are the last px inside.
        output: filled; 0 where a bin has no px.
        argmax: of ``output``'s shape, filled: the maximum's px of the flat map, -1 where there is none.
        pooled_height: bins down a RoI.
        pooled_width: bins across a RoI.
        spatial_scale: px of the map in a px of the image.
    """
    features, boxes = in_full(input, _finite(rois))
    height, width = features.shape[-2:]
    # a RoI without extent, or one that is not: nothing is pooled from it
    argmax.fill_(-1)
    whole = ((boxes[:, 3:] + 1 - boxes[:, 1:3]) > 0).all(dim=1)
    if not whole.any():
        return
    places = whole.nonzero()[:, 0]
    low = boxes[places, 1:3] * spatial_scale
    side = (boxes[places, 3:] + 1) * spatial_scale - low
    ys, in_y = _pixels(*_bins(low[:, 1], side[:, 1], pooled_height, height))
    xs, in_x = _pixels(*_bins(low[:, 0], side[:, 0], pooled_width, width))
    flat = features.flatten(2)
    bins = pooled_height * pooled_width * ys.shape[-1] * xs.shape[-1]
    step = max(1, AT_ONCE // (bins * flat.shape[1]))
    for part in torch.arange(len(places), device=places.device).split(step):
        # (k, bins down, bins across, px down, px across)
        index = ys[part][:, :, None, :, None] * width + xs[part][:, None, :, None, :]
        inside = in_y[part][:, :, None, :, None] & in_x[part][:, None, :, None, :]
        index, inside = index.flatten(3), inside.flatten(3)
        index = index.where(inside, 0)
        images = boxes[places[part], 0].long()
        values = flat[images[:, None, None, None], :, index].movedim(-1, 1)
        values = values.where(inside[:, None], -torch.inf)
        best, at = values.max(dim=-1)
        found = inside.any(dim=-1)[:, None].expand_as(best)
        pixel = index[:, None].expand(*best.shape, -1).gather(-1, at[..., None])[..., 0]
        output[places[part]] = best.where(found, 0).to(output.dtype)
        argmax[places[part]] = pixel.where(found, -1).to(argmax.dtype)


def roi_pool_backward(
    grad_output: Tensor,
    rois: Tensor,
    argmax: Tensor,
    grad_input: Tensor,
    *,
    pooled_height: int,
    pooled_width: int,
    spatial_scale: float,
) -> None:
    """Fill ``grad_input`` (B, C, H, W) from ``grad_output`` (K, C, pooled_height, pooled_width).

    Args: as of `roi_pool_forward`, which filled ``argmax``.
    """
    batch, channels, height, width = grad_input.shape
    (grad,) = in_full(grad_output)
    planes = rois[:, :1].long() * channels + torch.arange(channels, device=rois.device)
    index = planes[:, :, None, None] * (height * width) + argmax.long()
    found = argmax >= 0
    total = grad.new_zeros(batch * channels * height * width)
    total.index_add_(0, index[found], grad[found])
    grad_input.copy_(total.view_as(grad_input))
