"""What `predict` writes, from the predictions of a predictor that knows the truth."""

import json
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from mmengine.structures import InstanceData, PixelData
from PIL import Image
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from fastervit_mm.data.drawn_shapes import CLASSES
from fastervit_mm.errors import ArgumentError
from fastervit_mm.prediction import Frame, Source, expand, image_entry, predict
from fastervit_mm.prediction.sources import UNREADABLE
from fastervit_mm.tasks import TASKS
from fastervit_mm.tasks.detection import coco_results
from fastervit_mm.tasks.segmentation import label_map


def objects(boxes, scores, labels, masks=None):
    """A detector's data sample."""
    found = InstanceData(
        bboxes=torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        scores=torch.tensor(scores),
        labels=torch.tensor(labels),
    )
    if masks is not None:
        found.masks = torch.as_tensor(np.array(masks))
    return SimpleNamespace(pred_instances=found)


class Told:
    """A predictor that gives the samples it was told, and notes what it was asked.

    Args:
        samples: one for each image, in order.
        segments: whether they are label maps.
    """

    def __init__(self, samples, classes, segments=False):
        self.samples, self.classes = iter(samples), classes
        self.task = TASKS['segmentation' if segments else 'detection']
        self.asked, self.drawn = [], []

    def __call__(self, images):
        self.asked.append([image.shape[:2] for image in images])
        return [next(self.samples) for _ in images]

    def draw(self, image, sample, score):
        self.drawn.append(score)
        return Image.fromarray(image)


SAMPLE = objects(
    [[1, 2, 4, 8], [10.126, 20.0, 30.5, 40.254], [0, 0, 9, 9]], [0.87654321, 0.5, 0.49], [2, 0, 1]
)
PHOTO = Frame('a', 'x/a.jpg', None)


def test_objects_in_cocos_format_by_hand():
    results = coco_results(SAMPLE, image_entry(PHOTO, 7), ('cat', 'dog', 'cow'), 0.5)
    assert json.loads(json.dumps(results)) == [
        dict(
            image_id=7,
            file_name='x/a.jpg',
            category_id=3,
            category='cow',
            bbox=[1.0, 2.0, 3.0, 6.0],
            score=0.8765,
        ),
        dict(
            image_id=7,
            file_name='x/a.jpg',
            category_id=1,
            category='cat',
            bbox=[10.13, 20.0, pytest.approx(20.37), pytest.approx(20.25)],
            score=0.5,
        ),
    ]


def test_objects_of_a_video_have_their_frame():
    frame = Frame('v_000005', 'v.avi', None, 5)
    (result,) = coco_results(SAMPLE, image_entry(frame, 9), 'abc', 0.6)
    assert (result['file_name'], result['image_id'], result['frame']) == ('v.avi', 9, 5)


def test_masks_are_run_lengths_of_the_whole_image():
    mask = np.zeros((3, 5), bool)
    mask[0, 1:4] = mask[2, 4] = True
    sample = objects([[1, 0, 5, 3]], [0.9], [0], [mask])
    (result,) = coco_results(sample, image_entry(PHOTO, 1), ('a',), 0.3)
    rle = json.loads(json.dumps(result))['segmentation']
    assert rle['size'] == [3, 5]
    assert (coco_mask.decode(rle) == mask).all()


def test_no_object_no_result():
    assert coco_results(objects([], [], []), image_entry(PHOTO, 1), ('a',), 0.0) == []


def truth_of(coco, name):
    """What an image of the drawn scenes shows, as a detector would say it."""
    (image,) = (i for i in coco.loadImgs(coco.getImgIds()) if i['file_name'] == name)
    found = coco.loadAnns(coco.getAnnIds(image['id']))
    boxes = [(x, y, x + w, y + h) for x, y, w, h in (a['bbox'] for a in found)]
    labels = [a['category_id'] - 1 for a in found]
    return objects(boxes, [0.9] * len(found), labels, [coco.annToMask(a) > 0 for a in found])


