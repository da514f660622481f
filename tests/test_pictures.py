"""Drawn objects and label maps, pixel by pixel: where, in which colour, with which words."""

import numpy as np
import pytest
from PIL import Image, ImageFont

from fastervit_mm.pictures import (
    class_colour,
    draw_labels,
    draw_objects,
    enlargement,
    plain_names,
    side_by_side,
    titled,
)

RED, BLUE, GREEN = (242, 60, 60), (60, 113, 242), (166, 242, 60)  # of classes 0, 1, 2


def plain(height, width, colour=(0, 0, 0)) -> np.ndarray:
    return np.full((height, width, 3), colour, np.uint8)


def pixels(picture) -> np.ndarray:
    return np.asarray(picture).astype(int)


def is_colour(picture, colour) -> np.ndarray:
    return (pixels(picture) == colour).all(-1)


def patch_size(text, size=13) -> tuple[int, int]:
    """Width and height of the patch behind a text: its own extent and 3 px on each side."""
    left, top, right, bottom = ImageFont.load_default(size).getbbox(text)
    return int(right - left + 6), int(bottom - top + 6)


def test_colours_of_classes():
    assert [class_colour(i) for i in range(3)] == [RED, BLUE, GREEN]
    colours = np.array([class_colour(i) for i in range(20)])
    apart = np.linalg.norm(colours[:, None] - colours[None], axis=-1)
    assert apart[~np.eye(20, dtype=bool)].min() > 25
    assert np.diag(apart, 1).min() > 150  # of neighbours


@pytest.mark.parametrize(
    'size, factor',
    [
        ((480, 20), 1),
        ((20, 480), 1),
        ((2000, 1000), 1),
        ((479, 20), 2),
        ((240, 100), 2),
        ((100, 239), 3),
        ((1, 1), 480),
        ((0, 0), 480),
    ],
)
def test_small_images_are_enlarged(size, factor):
    assert enlargement(*size) == factor


def test_a_box_is_drawn_where_it_is():
    """In an image of 60×40, shown eight times as large, by lines of 2 px inside the box."""
    box = np.array([[10, 15, 30, 25.5]])
    picture = draw_objects(plain(40, 60), box, [0], ['horse'])
    assert picture.size == (480, 320) and picture.mode == 'RGB'
    drawn = is_colour(picture, RED)
    drawn[: 15 * 8] = False  # the name, above the box
    rows, columns = np.nonzero(drawn)
    assert (columns.min(), rows.min(), columns.max(), rows.max()) == (80, 120, 240, 204)
    assert np.flatnonzero(drawn[160]).tolist() == [80, 81, 239, 240]
    assert np.flatnonzero(drawn[:, 160]).tolist() == [120, 121, 203, 204]
    assert not pixels(picture)[~is_colour(picture, RED)][:, 0][0]


def test_lines_and_words_grow_with_the_image(written):
    box = np.array([[100, 200, 1500, 380.0]])
    picture = draw_objects(plain(400, 1600), box, [1], ['a', 'cat'], [0.876])
    drawn = is_colour(picture, BLUE)
    assert np.flatnonzero(drawn[300]).tolist() == [100, 101, 102, 103, 1497, 1498, 1499, 1500]
    ((text, _, _, colour, size),) = written
    assert (text, colour, size) == ('cat 0.88', (0, 0, 0), 29)  # 1600 / 55
    rows, columns = np.nonzero(drawn[:200])
    width, height = patch_size('cat 0.88', 29)
    # the patch of the words begins 29 + 6 above the box
    assert (columns.min(), rows.min()) == (100, 165)
    assert (columns.max(), rows.max()) == (100 + width, min(165 + height, 199))


def test_names_are_written_above_their_boxes(written):
    boxes = np.array([[100, 150, 300, 350], [320, 200, 420, 300.0]])
    picture = draw_objects(plain(480, 480), boxes, [2, 0], ['horse', 'cat', 'dog'])
    left, top = ImageFont.load_default(13).getbbox('dog')[:2]
    assert written[0] == ('dog', 100 + 3 - left, 150 - 13 - 6 + 3 - top, (0, 0, 0), 13)
    assert written[1][0] == 'horse' and written[1][3] == (255, 255, 255)  # on the darker red
    width, height = patch_size('dog')
    patch = ~is_colour(picture, (0, 0, 0))[131 : 131 + height + 1, 90:300]
    assert np.flatnonzero(patch[0]).tolist() == list(range(10, 10 + width + 1))
    assert is_colour(picture, GREEN)[131 : 131 + height + 1, 100].all()
    assert not is_colour(picture, GREEN)[130].any()


