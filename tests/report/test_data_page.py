"""The page of a folder of images: verdict, problems, histogram, sizes, samples."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fastervit_mm.data.findings import Findings
from fastervit_mm.data.folder import read_folder
from fastervit_mm.data.reading import Reading, Sample
from fastervit_mm.report.data_page import data_page
from tests.report.folders import write_ade, write_coco
from tests.report.pages import pictures, sections, tables


class MadeUp(Reading):
    """A reading without a folder: one class, the findings and samples it was told."""

    layout, unit, counted = 'COCO', 'objects', 'objects'

    def __init__(self, findings, samples=()):
        super().__init__(Path('folder'), ('a',), findings)
        self.told = samples

    image_folders = ()

    def iter_samples(self):
        return iter(self.told)

    def note_small_images(self, least):
        raise AssertionError('a page only shows')


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """Two splits of classes a (2 and 1 objects) and <b> (1 and 0), with problems."""
    root = tmp_path_factory.mktemp('my data')
    names = {1: 'a', 2: '<b>'}
    train = {'0.png': (60, 30), '1.png': (30, 60), '2.png': (500, 400)}
    objects = [
        ('0.png', 1, (2, 2, 9, 9)),
        ('1.png', 1, (2, 2, 9, 9)),
        ('2.png', 2, (2, 2, 9, 9)),
        ('2.png', 2, (2, 2, 0, 9)),
    ]
    write_coco(root, 'train', train, objects, names)
    return write_coco(root, 'val', {'3.png': (40, 40)}, [('3.png', 1, (2, 2, 9, 9))], names)


@pytest.fixture(scope='module')
def page(folder):
    return data_page(read_folder(folder))


def test_headings(page, folder):
    assert f'<h1>{folder}: COCO layout</h1>' in page
    assert list(sections(page)) == [
        'Verdict',
        'Problems',
        'Classes',
        'Sizes',
        'Images with their labels, the worst first (4 of 4)',
    ]
    assert 'src="http' not in page and '<b>' not in page


def test_the_verdict_on_good_data(page):
    verdict = sections(page)['Verdict']
    assert verdict.strip().startswith('<p>Training would start.</p>')
    assert tables(verdict) == [
        [['split', 'images', 'instances'], ['training', '3', '3'], ['validation', '1', '1']]
    ]


def test_the_verdict_on_broken_data(tmp_path):
    write_coco(tmp_path, 'train', {'0.png': (9, 9)}, [], {})
    page = data_page(read_folder(tmp_path))
    (reason,) = [line for line in page.splitlines() if 'class="bad"' in line]
    assert reason.startswith('<p class="bad">Training would fail: ')
    assert 'has no categories; add at least one no annotation of' in reason
    assert 'would start' not in page


def test_problems_with_their_remedies(page, tmp_path):
    (found,) = tables(sections(page)['Problems'])
    learnt = 'kept; the network cannot learn it'
    assert found == [
        ['split', 'problem', 'count', 'in training', 'such as'],
        ['training', 'box of no size', '1', 'left out', '2.png, annotation 4: [2, 2, 0, 9]'],
        ['validation', 'category without instances', '1', learnt, '<b>'],
    ]
    good = {f'{i}.png': (9, 9) for i in range(2)}
    write_coco(tmp_path, 'train', good, [(n, 1, (2, 2, 5, 5)) for n in good], {1: 'a'})
    section = sections(data_page(read_folder(tmp_path)))['Problems']
    assert section.strip() == '<p>None found.</p>'


def test_five_examples_of_a_problem():
    findings = Findings(
        'training', sizes=[(3, 4)], problems={'grey image': [f'{i}.png' for i in range(7)]}
    )
    page = data_page(MadeUp([findings]))
    row = tables(sections(page)['Problems'])[0][1]
    assert row[1:] == ['grey image', '7', 'read as colour', '0.png, 1.png, 2.png, 3.png, 4.png']


def bars(axes):
    """Split -> (class, from, to) of each bar."""
    names = [label.get_text() for label in axes.get_yticklabels()]
    return {
        bar.get_label(): [
            (name, patch.get_x(), patch.get_x() + patch.get_width())
            for name, patch in zip(names, bar.patches, strict=True)
        ]
        for bar in axes.containers
    }


def test_the_histogram_of_classes(folder, figures):
    page = data_page(read_folder(folder))
    assert [p.caption for p in pictures(sections(page)['Classes'])] == ['instances of each class']
    (axes,) = figures[0].axes
    assert bars(axes) == {
        'training': [('a', 0, 2), ('<b>', 0, 1)],
        'validation': [('a', 2, 3), ('<b>', 1, 1)],  # beside those of training
    }
    assert axes.yaxis_inverted() and axes.get_xlabel() == 'objects'
    assert [t.get_text() for t in axes.get_legend().get_texts()] == ['training', 'validation']
    assert figures[0].get_size_inches().tolist() == [7, 2]


def test_the_histogram_of_pixels(tmp_path, figures):
    write_ade(tmp_path, 'training', {'0.png': [[0, 1, 1]] * 2, '1.png': [[0, 0, 9]] * 2})
    data_page(read_folder(tmp_path))
    (axes,) = figures[0].axes
    assert axes.get_xlabel() == 'pixels'
    counts = [to for _, _, to in bars(axes)['training']]
    assert counts == [6, 4, 0, 0, 0, 0, 0, 0, 0, 2]
    assert figures[0].get_size_inches()[1] == pytest.approx(0.22 * 10 + 0.8)


def test_sizes_and_aspects(folder, figures):
    page = data_page(read_folder(folder))
    caption = 'sizes and aspects of the images'
    assert [p.caption for p in pictures(sections(page)['Sizes'])] == [caption]
    left, right = figures[1].axes
    points = {c.get_label(): np.asarray(c.get_offsets()).tolist() for c in left.collections}
    assert points == {
        'training': [[60, 30], [30, 60], [500, 400]],
        'validation': [[40, 40]],
    }
    assert (left.get_xlabel(), left.get_ylabel()) == ('width, px', 'height, px')
    assert [t.get_text() for t in left.get_legend().get_texts()] == ['training', 'validation']
    assert (right.get_xlabel(), right.get_ylabel()) == ('width / height', 'images')
    first, second = (bar.patches for bar in right.containers)
    assert len(first) == 30 and sum(p.get_height() for p in first) == 3
    # from the narrowest to the widest, width / height
    assert first[0].get_x() == 0.5 and first[-1].get_x() + first[-1].get_width() == 2
    assert [i for i, p in enumerate(first) if p.get_height()] == [0, 15, 29]  # 0.5, 1.25, 2
    assert sum(p.get_height() for p in second) == 1


def test_a_split_without_usable_images_has_no_sizes():
    splits = [Findings('training', sizes=[(3, 4)]), Findings('validation')]
    page = data_page(MadeUp(splits))
    assert tables(page)[0][2] == ['validation', '0', '0']


def test_samples_are_thumbnails_with_their_problems(page):
    shown = pictures(sections(page)['Images with their labels, the worst first (4 of 4)'])
    assert [p.caption for p in shown] == ['2.png: box of no size', '0.png', '1.png', '3.png']
    # drawn at 500×400, 480×240, 240×480 and 480×480
    assert [p.image.size for p in shown] == [(420, 336), (420, 210), (210, 420), (420, 420)]
    assert {p.width for p in shown} == {None}


def test_the_two_dozen_worst_are_shown():
    drawn = []

    def sample(i):
        def draw():
            drawn.append(i)
            return Image.new('RGB', (2, 2))

        problems = ['grey image', 'EXIF rotation'] if i == 0 else []
        return Sample(Path(f'folder/{i}.png'), problems, draw)

    samples = [sample(i) for i in range(25)]
    page = sections(data_page(MadeUp([Findings('training', [(3, 4)])], samples)))
    shown = pictures(page['Images with their labels, the worst first (24 of 25)'])
    assert [p.caption for p in shown[:2]] == ['0.png: grey image, EXIF rotation', '1.png']
    assert drawn == list(range(24)) and len(shown) == 24