@pytest.mark.parametrize('kind', ['bbox', 'segm'])
def test_the_truth_predicted_is_evaluated_as_perfect(kind, shapes, tmp_path):
    """predictions.json against the annotation file, by COCO's own evaluation."""
    coco = COCO(str(shapes / 'coco/annotations/instances_train2017.json'))
    sources = expand([str(shapes / 'coco/train2017')])
    predictor = Told([truth_of(coco, s.file) for s in sources], CLASSES)
    assert predict(predictor, sources, tmp_path) == (4, [])
    results = json.loads((tmp_path / 'predictions.json').read_text())
    assert {r['category'] for r in results} == {
        CLASSES[a['category_id'] - 1] for a in coco.anns.values()
    }
    ids = {image['id']: image['file_name'] for image in coco.imgs.values()}
    assert all(ids[r['image_id']] == r['file_name'] for r in results)  # in the folder's order
    evaluation = COCOeval(coco, coco.loadRes(results), kind)
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    assert evaluation.stats[0] == 1.0


@pytest.fixture
def four(tmp_path):
    """Three images of different widths, one broken file second, in a folder."""
    folder = tmp_path / 'in'
    folder.mkdir()
    for i in (0, 2, 3):
        Image.new('RGB', (10 + i, 8), (200, 0, 0)).save(folder / f'{i}.png')
    (folder / '1.png').write_bytes(b'no image')
    return expand([str(folder)])


def test_broken_files_are_skipped_and_not_counted(four, tmp_path):
    predictor = Told([objects([[0, 0, 2, 2]], [0.9], [0])] * 3, ('a',))
    assert predict(predictor, four, tmp_path / 'out', batch=2) == (3, [('1.png', UNREADABLE)])
    assert predictor.asked == [[(8, 10)], [(8, 12), (8, 13)]]
    results = json.loads((tmp_path / 'out/predictions.json').read_text())
    assert [(r['image_id'], r['file_name']) for r in results] == [
        (1, '0.png'),
        (2, '2.png'),
        (3, '3.png'),
    ]
    assert sorted(p.name for p in (tmp_path / 'out').rglob('*')) == [
        '0.jpg',
        '2.jpg',
        '3.jpg',
        'pictures',
        'predictions.json',
    ]


def test_a_batch_of_broken_files_asks_nothing(four, tmp_path):
    predictor = Told([objects([], [], [])] * 3, ('a',))
    assert predict(predictor, four, tmp_path, batch=1, limit=3) == (2, [('1.png', UNREADABLE)])
    assert predictor.asked == [[(8, 10)], [(8, 12)]]


def test_four_images_at_a_time_unless_told_otherwise(four, tmp_path):
    predictor = Told([objects([], [], [])] * 9, ('a',))
    good = [source for source in four if source.file != '1.png']
    predict(predictor, good * 3, tmp_path)
    assert [len(asked) for asked in predictor.asked] == [4, 4, 1]


def test_objects_below_the_score_are_left_out(four, tmp_path):
    found = objects([[0, 0, 2, 2]] * 4, [0.3, 0.29, 0.8, 0.7999], [0] * 4)
    for options, expected in (({}, [0.3, 0.8, 0.7999]), (dict(score=0.8), [0.8])):
        predictor = Told([found], ('a',))
        predict(predictor, four[:1], tmp_path, **options)
        results = json.loads((tmp_path / 'predictions.json').read_text())
        assert [r['score'] for r in results] == expected
        assert predictor.drawn == [options.get('score', 0.3)]


def test_pictures_are_what_the_predictor_draws(four, tmp_path):
    predict(Told([objects([], [], [])], ('a',)), four[:1], tmp_path)
    with Image.open(tmp_path / 'pictures/0.jpg') as picture:
        assert picture.size == (10, 8)
        # the stand-in draws BGR as it came: red photographs are blue here
        assert np.abs(np.asarray(picture)[4, 5].astype(int) - (0, 0, 200)).max() < 12
        Image.new('RGB', (10, 8)).save(tmp_path / 'same.jpg', quality=92)
        assert picture.quantization == Image.open(tmp_path / 'same.jpg').quantization


def label_sample(labels):
    return SimpleNamespace(pred_sem_seg=PixelData(data=torch.tensor(labels)[None]))


def test_label_maps_hold_class_indices(four, tmp_path):
    labels = np.arange(80).reshape(8, 10) * 3
    assert (label_map(label_sample(labels)) == labels).all()
    predictor = Told([label_sample(labels)], ('a',), segments=True)
    assert predict(predictor, four[:1], tmp_path / 'out') == (1, [])
    with Image.open(tmp_path / 'out/labels/0.png') as image:
        assert image.mode == 'L' and (np.asarray(image) == labels).all()
    assert (tmp_path / 'out/pictures/0.jpg').is_file()
    assert not (tmp_path / 'out/predictions.json').exists()


