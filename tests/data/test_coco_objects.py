"""Objects of an annotation file: boxes, outlines, areas and crowds, by hand and by pycocotools."""

import numpy as np
import pytest
from pycocotools import mask as rle
from pycocotools.coco import COCO

from tests.data.folders import coco_content, detector, fit, innermost, look, read, thing, write_coco

NAN, INF = float('nan'), float('inf')
NO_SIZE, OUTSIDE, BEYOND = 'box of no size', 'box outside its image', 'box beyond the edge'

BOXES = [  # in an image of 10×8 px: box, what is kept of it, problem
    ([2, 3, 4, 5], [2, 3, 4, 5], None),  # down to the last row
    ([0, 0, 10, 8], [0, 0, 10, 8], None),
    ([0.5, 0.25, 1.5, 1.25], [0.5, 0.25, 1.5, 1.25], None),
    ([2, 2, 1, 1], [2, 2, 1, 1], None),
    ([-1, -1, 5, 5], [0, 0, 4, 4], None),  # annotators round
    ([6, 2, 5, 2], [6, 2, 4, 2], None),
    ([2, 4, 2, 5], [2, 4, 2, 4], None),
    ([-1.5, 0, 5, 5], [0, 0, 3.5, 5], BEYOND),
    ([0, -1.5, 5, 5], [0, 0, 5, 3.5], BEYOND),
    ([6, 2, 5.5, 2], [6, 2, 4, 2], BEYOND),
    ([2, 4, 2, 5.5], [2, 4, 2, 4], BEYOND),
    ([9, 2, 3, 3], [9, 2, 1, 3], BEYOND),
    ([2, 7, 3, 3], [2, 7, 3, 1], BEYOND),
    ([-2, 2, 3, 3], [0, 2, 1, 3], BEYOND),
    ([2, -2, 3, 3], [2, 0, 3, 1], BEYOND),
    ([9.5, 2, 3, 3], None, OUTSIDE),
    ([2, 7.5, 3, 3], None, OUTSIDE),
    ([-2.5, 2, 3, 3], None, OUTSIDE),
    ([2, -2.5, 3, 3], None, OUTSIDE),
    ([500, 5, 10, 10], None, OUTSIDE),
    ([2, 2, 0.9, 3], None, OUTSIDE),
    ([2, 2, 3, 0.9], None, OUTSIDE),
    ([2, 2, 0, 3], None, NO_SIZE),
    ([2, 2, 3, 0], None, NO_SIZE),
    ([2, 2, -1, 3], None, NO_SIZE),
    ([2, 2, 3, -2], None, NO_SIZE),
]


def test_boxes_are_cut_at_the_edge(tmp_path):
    content = coco_content(1, [thing(10, 7, box) for box, _, _ in BOXES])
    findings, used = look(tmp_path, content)
    assert [a['bbox'] for a in used['annotations']] == [kept for _, kept, _ in BOXES if kept]
    expected = {}
    for number, (box, _, kind) in enumerate(BOXES, start=1):
        if kind:
            expected.setdefault(kind, []).append(f'a.png, annotation {number}: {box}')
    del findings.problems['category without instances']  # dog
    assert findings.problems == expected
    assert findings.instances == {'cat': sum(kept is not None for _, kept, _ in BOXES)}


def test_boxes_that_are_not_four_numbers(tmp_path):
    boxes = [None, [1, 2, 3], [1, 2, 3, 4, 5], 'abcd', dict(x=1), [None, 1, 2, 3], ['1', 1, 2, 3]]
    boxes += [[1, 1, True, 3], [1, 1, NAN, 3], [1, 1, INF, 3], list(range(100))]
    content = coco_content(1, [thing(10, 7)] + [thing(10, 7, bbox=box) for box in boxes])
    del content['annotations'][1]['bbox']
    findings, used = look(tmp_path, content)
    lines = findings.problems['box that is not four numbers']
    assert len(used['annotations']) == 1 and len(lines) == len(boxes)
    assert lines[:2] == ['a.png, annotation 2: None', 'a.png, annotation 3: [1, 2, 3]']
    assert len(lines[-1]) == len('a.png, annotation 12: ') + 80


def test_objects_of_unknown_images_and_categories(tmp_path):
    things = [thing(10, 7)]
    things += [thing(99, 7), thing([10], 7), thing(None, 7)]
    things += [thing(10, 8), thing(10, [7]), thing(10, None), thing(10, '7')]
    content = coco_content(1, things)
    del content['annotations'][3]['image_id'], content['annotations'][6]['category_id']
    findings, used = look(tmp_path, content)
    assert len(used['annotations']) == 1
    assert findings.problems == {
        'annotation of an unknown image': [f'annotation {i}' for i in (2, 3, 4)],
        'annotation of an unknown category': [f'a.png, annotation {i}' for i in (5, 6, 7, 8)],
        'category without instances': ['dog'],
    }