@pytest.mark.parametrize('label, dark', [(0, False), (14, False), (13, True), (2, True)])
def test_words_stand_out_from_their_colour(label, dark, written):
    draw_objects(plain(480, 480), np.array([[100, 150, 300, 350.0]]), [label], 'x' * 20)
    assert sum(class_colour(14)) == 378 and sum(class_colour(13)) == 400
    assert written[0][3] == ((0, 0, 0) if dark else (255, 255, 255))


def test_words_stay_inside_the_picture(written):
    """Of boxes at the corners and beyond; a name longer than the picture begins at its left."""
    boxes = np.array([[-9, -5, 50, 60], [470, 500, 500, 520], [200, 900, 300, 990.0]])
    names = ['top', 'bottom', 'a very long name ' * 9]
    picture = draw_objects(plain(480, 480), boxes, [0, 1, 2], names)
    assert picture.size == (480, 480)
    font = ImageFont.load_default(13)
    expected = []
    for name, corner in zip(names, [(0, 0), (1, 1), (0, 1)], strict=True):
        left, top = font.getbbox(name)[:2]
        width, height = patch_size(name)
        x, y = (480 - width) * corner[0], (480 - height) * corner[1]
        expected.append((x + 3 - left, y + 3 - top))
    assert [entry[1:3] for entry in written] == expected
    assert is_colour(picture, RED)[0, 0]


def test_words_lie_above_all_lines():
    """The second box runs through the name of the first, and is drawn below it."""
    boxes = np.array([[100, 150, 300, 350], [90, 140, 310, 360.0]])
    picture = draw_objects(plain(480, 480), boxes, [0, 2], ['horse', '', ''])
    width, height = patch_size('horse')
    inside = (slice(131, 131 + height + 1), slice(100, 100 + width + 1))
    assert not is_colour(picture, GREEN)[inside].any()
    assert is_colour(picture, GREEN)[140, 200]  # beside the name


def test_masks_tint_their_pixels_below_the_lines():
    """Two fifths of the class's colour where the mask is set, and nothing elsewhere."""
    image = plain(40, 60, (200, 100, 50))
    mask = np.zeros((40, 60), bool)
    mask[20:30, 10:15] = True
    picture = draw_objects(image, np.array([[10, 15, 30, 35.0]]), [1], ['a', ''], masks=[mask])
    seen = pixels(picture)
    expected = 0.6 * np.array([200, 100, 50]) + 0.4 * np.array(BLUE)
    tinted = np.abs(seen - expected).max(-1) <= 1
    rows, columns = np.nonzero(tinted)
    # columns 10 to 14 eight times as large; the first two lie under the box's line
    assert (rows.min(), rows.max()) == (160, 239)
    assert (columns.min(), columns.max()) == (82, 119) and tinted[160:240, 82:120].all()
    assert is_colour(picture, BLUE)[200, 80] and is_colour(picture, (200, 100, 50))[200, 160]


def test_each_mask_has_the_colour_of_its_object():
    image = plain(480, 480)
    masks = np.zeros((2, 480, 480), bool)
    masks[0, 300:320, 110:130] = masks[1, 300:320, 310:330] = True
    boxes = np.array([[100, 200, 200, 400], [300, 200, 400, 400.0]])
    picture = pixels(draw_objects(image, boxes, [2, 0], 'abc', masks=masks))
    assert np.abs(picture[310, 120] - 0.4 * np.array(GREEN)).max() <= 1
    assert np.abs(picture[310, 320] - 0.4 * np.array(RED)).max() <= 1


def test_an_image_without_objects_is_shown_as_it_is():
    image = np.random.default_rng(0).integers(0, 255, (480, 500, 3), dtype=np.uint8)
    none = np.zeros((0, 4))
    for masks in (None, []):
        picture = draw_objects(image, none, [], ['a'], masks=masks)
        assert (pixels(picture) == image).all()


