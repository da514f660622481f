"""Drawn scenes: geometry, colours and annotations, by hand and by measuring the pictures."""

import math

import numpy as np
import pytest

from fastervit_mm.data.drawn_shapes import (
    CLASSES,
    SEMANTIC_CLASSES,
    Shape,
    annotation,
    background,
    draw_scene,
    outline,
    place,
)


def rng(*seed) -> np.random.Generator:
    return np.random.default_rng(list(seed) or 0)


def test_the_classes():
    assert CLASSES == ('circle', 'square', 'triangle')
    assert SEMANTIC_CLASSES == ('background', 'circle', 'square', 'triangle')


def test_outlines_by_hand():
    centre = np.array([10.0, 20.0])
    assert outline('square', centre, 2, 0) == pytest.approx(
        np.array([[12, 20], [10, 22], [8, 20], [10, 18]])
    )
    low = math.sqrt(3)
    assert outline('triangle', centre, 2, math.pi / 2) == pytest.approx(
        np.array([[10, 22], [10 - low, 19], [10 + low, 19]])
    )


@pytest.mark.parametrize('label, corners', [('circle', 48), ('square', 4), ('triangle', 3)])
def test_outlines_are_regular(label, corners):
    """All corners on the circle, at equal distances, turned by the angle."""
    centre = np.array([30.0, 40.0])
    points = outline(label, centre, 7, 0.3)
    assert points.shape == (corners, 2)
    assert np.hypot(*(points - centre).T) == pytest.approx(np.full(corners, 7.0))
    side = 2 * 7 * math.sin(math.pi / corners)
    assert np.hypot(*(points - np.roll(points, 1, 0)).T) == pytest.approx(np.full(corners, side))
    assert points[0] == pytest.approx(centre + 7 * np.array([math.cos(0.3), math.sin(0.3)]))


@pytest.mark.parametrize('label, points', [('star', 5), ('spark', 4)])
def test_a_star_has_inner_and_outer_corners(label, points):
    centre = np.array([30.0, 40.0])
    outer, inner = np.hypot(*(outline(label, centre, 10, 0.3) - centre).T).reshape(-1, 2).T
    assert outer == pytest.approx(np.full(points, 10)) and inner == pytest.approx(4.5 + 0 * inner)


def test_an_annotation_by_hand():
    """A rectangle of 4×3 px and its area, a triangle of 6 px²; rounded to hundredths."""
    corners = np.array([[1, 2], [5, 2], [5, 5], [1, 5]], float)
    assert annotation(Shape('square', corners, (0, 0, 0)), 5, 3) == dict(
        id=5,
        image_id=3,
        category_id=2,
        bbox=[1, 2, 4, 3],
        area=12,
        iscrowd=0,
        segmentation=[[1, 2, 5, 2, 5, 5, 1, 5]],
    )
    corners = np.array([[1.123, 7.456], [5.123, 7.456], [1.123, 10.456]])
    for points in (corners, corners[::-1]):
        made = annotation(Shape('triangle', points, (0, 0, 0)), 1, 1)
        assert (made['category_id'], made['area']) == (3, 6)
        assert made['bbox'] == [1.12, 7.46, 4, 3]
        assert made['segmentation'] == [[round(v, 2) for v in points.ravel()]]
    made = annotation(Shape('circle', 1.111 * corners, (0, 0, 0)), 1, 1)
    assert (made['category_id'], made['area']) == (1, 7.41)  # 6 × 1.111² = 7.406
    assert all(type(v) is float for v in (*made['bbox'], made['area'], *made['segmentation'][0]))


@pytest.fixture(scope='module')
def placed():
    """Objects of 400 scenes of 100 px."""
    return [list(place(rng(i), 100)) for i in range(400)]


def test_one_to_five_objects(placed):
    assert {len(scene) for scene in placed} == {1, 2, 3, 4, 5}


def test_objects_are_of_a_tenth_to_a_fifth_of_the_side(placed):
    radii = [radius for scene in placed for _, radius in scene]
    assert 9 <= min(radii) < 9.1 and 19.8 < max(radii) <= 20


def test_objects_stay_a_pixel_off_the_edge(placed):
    near = [centre - radius for scene in placed for centre, radius in scene]
    far = [100 - centre - radius for scene in placed for centre, radius in scene]
    for gaps in (np.array(near), np.array(far)):
        assert (gaps.min(0) >= 1).all() and (gaps.min(0) < 1.5).all()