def square(x, y, side):
    return [x, y, x + side, y, x + side, y + side, x, y + side]


TRIANGLE = [1, 1, 5, 1, 1, 4]  # 4×3 px: 6 px²
BOX = [square(2, 2, 3)]  # of the box 2, 2, 3, 3
SHORT, BARE = 'polygon of fewer than three points', 'object without an outline'
COUNTS = [20, 4, 56]  # uncompressed: 4 px of 80
ENCODED = rle.frPyObjects(dict(size=[8, 10], counts=COUNTS), 8, 10)['counts'].decode()

OUTLINES = [  # in an image of 10×8 px: outline, what is kept of it, problems
    ([TRIANGLE], [TRIANGLE], []),
    ([TRIANGLE, square(6, 4, 2)], [TRIANGLE, square(6, 4, 2)], []),
    ([TRIANGLE, [1, 1, 2, 2]], [TRIANGLE], [SHORT]),
    ([[1, 1, 2, 2, 3]], BOX, [SHORT, BARE]),
    ([[1, 1, 2, 2, 3, 3, 4]], BOX, [SHORT, BARE]),  # an odd number
    ([[5, 5, '8', 5, 8, 8]], BOX, [SHORT, BARE]),
    ([[5, 5, NAN, 5, 8, 8]], BOX, [SHORT, BARE]),
    (TRIANGLE, BOX, [SHORT, BARE]),  # not in a list of its own
    (None, BOX, [BARE]),
    ([], BOX, [BARE]),
    ('abc', BOX, [BARE]),
    ({}, BOX, [BARE]),
    (dict(size=[8, 10], counts=COUNTS), dict(size=[8, 10], counts=COUNTS), []),
    (dict(size=[8, 10], counts=ENCODED), dict(size=[8, 10], counts=ENCODED), []),
    (dict(size=[10, 8], counts=COUNTS), BOX, [BARE]),  # width before height
    (dict(size=[8, 10], counts=None), BOX, [BARE]),
    (dict(size=[8, 10]), BOX, [BARE]),
    (dict(counts=COUNTS), BOX, [BARE]),
]


def test_every_object_gets_an_outline(tmp_path):
    things = [thing(10, 7, (2, 2, 3, 3), segmentation=outline) for outline, _, _ in OUTLINES]
    without = thing(10, 7, (2, 2, 3, 3))
    del without['segmentation']
    findings, used = look(tmp_path, coco_content(1, [*things, without]))
    assert [a['segmentation'] for a in used['annotations']] == [k for _, k, _ in OUTLINES] + [BOX]
    expected = {SHORT: [], BARE: []}
    for number, (_, _, kinds) in enumerate([*OUTLINES, (None, BOX, [BARE])], start=1):
        for kind in kinds:
            expected[kind].append(f'a.png, annotation {number}')
    assert {kind: findings.problems[kind] for kind in (SHORT, BARE)} == expected
    assert all(a['area'] == 9 for a in used['annotations'])  # as it was given


def test_a_bare_box_is_outlined_as_it_is_cut(tmp_path):
    content = coco_content(1, [thing(10, 7, (6, 5, 9, 9), segmentation=None, area=None)])
    (kept,) = look(tmp_path, content)[1]['annotations']
    assert kept['bbox'] == [6, 5, 4, 3]
    assert kept['segmentation'] == [[6, 5, 10, 5, 10, 8, 6, 8]]
    assert kept['area'] == 12


AREAS = [  # outline, area
    ([TRIANGLE], 6),
    ([TRIANGLE[-2:] + TRIANGLE[2:4] + TRIANGLE[:2]], 6),  # the other way round
    ([TRIANGLE, square(6, 4, 2)], 10),
    ([TRIANGLE, square(6, 4, 2)[::-1]], 10),
    ([[0.5, 0, 3, 0, 3, 2, 0.5, 2]], 5),
    ([[0, 0, 4, 0, 4, 4, 2, 2, 0, 4]], 12),  # with a notch
    ([[3, 3, 4, 4, 5, 5]], 42),  # a line has none: that of the box
    (dict(size=[8, 10], counts=COUNTS), 42),
    (None, 42),
]


