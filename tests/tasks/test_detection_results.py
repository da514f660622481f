"""The report's numbers and pictures of a detector, from predictions and truth written by hand.

Four images of different sizes, four classes whose ids are neither contiguous nor in order, a
crowd, an object that is missed, one taken for another class and one found that is not there.
"""

import json
import pickle
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.config import Config
from PIL import Image

from fastervit_mm.tasks.detection_results import detection_results

HORSE, CAT, DOG, NEVER = 20, 3, 7, 90  # in the file's order: labels 0 to 3
ORANGE = (200, 100, 10)
RED, BLUE, GREEN = (242, 60, 60), (60, 113, 242), (166, 242, 60)  # of labels 0, 1, 2
SIZES = {'a.png': (64, 48), 'sub/b.png': (60, 70), 'c.png': (32, 32), 'd.png': (40, 20)}
IDS = {'a.png': 10, 'sub/b.png': 4, 'c.png': 7, 'd.png': 8}


def annotation(number, image, category, box, crowd=0) -> dict:
    x, y, w, h = box
    return dict(
        id=number,
        image_id=IDS[image],
        category_id=category,
        bbox=box,
        area=w * h,
        iscrowd=crowd,
        segmentation=[[x, y, x + w, y, x + w, y + h, x, y + h]],
    )


TRUTH = [
    annotation(1, 'a.png', CAT, [10, 10, 20, 20]),
    annotation(2, 'a.png', DOG, [40, 12, 10, 20]),
    annotation(3, 'a.png', CAT, [0, 40, 5, 5], crowd=1),
    annotation(4, 'sub/b.png', CAT, [5, 5, 40, 50]),
    annotation(5, 'd.png', HORSE, [4, 4, 8, 8]),
]

# (label, score, box as corners, mask as corners) of each detection
FOUND = {
    'a.png': [
        (1, 0.9, [10, 10, 30, 30], [10, 10, 30, 30]),  # the cat
        (0, 0.8, [40, 12, 50, 32], [40, 12, 50, 32]),  # the dog, taken for a horse
        (2, 0.2, [40, 12, 50, 32], [40, 12, 45, 32]),  # the dog; too unsure to be shown; half
        (1, 0.3, [50, 36, 60, 46], [50, 36, 60, 46]),  # nothing; just sure enough
    ],
    'sub/b.png': [(1, 0.7, [5, 5, 25, 55], [5, 5, 45, 55])],  # half of the cat's box, all its mask
    'c.png': [],
    'd.png': [],
}


def encoded(corners, size) -> dict:
    from pycocotools import mask as coco_mask

    width, height = size
    x0, y0, x1, y1 = corners
    mask = np.zeros((height, width), np.uint8, order='F')
    mask[y0:y1, x0:x1] = 1
    return coco_mask.encode(mask)


def prediction(name, found, masks) -> dict:
    """One image as tools/test.py --out keeps it."""
    instances = dict(
        bboxes=torch.tensor([f[2] for f in found]).reshape(-1, 4).float(),
        scores=torch.tensor([f[1] for f in found], dtype=torch.float64),
        labels=torch.tensor([f[0] for f in found], dtype=torch.int64),
    )
    if masks:
        instances['masks'] = [encoded(f[3], SIZES[name]) for f in found]
    return dict(img_id=IDS[name], ori_shape=SIZES[name][::-1], pred_instances=instances)


def write_data(folder, pipeline) -> Config:
    """The truth, its images of one colour each, and the part of a config that names them."""
    for name, size in SIZES.items():
        path = folder / 'pics' / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new('RGB', size, ORANGE).save(path)
    names = {HORSE: 'horse', CAT: 'cat', DOG: 'dog', NEVER: '<script>'}
    content = dict(
        images=[
            dict(id=IDS[n], file_name=n, width=size[0], height=size[1]) for n, size in SIZES.items()
        ],
        annotations=TRUTH,
        categories=[dict(id=i, name=name) for i, name in names.items()],
    )
    (folder / 'truth.json').write_text(json.dumps(content))
    dataset = dict(
        type='CocoDataset',
        data_root=str(folder),
        ann_file='truth.json',
        data_prefix=dict(img='pics/'),
        pipeline=pipeline,
    )
    return Config(dict(default_scope='mmdet', test_dataloader=dict(dataset=dataset)))