def test_objects_do_not_touch(placed):
    gaps = [
        np.hypot(*(a - b)) - r - s
        for scene in placed
        for i, (a, r) in enumerate(scene)
        for b, s in scene[:i]
    ]
    assert 2 < min(gaps) < 2.2


def test_backgrounds_mix_two_colours():
    """Along a line between them, but for a grain of 8; both ends are neither black nor white."""
    for seed in range(20):
        texture = background(rng(seed), 64)
        assert texture.shape == (64, 64, 3) and texture.dtype == np.uint8
        pixels = texture.reshape(-1, 3) - texture.mean((0, 1))
        _, strength, _ = np.linalg.svd(pixels, full_matrices=False)
        assert strength[1:] / 64 == pytest.approx([8, 8], abs=0.6)
        assert 20 < texture.mean() < 235


def test_backgrounds_are_the_published_ones():
    """The figures of the demo were measured on these; Pillow may round otherwise."""
    texture = background(rng(), 16).astype(int)
    assert texture[::5, ::5, 1] == pytest.approx(
        np.array([[81, 82, 53, 29], [78, 105, 47, 55], [82, 79, 109, 96], [80, 117, 102, 125]]),
        abs=3,
    )
    assert texture.mean((0, 1)) == pytest.approx([180.1, 84.9, 203.8], abs=1)


def inside(shape: Shape, size: int) -> np.ndarray:
    """(size, size) bool: pixels of ``shape`` as pycocotools draws them."""
    from pycocotools import mask

    codes = mask.frPyObjects([shape.outline.ravel().tolist()], size, size)
    return mask.decode(codes)[..., 0].astype(bool)


def shrunk(mask: np.ndarray) -> np.ndarray:
    """Without the pixels at its edge."""
    padded = np.pad(mask, 1)
    rows, columns = mask.shape
    parts = [padded[i : i + rows, j : j + columns] for i in range(3) for j in range(3)]
    return np.logical_and.reduce(parts)


@pytest.fixture(scope='module')
def scenes():
    """Thirty scenes of 96 px with their texture."""
    return [(background(rng(i), 96), *draw_scene(rng(i), 96)) for i in range(30)]


def test_each_object_is_painted_where_its_outline_is(scenes):
    """In its colour in the picture, as its class in the label map; around it is the texture."""
    for texture, picture, labels, shapes in scenes:
        seen, numbers = np.asarray(picture).astype(float), np.asarray(labels)
        assert seen.shape == (96, 96, 3) and numbers.shape == (96, 96)
        rest = np.ones((96, 96), bool)
        for shape in shapes:
            whole = inside(shape, 96)
            rest &= shrunk(shrunk(~whole))  # Pillow draws up to a pixel more
            core = shrunk(whole)
            assert (numbers[core] == 2 + CLASSES.index(shape.label)).all()
            middle = np.clip(shape.colour, 15, 240)  # where no grain is cut off
            assert np.abs(seen[core].mean(0) - middle).max() < 17
        assert (numbers[rest] == 1).all()
        assert np.abs(seen - texture)[rest].mean() == pytest.approx(4, abs=1)  # a grain of 5


def test_the_grain_lies_over_the_objects_too(scenes):
    grains = []
    for _, picture, _, shapes in scenes:
        for shape in shapes:
            core = np.asarray(picture).astype(float)[shrunk(inside(shape, 96))]
            plain = [c for c, v in enumerate(shape.colour) if 30 < v < 225]
            grains += [core[:, c].std() for c in plain]
            assert all(abs(core[:, c].mean() - shape.colour[c]) < 2 for c in plain)
    assert np.mean(grains) == pytest.approx(5, abs=0.2)


def test_objects_stand_out_from_what_they_cover(scenes):
    differences = [
        np.abs(
            texture[tuple(shape.outline.mean(0).astype(int)[::-1])] - np.array(shape.colour)
        ).sum()
        for texture, _, _, shapes in scenes
        for shape in shapes
    ]
    assert 157 < min(differences) < 175  # 160 before they are rounded down


def test_objects_of_every_kind_angle_and_colour(scenes):
    shapes = [shape for *_, shapes in scenes for shape in shapes]
    assert {shape.label for shape in shapes} == set(CLASSES)
    colours = np.array([shape.colour for shape in shapes])
    assert (colours.min(0) < 25).all() and (colours.max(0) > 230).all()
    first = np.array([shape.outline[0] - shape.outline.mean(0) for shape in shapes])
    assert {(x > 0, y > 0) for x, y in first} == {
        (a, b) for a in (True, False) for b in (True, False)
    }
