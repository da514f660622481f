"""The scenes of the ablation: the same every time, and the mark alone decides the far ones' answer."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastervit_mm.ablation.scenes import (
    MARK,
    MARK_COLOURS,
    OTHER_SIDE,
    REACH,
    SPLITS,
    STRIDE,
    TASKS,
    TRAINED_SIDE,
    far_scene,
    one_scene,
    ordinary_scene,
    read_or_draw,
)


@pytest.mark.parametrize('task', TASKS)
def test_a_scene_is_the_same_whenever_it_is_asked_for_and_no_other(task, tmp_path):
    drawn = read_or_draw(tmp_path, task, 'train', 0, 4)
    read = read_or_draw(tmp_path, task, 'train', 0, 4)
    for i, again in enumerate(one_scene(task, 'train', 0, i) for i in range(4)):
        assert (drawn.pictures[i] == again.picture).all() and (read.labels[i] == again.labels).all()
    pictures = {
        one_scene(task, split, seed, number).picture.tobytes()
        for split in SPLITS
        for seed in (0, 1)
        for number in (0, 2)
    }
    assert len(pictures) == 12


@given(st.integers(0, 2**31), st.sampled_from([TRAINED_SIDE, OTHER_SIDE]))
@settings(max_examples=25, deadline=None)
def test_only_the_mark_tells_the_answer_and_it_is_far_away(seed, side):
    red, blue = (far_scene(np.random.default_rng(seed), side, answer) for answer in (1, 2))
    shape, differs = red.labels > 0, (red.picture != blue.picture).any(-1)
    assert shape.any() and ((blue.labels == 2) == shape).all() and red.labels.max() == 1
    rows, columns = np.nonzero(differs)
    assert len(rows) == MARK**2
    assert set(map(tuple, red.picture[differs].tolist())) == {MARK_COLOURS[0]}
    assert set(map(tuple, blue.picture[differs].tolist())) == {MARK_COLOURS[1]}
    # what else the picture shows has no colour
    assert (red.picture[~differs].max(-1) == red.picture[~differs].min(-1)).all()
    for mark, inside in zip((rows, columns), np.nonzero(shape), strict=True):
        mark_is_low = mark.max() < side / 2
        corner = side - inside * STRIDE if mark_is_low else inside * STRIDE
        assert corner.max() <= REACH
        assert mark.max() < MARK + 2 if mark_is_low else mark.min() >= side - MARK - 2


def test_both_answers_are_equally_frequent():
    labels = [one_scene('far', 'train', 0, i).labels.max() for i in range(10)]
    assert labels.count(1) == labels.count(2) == 5


def test_ordinary_scenes_have_shapes_of_the_same_size_at_every_size():
    areas = [
        np.mean(
            [(ordinary_scene(np.random.default_rng(i), side).labels > 0).sum() for i in range(40)]
        )
        for side in (TRAINED_SIDE, OTHER_SIDE)
    ]
    # a few more find a place where there is more of it; enlarged, they were 2.25 times as large
    assert 0.9 < areas[1] / areas[0] < 1.7
    scene = ordinary_scene(np.random.default_rng(0), OTHER_SIDE)
    assert scene.labels.shape == (OTHER_SIDE // STRIDE,) * 2
    assert set(np.unique(scene.labels)) <= set(range(len(TASKS['ordinary'])))