def test_a_data_set_of_absolute_paths_has_no_root(tmp_path):
    cfg = write_data(tmp_path, [])
    dataset = cfg.test_dataloader.dataset
    dataset.update(data_root='', ann_file=str(tmp_path / 'truth.json'))
    dataset.data_prefix.img = str(tmp_path / 'pics')
    path = tmp_path / 'predictions.pkl'
    path.write_bytes(pickle.dumps([prediction(n, FOUND[n], True) for n in FOUND]))
    assert detection_results(cfg, path).confusion.sum() == 5


def results_of(folder, masks=True, pipeline=(), found=FOUND):
    cfg = write_data(folder, list(pipeline))
    path = folder / 'predictions.pkl'
    path.write_bytes(pickle.dumps([prediction(n, found[n], masks) for n in found]))
    return detection_results(cfg, path)


@pytest.fixture(scope='module')
def results(tmp_path_factory):
    return results_of(tmp_path_factory.mktemp('data'))


def test_the_confusion_of_confident_detections(results):
    assert results.classes == ('horse', 'cat', 'dog', '<script>')
    assert results.confusion.tolist() == [
        [0, 0, 0, 0, 1],  # the horse, missed
        [0, 2, 0, 0, 0],  # both cats; the crowd is no object
        [1, 0, 0, 0, 0],  # the dog taken for a horse
        [0, 0, 0, 0, 0],
        [0, 1, 0, 0, 0],  # the cat that is not there
    ]


# IoU 0.5 finds both cats; any higher threshold one of two, at 51 of COCO's 101 recalls
CAT_BOXES = (1 + 9 * 51 / 101) / 10


def test_ap_of_each_class_by_boxes_and_by_masks(results):
    assert results.head == ['class', 'objects', 'bbox AP', 'segm AP']
    assert results.per_class == [
        ['horse', 1, 0.0, 0.0],
        ['cat', 3, pytest.approx(CAT_BOXES), pytest.approx(1.0)],
        ['dog', 1, pytest.approx(1.0), pytest.approx(0.1)],  # unsure ones count; IoU 0.5 alone
        ['<script>', 0, '–', '–'],
    ]


def test_ap_without_masks(tmp_path):
    results = results_of(tmp_path, masks=False)
    assert results.head == ['class', 'objects', 'bbox AP']
    assert [row[2] for row in results.per_class] == [
        0,
        pytest.approx(CAT_BOXES),
        pytest.approx(1),
        '–',
    ]


def test_a_detector_that_finds_nothing(tmp_path):
    results = results_of(tmp_path, found={name: [] for name in FOUND})
    assert [row[1:3] for row in results.per_class] == [[1, 0.0], [3, 0.0], [1, 0.0], [0, '–']]
    assert results.confusion.sum() == results.confusion[:, 4].sum() == 4
    assert [score for score, *_ in results.images] == [0, 0, 1, 0]


def test_f1_of_each_image(results):
    """Of a: one of two objects right, three found; of b: all; c has nothing; of d: none."""
    scores = [(name, score) for score, name, _ in results.images]
    assert scores == [('a.png', 2 / 5), ('sub/b.png', 1.0), ('c.png', 1.0), ('d.png', 0.0)]


