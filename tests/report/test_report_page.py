"""The report's page: its sections, their order, what the figures and pictures show."""

import json

import numpy as np
import pytest
from PIL import Image

from fastervit_mm.report.results import ImageResult, Results
from fastervit_mm.report.run_page import confusion_figure, image_grid, report_page
from tests.report.pages import pictures, sections, tables


class Flat(ImageResult):
    """An image of one colour in place of truth and prediction."""

    def draw(self):
        return self.pictures()


def flat(score, name, colour, size=(30, 20)):
    return Flat(score, name, lambda: Image.new('RGB', size, colour))


def grey(image):
    return float(np.asarray(image.image.convert('L')).mean())


SCORES = [0.5, 0.1, 0.9, 0.3, 0.2, 0.8, 0.7]


def seven_images() -> list:
    """Each as bright as its score is high."""
    return [flat(s, f'{s}.jpg', (int(250 * s),) * 3) for s in SCORES]


def detector(images) -> Results:
    return Results(
        ('cat', '<script>'),
        score_name='F1 at IoU 0.5',
        head=['class', 'objects', 'bbox AP'],
        per_class=[['cat', 3, 0.25], ['<script>', 0, '–']],
        confusion=np.array([[3, 1, 0], [0, 0, 0], [0, 2, 0]]),
        images=images,
    )


@pytest.fixture
def work_dir(tmp_path):
    folder = tmp_path / 'my run'
    logs = folder / '20260101' / 'vis_data'
    logs.mkdir(parents=True)
    (logs / 'scalars.json').write_text('{"step": 1, "loss": 2.0}\n')
    record = dict(command='python tools/train.py <config>', versions=dict(torch='2.1', numpy='2'))
    (folder / 'run.json').write_text(json.dumps(record))
    return folder


def test_sections_and_their_order(work_dir):
    page = report_page(work_dir, detector(seven_images()))
    assert '<title>Report of my run</title>' in page
    assert list(sections(page)) == [
        'Curves',
        'Classes',
        'What is taken for what',
        'Worst images (F1 at IoU 0.5)',
        'Best images (F1 at IoU 0.5)',
        'How it was made',
    ]
    assert [p.caption for p in pictures(sections(page)['Curves'])] == ['loss']
    (classes,) = tables(sections(page)['Classes'])
    assert classes == [
        ['class', 'objects', 'bbox AP'],
        ['cat', '3', '0.250'],
        ['<script>', '0', '–'],
    ]
    assert '<script>' not in page and 'src="http' not in page


def test_a_segmentors_images_are_ranked_by_mean_iou(work_dir):
    results = Results(
        ('sky', 'tree'), 'mean IoU', confusion=np.eye(2, dtype=int), images=seven_images()
    )
    assert 'Worst images (mean IoU)' in report_page(work_dir, results)


def test_the_worst_and_the_best_images(work_dir):
    page = sections(report_page(work_dir, detector(seven_images())))
    shown = {head: pictures(page[f'{head} images (F1 at IoU 0.5)']) for head in ('Worst', 'Best')}
    worst = [0.1, 0.2, 0.3, 0.5, 0.7, 0.8]
    assert [p.caption for p in shown['Worst']] == [f'{s}.jpg: {s:.2f}' for s in worst]
    best = [0.9, 0.8, 0.7, 0.5, 0.3, 0.2]
    assert [p.caption for p in shown['Best']] == [f'{s}.jpg: {s:.2f}' for s in best]
    for head, expected in (('Worst', worst), ('Best', best)):  # each beside its own name
        assert [grey(p) for p in shown[head]] == pytest.approx([250 * s for s in expected], abs=3)


def test_few_images_are_all_shown(work_dir):
    page = sections(report_page(work_dir, detector(seven_images()[:2])))
    shown = [[p.caption for p in pictures(body)] for h, body in page.items() if 'images' in h]
    assert shown == [['0.1.jpg: 0.10', '0.5.jpg: 0.50'], ['0.5.jpg: 0.50', '0.1.jpg: 0.10']]


