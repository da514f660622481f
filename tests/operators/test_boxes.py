"""Non-maximum suppression: against boxes worked out by hand and against plain loops."""

import numpy as np
import pytest
import torch
import torchvision

from fastervit_mm.operators.boxes import GAUSSIAN, LINEAR, NAIVE, nms, nms_match, softnms

# the second covers 9 of 10 px of the first (IoU 0.9), the third 1 of 3 px, the fourth touches none
BOXES = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 9], [0, 5, 10, 15], [20, 20, 30, 30]])
SCORES = torch.tensor([0.8, 0.9, 0.7, 0.6])


def kept(boxes, scores, threshold, offset=0):
    return nms(boxes, scores, iou_threshold=threshold, offset=offset).tolist()


def test_a_box_that_covers_a_better_one_goes():
    assert kept(BOXES, SCORES, 0.5) == [1, 2, 3]
    assert kept(BOXES, SCORES, 0.95) == [1, 0, 2, 3]
    # the third shares 40 of 150 px with the best: 0.26
    assert kept(BOXES, SCORES, 0.2) == [1, 3]


def test_with_an_offset_the_last_pixel_counts():
    boxes = torch.tensor([[0.0, 0, 9, 9], [0, 5, 9, 14]])  # 10 px high each, 5 shared: 50 of 150
    scores = torch.tensor([0.9, 0.8])
    assert kept(boxes, scores, 0.32, offset=1) == [0]
    assert kept(boxes, scores, 0.34, offset=1) == [0, 1]
    # without it: 9 by 9, 36 shared of 126
    assert kept(boxes, scores, 0.32) == [0, 1]
    assert kept(boxes, scores, 0.28) == [0]


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float64])
def test_every_precision_is_taken(dtype):
    assert kept(BOXES.to(dtype), SCORES.to(dtype), 0.5) == [1, 2, 3]
    assert kept(BOXES, SCORES.to(dtype), 0.5) == [1, 2, 3]


def test_no_boxes_give_none_and_boxes_without_extent_stay():
    assert kept(BOXES[:0], SCORES[:0], 0.5) == []
    assert kept(torch.ones(3, 4), SCORES[:3], 0.5) == [1, 0, 2]


def soft(boxes, scores, method, threshold=0.3, sigma=0.5, least=1e-3, offset=0):
    dets = boxes.new_empty(len(boxes), 5)
    found = softnms(
        boxes,
        scores,
        dets,
        iou_threshold=threshold,
        sigma=sigma,
        min_score=least,
        method=method,
        offset=offset,
    )
    return found.tolist(), dets[: len(found)]


def test_soft_scores_by_hand():
    third = 40 / 150  # shared with the best box, the second
    order, dets = soft(BOXES, SCORES, LINEAR, threshold=0.2)
    assert order == [1, 3, 2, 0]  # 0.9, 0.6, 0.7 · (1 - 4/15), and 0.8 · 0.1
    # the third lowers the first once more: they share 50 of 150 px
    expected = [0.9, 0.6, 0.7 * (1 - third), 0.8 * (1 - 0.9) * (1 - 1 / 3)]
    torch.testing.assert_close(dets[:, 4], torch.tensor(expected))
    assert torch.equal(dets[:, :4], BOXES[order])

    order, dets = soft(BOXES, SCORES, GAUSSIAN)
    lowered = [0.9, 0.7 * np.exp(-(third**2) / 0.5), 0.6, 0.8 * np.exp(-(0.81 + 1 / 9) / 0.5)]
    assert order == [1, 2, 3, 0]
    torch.testing.assert_close(dets[:, 4], torch.tensor(lowered, dtype=torch.float32))

    order, dets = soft(BOXES, SCORES, NAIVE)
    assert order == [1, 2, 3] and torch.equal(dets[:, 4], SCORES[order])


def test_soft_leaves_out_what_falls_below_the_least_score():
    assert soft(BOXES, SCORES, LINEAR, least=0.1)[0] == [1, 2, 3]
    assert soft(BOXES[:0], SCORES[:0], LINEAR)[0] == []
    assert soft(BOXES[:1], torch.tensor([0.0]), LINEAR, least=0.1)[0] == [0]  # never compared


def test_soft_with_an_offset_counts_the_last_pixel():
    boxes, scores = torch.tensor([[0.0, 0, 9, 9], [0, 5, 9, 14]]), torch.tensor([0.9, 0.6])
    for offset, shared in ((0, 36 / 126), (1, 50 / 150)):
        dets = soft(boxes, scores, LINEAR, threshold=0.1, offset=offset)[1]
        assert float(dets[1, 4]) == pytest.approx(0.6 * (1 - shared))


def test_naive_soft_is_nms():
    draw = torch.Generator().manual_seed(0)
    low = torch.rand(200, 2, generator=draw) * 60
    boxes = torch.cat((low, low + torch.rand(200, 2, generator=draw) * 40), 1)
    scores = torch.rand(200, generator=draw) + 0.1
    expected = torchvision.ops.nms(boxes, scores, 0.4).tolist()
    assert 10 < len(expected) < 190
    assert soft(boxes, scores, NAIVE, threshold=0.4)[0] == expected
    dets = torch.cat((boxes, scores[:, None]), 1)
    groups = nms_match(dets, 0.4)
    assert [group[0] for group in groups] == expected
    assert sorted(i for group in groups for i in group) == list(range(200))


def test_groups_hold_what_each_box_suppresses_best_first():
    dets = torch.cat((BOXES, SCORES[:, None]), 1)
    assert nms_match(dets, 0.2) == [[1, 0, 2], [3]]
    assert nms_match(dets, 0.5) == [[1, 0], [2], [3]]
    assert nms_match(dets, 0.9) == [[1, 0], [2], [3]]  # at the threshold already
    assert nms_match(dets, 0.91) == [[1], [0], [2], [3]]


@pytest.mark.parametrize('threshold', [0.1, 0.2, 0.3, 0.4, 0.6, 0.7, 0.8])
def test_an_overlap_that_equals_the_threshold_stays(threshold):
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, round(10 * threshold)]])
    assert kept(boxes, torch.tensor([0.9, 0.8]), threshold) == [0, 1]


def test_soft_keeps_scores_that_are_no_numbers():
    """As mmcv does: NaN is not below the least score, and larger than none."""
    nan = float('nan')
    assert soft(BOXES[:3], torch.tensor([nan, 0.5, 0.9]), GAUSSIAN)[0] == [0, 2, 1]
    assert soft(BOXES[[0, 3]], torch.tensor([0.5, nan]), LINEAR)[0] == [0, 1]
    empty = torch.ones(2, 4)
    assert soft(empty, torch.tensor([0.5, 0.9]), GAUSSIAN)[0] == [1, 0]  # overlaps of 0 / 0
