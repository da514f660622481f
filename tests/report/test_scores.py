"""Scores against answers worked out by hand, and against COCO's own evaluation."""

from contextlib import redirect_stdout
from io import StringIO

import numpy as np
import pytest

from fastervit_mm.report.scores import (
    box_iou,
    class_ap,
    class_iou,
    detection_confusion,
    f1,
    label_confusion,
    match_boxes,
)


def boxes(*rows) -> np.ndarray:
    return np.array(rows, float).reshape(-1, 4)


def test_overlaps_of_boxes():
    a = boxes([0, 0, 4, 2], [10, 20, 12, 30])
    b = boxes([0, 0, 4, 2], [2, 1, 6, 3], [4, 0, 8, 2], [5, 5, 6, 6], [10, 20, 12, 25])
    # (4×2 with 4×2): 1; overlap 2×1 of 8 + 8 - 2; sides touch; apart; apart | the lower half
    expected = [[1, 2 / 14, 0, 0, 0], [0, 0, 0, 0, 0.5]]
    np.testing.assert_allclose(box_iou(a, b), expected)
    # apart on both axes: two negative sides make no overlap
    assert box_iou(boxes([0, 0, 1, 1]), boxes([3, 3, 4, 4])) == 0
    assert box_iou(boxes([1, 1, 1, 1]), boxes([1, 1, 1, 1])) == 0  # of no size
    assert box_iou(boxes([0, 0, 0.2, 0.1]), boxes([0, 0, 0.2, 0.1])) == pytest.approx(1)
    assert box_iou(boxes(), b).shape == (0, 5) and box_iou(a, boxes()).shape == (2, 0)


def test_overlaps_agree_with_torchvision():
    import torch
    from torchvision.ops import box_iou as reference

    corners = np.random.default_rng(0).uniform(0, 50, (20, 2, 2))
    found = np.concatenate((corners.min(1), corners.max(1)), axis=1)
    expected = reference(torch.from_numpy(found[:8]), torch.from_numpy(found[8:])).numpy()
    np.testing.assert_allclose(box_iou(found[:8], found[8:]), expected)


def test_boxes_match_from_half_an_overlap_on():
    truth = boxes([0, 0, 10, 10])
    assert match_boxes(truth, boxes([0, 0, 10, 5]), np.array([0.9])) == [(0, 0)]  # exactly 0.5
    assert match_boxes(truth, boxes([0, 0, 10, 4.99]), np.array([0.9])) == []


def test_confident_boxes_choose_first_and_each_matches_once():
    truth = boxes([0, 0, 10, 10], [0, 0, 10, 8])
    found = boxes([0, 0, 10, 10], [0, 0, 10, 10], [0, 0, 10, 10])
    # the second box is the surest and takes the best truth; the third takes what is left
    assert match_boxes(truth, found, np.array([0.1, 0.9, 0.5])) == [(0, 1), (1, 2)]
    # a taken truth is not given away, though it fits better than any other
    far = boxes([0, 0, 10, 10], [50, 50, 60, 60])
    assert match_boxes(far, found[:2], np.array([0.4, 0.6])) == [(0, 1)]


def test_each_box_takes_the_truth_it_overlaps_most():
    truth = boxes([0, 0, 10, 6], [0, 0, 10, 9], [0, 0, 10, 7])
    assert match_boxes(truth, boxes([0, 0, 10, 10]), np.array([0.5])) == [(1, 0)]


@pytest.mark.parametrize('truth, found', [(0, 0), (0, 1), (1, 0)])
def test_nothing_matches_nothing(truth, found):
    box = [0, 0, 1, 1]
    assert match_boxes(boxes(*[box] * truth), boxes(*[box] * found), np.ones(found)) == []


def test_rows_of_the_confusion_are_the_truth_and_the_last_of_each_is_the_background():
    """Two classes: one object seen as its class, one as the other, one missed, one made up."""
    truth, found = np.zeros((4, 4)), np.zeros((5, 4))
    matrix = np.zeros((3, 3), int)
    pairs = [(0, 3), (1, 1), (3, 0)]
    detection_confusion(matrix, truth, [0, 0, 1, 1], found, [1, 1, 0, 0, 1], pairs)
    # (0, 3): 0 as 0; (1, 1): 0 as 1; (3, 0): 1 as 1; truth 2 (class 1) missed;
    # found 2 (class 0) and 4 (class 1) are nothing
    assert matrix.tolist() == [[1, 1, 0], [0, 1, 1], [1, 1, 0]]
    detection_confusion(matrix, truth[:1], [0], found[:0], [], [])  # added to what is there
    assert matrix.tolist() == [[1, 1, 1], [0, 1, 1], [1, 1, 0]]
    twice = np.zeros((3, 3), int)
    for _ in range(2):  # each image counts
        detection_confusion(twice, truth, [0, 0, 1, 1], found, [1, 1, 0, 0, 1], pairs)
    assert twice.tolist() == [[2, 2, 0], [0, 2, 2], [2, 2, 0]]


@pytest.mark.parametrize(
    'right, truth, found, expected',
    [
        (0, 0, 0, 1.0),
        (0, 3, 0, 0.0),
        (0, 0, 3, 0.0),
        (3, 3, 3, 1.0),
        (1, 2, 2, 0.5),
        (2, 4, 2, 2 / 3),  # precision 1, recall 1/2
        (1, 4, 2, 1 / 3),  # precision 1/2, recall 1/4
    ],
)
def test_f1_is_the_harmonic_mean(right, truth, found, expected):
    assert f1(right, truth, found) == pytest.approx(expected)