@pytest.mark.parametrize('segments', [False, True])
def test_no_output_overwrites_another(segments, tmp_path):
    """Where stems are alike, outputs lie in folders as their inputs, with suffixes where needed."""
    names = ('a/1.png', 'b/1.png', 'b/1.bmp', 'c/2.png')
    for name in names:
        (tmp_path / 'in' / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new('RGB', (4, 4)).save(tmp_path / 'in' / name)
    (tmp_path / 'in/broken.jpg').write_bytes(b'no image')
    sources = expand([str(tmp_path / 'in')])
    assert [s.file for s in sources] == ['a/1.png', 'b/1.bmp', 'b/1.png', 'broken.jpg', 'c/2.png']
    samples = [
        label_sample([[i]]) if segments else objects([[0, 0, 2, 2]], [0.9], [i]) for i in range(4)
    ]
    out = tmp_path / 'out'
    predictor = Told(samples, 'abcd', segments=segments)
    assert predict(predictor, sources, out) == (4, [('broken.jpg', UNREADABLE)])
    labels = {'a/1': 0, 'b/1.bmp': 1, 'b/1.png': 2, '2': 3}
    for kind, suffix in [('pictures', 'jpg')] + [('labels', 'png')] * segments:
        found = {str(p.relative_to(out / kind)) for p in (out / kind).rglob(f'*.{suffix}')}
        assert found == {f'{name}.{suffix}' for name in labels}
    if segments:
        for name, label in labels.items():
            assert np.asarray(Image.open(out / f'labels/{name}.png')) == label
    else:
        results = json.loads((out / 'predictions.json').read_text())
        assert [r['file_name'] for r in results] == ['a/1.png', 'b/1.bmp', 'b/1.png', 'c/2.png']
        assert [r['category'] for r in results] == list('abcd')


def test_a_videos_objects_have_images_of_their_own(tmp_path):
    video = cv2.VideoWriter(str(tmp_path / 'v.avi'), cv2.VideoWriter_fourcc(*'MJPG'), 5, (32, 16))
    for _ in range(3):
        video.write(np.zeros((16, 32, 3), np.uint8))
    video.release()
    predictor = Told([objects([[0, 0, 2, 2]], [0.9], [0])] * 2, ('a',))
    sources = [Source(str(tmp_path / 'v.avi'), 'v.avi', 'v')]
    assert predict(predictor, sources, tmp_path / 'out', batch=1, limit=2) == (2, [])
    results = json.loads((tmp_path / 'out/predictions.json').read_text())
    assert [(r['image_id'], r['frame'], r['file_name']) for r in results] == [
        (1, 1, 'v.avi'),
        (2, 2, 'v.avi'),
    ]
    pictures = sorted(p.name for p in (tmp_path / 'out/pictures').iterdir())
    assert pictures == ['v_000001.jpg', 'v_000002.jpg']


def test_a_predictor_that_forgets_an_image_is_an_error(four, tmp_path):
    predictor = Told([], ('a',))
    predictor.__class__ = type('Forgetful', (Told,), {'__call__': lambda self, images: []})
    with pytest.raises(RuntimeError, match='^0 predictions on 1 images$'):
        predict(predictor, four[:1], tmp_path)


@pytest.mark.parametrize('option', ['batch', 'limit', 'max_pixels'])
def test_numbers_below_one_are_errors(option, four, tmp_path):
    with pytest.raises(
        ArgumentError, match=f'^--{option} is 0; it must be at least 1$'.replace('_', '-')
    ):
        predict(Told([], ()), four, tmp_path, **{option: 0})
    found = predict(Told([objects([], [], [])] * 4, ()), four[:1], tmp_path, **{option: 1})
    assert found.done == (option != 'max_pixels')


def test_progress_counts_every_image(four, tmp_path, monkeypatch):
    class Bar:
        def __init__(self, **options):
            self.options, self.counts = options, []
            bars.append(self)

        def update(self, count):
            self.counts.append(count)

        def close(self):
            self.counts.append('closed')

    bars = []
    monkeypatch.setattr('tqdm.tqdm', Bar)
    predict(Told([objects([], [], [])] * 3, ()), four, tmp_path, batch=2, limit=3)
    assert bars[0].options == dict(unit='images', total=3)
    assert bars[0].counts == [2, 1, 'closed']