def halves(picture, name):
    """Truth and prediction of a drawn image: pixels under the title, and the enlargement."""
    width, height = SIZES[name]
    factor = -(-480 // max(width, height))
    assert picture.size == (2 * width * factor + 8, height * factor + 28)
    pixels = np.asarray(picture)[28:].astype(int)
    right = pixels[:, width * factor + 8 :]
    return SimpleNamespace(factor=factor, truth=pixels[:, : width * factor], found=right)


def is_colour(pixels, colour):
    return (abs(pixels - np.array(colour)) <= 1).all(-1)


def draw(results, name):
    (picture,) = [image.draw() for image in results.images if image.name == name]
    return halves(picture, name)


def outline(pixels, colour, factor, box):
    """Whether a box's left and lower lines are of ``colour``."""
    x0, y0, x1, y1 = (factor * v for v in box)
    lines = is_colour(pixels, colour)
    return lines[y0:y1, x0].all() and lines[y1, x0:x1].all()


def test_the_truth_stands_left_and_the_prediction_right(results, written):
    seen = draw(results, 'a.png')
    # titles come last: each picture is finished before it gets one
    assert [entry[0] for entry in written] == [
        *('cat', 'dog'),
        *('cat 0.90', 'horse 0.80', 'cat 0.30'),
        *('truth', 'prediction'),
    ]
    cat, dog, nothing = [10, 10, 30, 30], [40, 12, 50, 32], [50, 36, 60, 46]
    assert outline(seen.truth, BLUE, 8, cat) and outline(seen.found, BLUE, 8, cat)
    assert outline(seen.truth, GREEN, 8, dog) and outline(seen.found, RED, 8, dog)
    assert outline(seen.found, BLUE, 8, nothing) and not outline(seen.truth, BLUE, 8, nothing)
    # the crowd is not drawn, nor the dog of score 0.2
    assert is_colour(seen.truth[320:384, :48], ORANGE).all()
    assert not is_colour(seen.found, GREEN).any()


def tint(colour):
    return 0.6 * np.array(ORANGE) + 0.4 * np.array(colour)


def test_masks_are_drawn_in_the_colours_of_their_classes(results):
    seen = draw(results, 'a.png')
    assert is_colour(seen.truth[160, 160], tint(BLUE))
    assert is_colour(seen.found[160, 160], tint(BLUE))
    assert is_colour(seen.found[328, 440], tint(BLUE))  # of the cat that is not there
    assert is_colour(seen.truth[200, 360], tint(GREEN))
    assert is_colour(seen.found[200, 360], tint(RED))
    assert is_colour(seen.truth[160, 280], ORANGE) and is_colour(seen.found[350, 100], ORANGE)
    seen = draw(results, 'sub/b.png')
    assert seen.factor == 7  # the mask is wider than its box
    assert is_colour(seen.found[100, 40 * 7], tint(BLUE))
    assert outline(seen.found, BLUE, 7, [5, 5, 25, 55])


def test_boxes_without_masks_are_drawn_empty(tmp_path):
    seen = draw(results_of(tmp_path, masks=False), 'a.png')
    for side in (seen.truth, seen.found):
        assert outline(side, BLUE, 8, [10, 10, 30, 30]) and is_colour(side[160, 160], ORANGE)


def test_images_without_objects_are_drawn(results, written):
    seen = draw(results, 'c.png')
    assert is_colour(seen.truth, ORANGE).all() and is_colour(seen.found, ORANGE).all()
    assert [entry[0] for entry in written] == ['truth', 'prediction']


@pytest.mark.parametrize('root', ['', None])
def test_files_named_in_full(root, tmp_path):
    cfg = write_data(tmp_path, [])
    dataset = cfg.test_dataloader.dataset
    dataset.update(data_root=root, ann_file=str(tmp_path / 'truth.json'))
    dataset.data_prefix = dict(img=str(tmp_path / 'pics'))
    path = tmp_path / 'kept.pkl'
    path.write_bytes(pickle.dumps([prediction('d.png', [], True)]))
    (image,) = detection_results(cfg, path).images
    assert image[:2] == (0.0, 'd.png') and image.draw().size == (968, 268)


@pytest.mark.parametrize(
    'pipeline, turned',
    [
        ([], True),
        ([dict(type='LoadAnnotations'), dict(type='LoadImageFromFile')], True),
        ([dict(type='LoadImageFromFile', color_type='color_ignore_orientation')], False),
        ([dict(type='mmengine.LoadImageFromFile', color_type='color_ignore_orientation')], False),
    ],
)
def test_images_are_turned_as_training_reads_them(pipeline, turned, tmp_path):
    results = results_of(tmp_path, pipeline=pipeline)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new('RGB', (40, 20), ORANGE).save(tmp_path / 'pics' / 'd.png', exif=exif)
    (picture,) = [image.draw() for image in results.images if image.name == 'd.png']
    assert picture.size == ((488, 508) if turned else (968, 268))