def test_pixels_of_two_label_maps():
    truth = np.array([[0, 0, 0], [1, 2, 2], [-1, 3, 255]])
    found = np.array([[0, 1, 1], [1, 0, 2], [0, 0, 0]])
    assert label_confusion(truth, found, 3).tolist() == [[1, 2, 0], [0, 1, 0], [1, 0, 1]]


def test_predictions_of_no_class_count_as_the_nearest():
    truth = np.array([0, 1, 0, 1])
    found = np.array([-1, -1, 7, 2])
    assert label_confusion(truth, found, 2).tolist() == [[1, 1], [1, 1]]


def test_a_confusion_of_bytes_does_not_overflow():
    """150 classes in uint8, as label maps are stored."""
    truth, found = np.full(9, 149, np.uint8), np.full(9, 148, np.uint8)
    matrix = label_confusion(truth, found, 150)
    assert matrix.shape == (150, 150) and matrix[149, 148] == matrix.sum() == 9


def test_ious_from_a_confusion():
    matrix = np.array([[3, 1, 0, 0], [2, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 5]])
    iou = class_iou(matrix)
    # 3 of 3 + 1 + 2; none of 3; in neither map; all
    np.testing.assert_allclose(iou, [0.5, 0, np.nan, 1])
    np.testing.assert_array_equal(class_iou(np.zeros((2, 2), int)), [np.nan, np.nan])


def truth_of(objects, categories) -> dict:
    """COCO's content of one object a row: image, category, x, y, w, h and whether it is a crowd."""
    return dict(
        images=[dict(id=i, width=400, height=400) for i in sorted({o[0] for o in objects})],
        annotations=[
            dict(
                id=n,
                image_id=image,
                category_id=category,
                bbox=[x, y, w, h],
                area=w * h,
                iscrowd=crowd,
                segmentation=[[x, y, x + w, y, x + w, y + h, x, y + h]],
            )
            for n, (image, category, x, y, w, h, crowd) in enumerate(objects, start=1)
        ],
        categories=[dict(id=i, name=f'class {i}') for i in categories],
    )


def coco_of(content):
    from pycocotools.coco import COCO

    coco = COCO()
    coco.dataset = content
    with redirect_stdout(StringIO()):
        coco.createIndex()
    return coco


def result(image, category, box, score) -> dict:
    return dict(image_id=image, category_id=category, bbox=list(box), score=score)


def random_scene(categories):
    """Thirty objects in three images, small and large, and detections around them."""
    rng = np.random.default_rng(1)
    objects, results = [], []
    for n in range(30):
        x, y = rng.integers(0, 250, 2).tolist()
        w, h = rng.integers(8, 140, 2).tolist()
        category, image = categories[n % len(categories)], n % 3
        objects.append((image, category, x, y, w, h, 0))
        box = [x + float(rng.normal(0, 3)), y, w, h + float(rng.normal(0, 3))]
        results.append(result(image, category, box, float(rng.uniform())))
        if n % 4 == 0:
            results.append(result(image, categories[0], [x, y, h, w], float(rng.uniform())))
    return truth_of(objects, categories), results


@pytest.mark.parametrize('kind', ['bbox', 'segm'])
@pytest.mark.parametrize('order', [(3, 7, 20), (20, 3, 7)])
def test_ap_of_each_class_is_what_coco_says_of_it_alone(kind, order):
    """Each class evaluated alone by pycocotools' summary; in the order of the annotation file."""
    from pycocotools.cocoeval import COCOeval

    content, results = random_scene(order)
    coco = coco_of(content)
    expected = []
    with redirect_stdout(StringIO()):
        for category in order:
            evaluation = COCOeval(coco, coco.loadRes([dict(r) for r in results]), kind)
            evaluation.params.catIds = [category]
            evaluation.evaluate()
            evaluation.accumulate()
            evaluation.summarize()
            expected.append(evaluation.stats[0])
    found = class_ap(coco, results, kind)
    assert found == pytest.approx(expected) and 0.05 < min(found) and max(found) < 0.95
    assert len({round(value, 3) for value in found}) == 3


def test_ap_counts_a_hundred_detections_of_an_image():
    objects = [(0, 1, 30 * (n % 12), 30 * (n // 12), 20, 20, 0) for n in range(60)]
    results = [result(0, 1, o[2:6], 0.5) for o in objects]
    assert class_ap(coco_of(truth_of(objects, [1])), results, 'bbox') == [1.0]


def test_ap_by_hand(capsys):
    """One of two cats found exactly, one by exactly half; the dog never; no horse; a crowd."""
    objects = [
        (0, 3, 10, 10, 20, 20, 0),
        (1, 3, 10, 10, 60, 60, 0),
        (1, 3, 200, 200, 90, 90, 1),
        (0, 7, 50, 50, 20, 20, 0),
    ]
    results = [
        result(0, 3, [10, 10, 20, 20], 0.9),
        result(1, 3, [10, 10, 60, 30], 0.8),
        result(1, 3, [200, 200, 90, 90], 0.95),  # within the crowd: neither right nor wrong
        result(0, 3, [50, 50, 20, 20], 0.1),
        result(0, 20, [50, 50, 20, 20], 0.1),
    ]
    coco = coco_of(truth_of(objects, [3, 7, 20]))
    # found at IoU 0.5: both; above: one of two, precision 1 at 51 of COCO's 101 recalls
    cat = (1 + 9 * 51 / 101) / 10
    assert class_ap(coco, results, 'bbox') == pytest.approx([cat, 0, -1])
    assert class_ap(coco, [], 'bbox') == [0.0, 0.0, -1.0]
    assert not capsys.readouterr().out  # COCO's own chatter