def test_enlarged_images_are_smooth():
    image = plain(2, 2)
    image[:, 1] = 255
    for picture in (
        draw_objects(image, np.zeros((0, 4)), [], []),
        draw_labels(image, -image[..., 0], []),
    ):
        row = pixels(picture)[100, :, 0]
        assert (row[0], row[-1]) == (0, 255) and 100 < row[len(row) // 2] < 155
        assert (np.diff(row[180:300]) >= 0).all()


def test_a_title_stands_above_its_picture(written):
    canvas = titled(Image.new('RGB', (50, 20), RED), 'truth')
    assert canvas.size == (50, 48) and written == [('truth', 4, 4, 'black', 18)]
    assert is_colour(canvas, RED)[28:].all() and not is_colour(canvas, RED)[:28].any()
    strip = pixels(canvas)[:28]
    assert (strip[:4] == 255).all() and (strip[:, :4] == 255).all() and strip.min() < 50


def test_pictures_side_by_side():
    pictures = [Image.new('RGB', size, c) for size, c in (((30, 10), RED), ((20, 25), BLUE))]
    row = side_by_side(pictures)
    assert row.size == (68, 25)  # two cells of 30×25 and a gap of 8
    assert is_colour(row, RED)[:10, :30].all() and is_colour(row, BLUE)[:, 38:58].all()
    rest = is_colour(row, (255, 255, 255))
    assert rest.sum() == 68 * 25 - 30 * 10 - 20 * 25 and rest[10:, :38].all()


def test_pictures_in_rows():
    colours = (RED, BLUE, GREEN)
    grid = side_by_side([Image.new('RGB', (10, 6), c) for c in colours], columns=2, gap=3)
    assert grid.size == (23, 15)
    for colour, (x, y) in zip(colours, ((0, 0), (13, 0), (0, 9)), strict=True):
        assert is_colour(grid, colour)[y : y + 6, x : x + 10].all()
        assert is_colour(grid, colour).sum() == 60


def test_labels_are_painted_over_their_image(written):
    """A map of 48×40: class 2 left, class 0 right, nothing (255, and beyond the names) below."""
    labels = np.full((40, 48), 255)
    labels[:20, :24], labels[:20, 24:], labels[30:], labels[38:] = 2, 0, 3, -1
    picture = draw_labels(plain(40, 48, (200, 100, 50)), labels, ['horse', 'cat', 'dog'])
    assert picture.size == (480, 400)
    seen, image = pixels(picture), np.array([200, 100, 50])
    assert np.abs(seen[100:200, 100:240] - (0.45 * image + 0.55 * np.array(GREEN))).max() <= 2
    assert np.abs(seen[:200, 240:] - (0.45 * image + 0.55 * np.array(RED))).max() <= 2
    assert (seen[200:] == image).all()
    assert [entry[0] for entry in written] == ['horse', 'dog']  # the classes that occur


def test_the_legend_names_the_classes_in_their_colours(written):
    labels = np.zeros((480, 480), int)
    labels[240:] = 1
    picture = draw_labels(plain(480, 480), labels, ['horse', 'cat', 'dog'])
    font = ImageFont.load_default(13)
    expected = [
        (name, 3 - font.getbbox(name)[0], y + 3 - font.getbbox(name)[1], colour, 13)
        for name, y, colour in (('horse', 0, (255, 255, 255)), ('cat', 21, (0, 0, 0)))
    ]
    assert written == expected
    assert is_colour(picture, RED)[:15, 0].all() and is_colour(picture, BLUE)[21:36, 0].all()
    assert not is_colour(picture, BLUE)[:21].any()


def test_the_legend_ends_with_the_picture(written):
    """Ninety classes in a picture of 40×480: as many lines of 21 px as fit."""
    labels = np.arange(90)[:, None].repeat(40, axis=1).repeat(5, axis=0)
    draw_labels(plain(450, 40), labels, [f'class {i}' for i in range(90)])
    size = 900 // 55
    assert [entry[0] for entry in written] == [f'class {i}' for i in range(900 // (size + 8))]


def test_the_words_of_a_large_label_map(written):
    draw_labels(plain(100, 1600), np.zeros((100, 1600), int), ['sky'])
    assert written[0][0] == 'sky' and written[0][4] == 29


@pytest.mark.parametrize('name', ['$x$', '$5_$', r'$\frac$'])
def test_the_hosts_draw_dollars_as_they_are(name):
    """By matplotlib, which takes what is between two of them for a formula, and may not read it."""
    from mmengine.visualization import Visualizer

    def drawn(text):
        visualizer = Visualizer()
        visualizer.set_image(plain(40, 200))
        visualizer.draw_texts(text, np.array([[5, 5]]), colors='w')
        return visualizer.get_image().any((0, 2))

    with plain_names():
        found, other = drawn(name), drawn(name.replace('$', 'S'))
    # a formula would be a letter, without the dollars beside it
    assert abs(np.flatnonzero(found).max() - np.flatnonzero(other).max()) <= 3