def test_how_it_was_made(work_dir, tmp_path):
    made = sections(report_page(work_dir, detector([])))['How it was made'].strip()
    assert made.startswith('<pre>python tools/train.py &lt;config&gt;</pre>')
    assert tables(made) == [[['package', 'version'], ['torch', '2.1'], ['numpy', '2']]]
    made = sections(report_page(tmp_path, detector([])))['How it was made'].strip()
    assert made.startswith('<pre>not recorded</pre>')
    assert tables(made) == [[['package', 'version']]]


def test_images_are_shown_small():
    large = image_grid([flat(0.126, 'a.jpg', 'red', size=(1800, 600))])
    small = image_grid([flat(1, '<b>.jpg', 'red', size=(200, 600))])
    shown = pictures(large + small)
    assert [p.image.size for p in shown] == [(900, 300), (200, 600)]
    assert [(p.caption, p.width) for p in shown] == [
        ('a.jpg: 0.13', '560'),
        ('<b>.jpg: 1.00', '560'),
    ]


def confused(matrix, classes) -> Results:
    return Results(tuple(classes), confusion=np.array(matrix))


def ticks(axis):
    return [label.get_text() for label in axis.get_ticklabels()]


def test_the_confusion_as_shares_of_the_truth(figures):
    page = confusion_figure(confused([[3, 1, 0], [0, 0, 0], [0, 995, 5]], ['cat', 'dog']))
    caption = 'rows: truth, columns: prediction, as shares of the truth'
    assert [p.caption for p in pictures(page)] == [caption]
    (axes,) = figures[0].axes
    (image,) = axes.images
    shares = [[0.75, 0.25, 0], [0, 0, 0], [0, 0.995, 0.005]]
    np.testing.assert_allclose(image.get_array(), shares)
    assert image.get_clim() == (0, 1) and image.get_cmap().name == 'Blues'
    assert ticks(axes.xaxis) == ticks(axes.yaxis) == ['cat', 'dog', 'nothing']
    assert (axes.get_xlabel(), axes.get_ylabel()) == ('predicted', 'truth')
    # as (column, row); white on dark; shares below half a percent are left out
    texts = [(t.get_position(), t.get_text(), t.get_color()) for t in axes.texts]
    assert texts == [
        ((0, 0), '0.75', 'white'),
        ((1, 0), '0.25', 'black'),
        ((1, 2), '0.99', 'white'),
        ((2, 2), '0.01', 'black'),
    ]
    alignment = {(t.get_ha(), t.get_va(), t.get_fontsize()) for t in axes.texts}
    assert alignment == {('center', 'center', 8)}
    assert axes.get_xticklabels()[0].get_rotation() == 90


def test_a_segmentors_confusion_has_no_background(figures):
    confusion_figure(confused([[1, 1], [0, 4]], ['sky', 'tree']))
    (axes,) = figures[0].axes
    assert ticks(axes.xaxis) == ['sky', 'tree']
    assert [t.get_color() for t in axes.texts] == ['black', 'black', 'white']  # a half is black


@pytest.mark.parametrize(
    'classes, side, font, numbers',
    [(2, 3.2, 8, True), (12, 6.7, 8, True), (13, 7.05, 5, False), (28, 12, 5, False)],
)
def test_many_classes_make_a_large_figure_without_numbers(classes, side, font, numbers, figures):
    names = [f'class {i}' for i in range(classes)]
    confusion_figure(confused(np.eye(classes, dtype=int), names))
    assert figures[0].get_size_inches().tolist() == pytest.approx([side, side])
    (axes,) = figures[0].axes
    sizes = {label.get_fontsize() for label in (*axes.get_xticklabels(), *axes.get_yticklabels())}
    assert sizes == {font} and len(axes.texts) == (classes if numbers else 0)