def test_areas_are_computed_where_none_is_given(tmp_path):
    box = (1, 1, 7, 6)  # 42 px²
    things = [thing(10, 7, box, segmentation=outline, area=None) for outline, _ in AREAS]
    content = coco_content(1, things)
    del content['annotations'][0]['area']
    findings, used = look(tmp_path, content)
    assert [a['area'] for a in used['annotations']] == [area for _, area in AREAS]
    lines = [f'a.png, annotation {i}: None' for i in range(2, len(AREAS) + 1)]
    assert findings.problems['area that is not a positive number'] == lines  # none missing


def test_areas_that_are_no_area(tmp_path):
    areas = [0, -3, True, NAN, INF, '6', [6], 'x' * 200]
    things = [thing(10, 7, segmentation=[TRIANGLE], area=area) for area in (*areas, 5, 0.5)]
    findings, used = look(tmp_path, coco_content(1, things))
    assert [a['area'] for a in used['annotations']] == [6] * len(areas) + [5, 0.5]
    lines = findings.problems['area that is not a positive number']
    assert lines[:2] == ['a.png, annotation 1: 0', 'a.png, annotation 2: -3']
    assert len(lines) == len(areas) and len(lines[-1]) == len('a.png, annotation 8: ') + 80


def test_crowds_stay_crowds(tmp_path):
    flags = [(1, 1), ('1', 1), (True, 1), (0, 0), (None, 0), ('0', 0), (2, 0), (False, 0)]
    things = [thing(10, 7, iscrowd=flag) for flag, _ in flags]
    bare = thing(10, 7)
    del bare['iscrowd']
    _, used = look(tmp_path, coco_content(1, [*things, bare]))
    assert [a['iscrowd'] for a in used['annotations']] == [crowd for _, crowd in flags] + [0]


def test_the_library_ignores_crowds(tmp_path):
    crowd = dict(size=[8, 10], counts=COUNTS)
    content = coco_content(
        1, [thing(10, 7), thing(10, 90, (5, 5, 3, 2), iscrowd=1, segmentation=crowd)]
    )
    folder = write_coco(tmp_path / 'mine', content=content)
    cfg, _ = fit(detector(), write_coco(folder, 'val', content))
    for split in ('train', 'val'):
        sample = read(cfg, split)[0]['data_samples']
        assert sample.gt_instances.bboxes.tensor.tolist() == [[2, 2, 6, 5]]
        assert sample.ignored_instances.bboxes.tensor.tolist() == [[5, 5, 8, 7]]
        assert sample.ignored_instances.labels.tolist() == [1]
        mask = np.zeros(80, np.uint8)
        mask[20:24] = 1  # column by column
        assert (sample.ignored_instances.masks.masks[0] == mask.reshape(10, 8).T).all()


def test_pycocotools_sees_the_same_masks(tmp_path):
    """Encoded masks, with the boxes and areas that pycocotools tells of them."""
    masks = np.zeros((2, 8, 10), np.uint8)
    masks[0, 1:4, 2:9], masks[1, 5:, 7:] = 1, 1
    codes = [rle.encode(np.asfortranarray(mask)) for mask in masks]
    things = [
        thing(
            10,
            7,
            tuple(map(float, rle.toBbox(code))),
            area=int(rle.area(code)),
            segmentation=dict(size=list(map(int, code['size'])), counts=code['counts'].decode()),
        )
        for code in codes
    ]
    content = coco_content(1, things)
    folder = write_coco(tmp_path / 'mine', content=content)
    cfg, (findings, _) = fit(detector(), write_coco(folder, 'val', content))
    assert set(findings.problems) == {'category without instances'}
    coco = COCO(innermost(cfg)['ann_file'])
    for annotation, mask in zip(coco.loadAnns([1, 2]), masks, strict=True):
        assert (coco.annToMask(annotation) == mask).all()
        assert annotation['area'] == mask.sum()
    assert [a['bbox'] for a in coco.loadAnns([1, 2])] == [[2, 1, 7, 3], [7, 5, 3, 3]]


@pytest.mark.parametrize('split', ['train', 'val'])
def test_both_splits_are_cleaned(split, tmp_path):
    folder = tmp_path / 'mine'
    for name in ('train', 'val'):
        bad = [thing(10, 7, (2, 2, 0, 3)), thing(10, 7, (2, 2, 3, 3)), thing(10, 90)]
        write_coco(folder, name, coco_content(1, bad if name == split else bad[1:]))
    cfg, all_findings = fit(detector(), folder)
    assert [list(f.problems) for f in all_findings] == (
        [[NO_SIZE], []] if split == 'train' else [[], [NO_SIZE]]
    )
    for name in ('train', 'val', 'test'):
        assert len(COCO(innermost(cfg, name)['ann_file']).anns) == 2
