"""The report's numbers and pictures of a segmentor, from label maps of four pixels."""

import numpy as np
import pytest
from mmengine.config import Config
from PIL import Image

from fastervit_mm.errors import ArgumentError, FileError
from fastervit_mm.tasks.segmentation_results import label_map_files, segmentation_results

ORANGE = (200, 100, 10)
RED, BLUE, GREEN = (242, 60, 60), (60, 113, 242), (166, 242, 60)  # of classes 0, 1, 2

# truth and prediction of each image as files hold them: 0 is unlabelled, 1 is the first class
MAPS = {
    'x': ([[1, 1], [2, 0]], [[1, 2], [2, 2]]),
    'sub/y': ([[1, 3], [3, 255]], [[3, 3], [1, 1]]),
    'z': ([[0, 255], [255, 0]], [[1, 2], [3, 1]]),
}


def write_data(folder, maps=MAPS, shift=0, pipeline=(), **dataset) -> Config:
    """Images of one colour, their label maps, and the part of a config that names them."""
    for name, (truth, _) in maps.items():
        image, labels = folder / 'pics' / f'{name}.png', folder / 'maps' / f'{name}.png'
        for path in (image, labels):
            path.parent.mkdir(parents=True, exist_ok=True)
        values = np.array(truth, np.uint8)
        Image.new('RGB', values.shape[::-1], ORANGE).save(image)
        Image.fromarray(values - np.uint8(shift)).save(labels)
    settings = dict(
        type='BaseSegDataset',
        data_root=str(folder),
        data_prefix=dict(img_path='pics', seg_map_path='maps'),
        img_suffix='.png',
        reduce_zero_label=True,
        metainfo=dict(classes=('sky', 'tree', '<b>')),
        pipeline=list(pipeline),
    )
    cfg = dict(default_scope='mmseg', test_dataloader=dict(dataset={**settings, **dataset}))
    return Config(cfg)


def write_predictions(folder, maps=MAPS, shift=0):
    """As tools/test.py --out writes them: by the image's file name alone."""
    folder.mkdir()
    for name, (_, found) in maps.items():
        values = np.array(found, np.uint8) - np.uint8(shift)
        Image.fromarray(values).save(folder / f'{name.split("/")[-1]}.png')
    return folder


@pytest.fixture(scope='module')
def results(tmp_path_factory):
    folder = tmp_path_factory.mktemp('data')
    return segmentation_results(write_data(folder), write_predictions(folder / 'found'))


def test_the_confusion_of_labelled_pixels(results):
    """Pixels that the truth leaves open (0 and 255) do not count."""
    assert results.classes == ('sky', 'tree', '<b>')
    assert results.confusion.tolist() == [[1, 1, 1], [0, 1, 0], [1, 0, 1]]


def test_iou_of_each_class(results):
    assert results.head == ['class', 'pixels', 'IoU']
    assert results.per_class == [
        ['sky', 3, pytest.approx(1 / 4)],  # 1 of 3 + 2 - 1
        ['tree', 1, pytest.approx(1 / 2)],  # 1 of 1 + 2 - 1
        ['<b>', 2, pytest.approx(1 / 3)],  # 1 of 2 + 2 - 1
    ]


def test_the_mean_of_each_image(results):
    """Over the classes that occur in truth or prediction; 0 where the truth says nothing."""
    found = {name: score for score, name, _ in results.images}
    assert found == {'x': 0.5, 'sub/y': pytest.approx((0 + 1 / 3) / 2), 'z': 0.0}


def test_a_class_that_never_occurs(tmp_path):
    cfg = write_data(tmp_path, {'x': MAPS['x']})
    results = segmentation_results(cfg, write_predictions(tmp_path / 'found', {'x': MAPS['x']}))
    name, pixels, iou = results.per_class[2]
    assert (name, pixels) == ('<b>', 0) and np.isnan(iou)


def test_labels_from_zero_on(tmp_path):
    """The same truth without a number for unlabelled pixels, which then are 255."""
    maps = {'x': ([[1, 1], [2, 0]], [[1, 2], [2, 2]])}  # 0 - 1 is 255 in a byte
    cfg = write_data(tmp_path, maps, shift=1, reduce_zero_label=False)
    results = segmentation_results(cfg, write_predictions(tmp_path / 'found', maps, shift=1))
    assert results.confusion.tolist() == [[1, 1, 0], [0, 1, 0], [0, 0, 0]]
    seen = np.asarray(draw(results, 'x')).astype(int)[28:]
    assert is_tinted(seen[100, 100], RED) and is_tinted(seen[100, 588], RED)


@pytest.mark.parametrize('step', [dict(type='LoadAnnotations', reduce_zero_label=True)])
def test_the_pipelines_own_reader_of_labels_is_used(step, tmp_path):
    """A configured reader; with and without it the numbers agree."""
    cfg = write_data(tmp_path, pipeline=[dict(type='LoadImageFromFile'), step])
    results = segmentation_results(cfg, write_predictions(tmp_path / 'found'))
    assert results.confusion.tolist() == [[1, 1, 1], [0, 1, 0], [1, 0, 1]]
    unreadable = dict(step, imdecode_backend='no such')
    cfg = write_data(tmp_path, pipeline=[unreadable])
    with pytest.raises(ValueError, match='no such'):
        segmentation_results(cfg, tmp_path / 'found')


def draw(results, name):
    (picture,) = [image.draw() for image in results.images if image.name == name]
    return picture


def is_tinted(pixels, colour):
    expected = 0.45 * np.array(ORANGE) + 0.55 * np.array(colour)
    return (abs(pixels - expected) <= 2).all()


def is_plain(pixels):
    return (pixels == ORANGE).all()


def test_the_truth_stands_left_and_the_prediction_right(results, written):
    """Each pixel as a square of 240 px; unlabelled ones as they were."""
    picture = draw(results, 'x')
    assert picture.size == (968, 508)
    seen = np.asarray(picture).astype(int)[28:]
    truth, found = seen[:, :480], seen[:, 488:]
    inner, low = slice(60, 230), slice(250, 470)
    assert is_tinted(truth[inner, inner], RED) and is_tinted(truth[inner, low], RED)
    assert is_tinted(truth[low, inner], BLUE) and is_plain(truth[low, low])
    assert is_tinted(found[inner, inner], RED)
    assert is_tinted(found[inner, low], BLUE) and is_tinted(found[low, :], BLUE)
    # titles come last: each picture is finished before it gets one
    assert [entry[0] for entry in written] == ['sky', 'tree', 'sky', 'tree', 'truth', 'prediction']


def test_a_third_class_has_its_own_colour(results):
    seen = np.asarray(draw(results, 'sub/y')).astype(int)[28:]
    assert is_tinted(seen[60:230, 250:470], GREEN)  # truth, upper right
    assert is_plain(seen[250:470, 250:470])  # 255
    assert is_tinted(seen[60:230, 548:700], GREEN) and is_tinted(seen[250:470, 488:], RED)


def test_images_are_turned_as_training_reads_them(tmp_path):
    pictures = {}
    exif = Image.Exif()
    exif[0x0112] = 6
    for flag, truth in (('color', [[1, 1]] * 4), ('color_ignore_orientation', [[1] * 4] * 2)):
        folder = tmp_path / flag
        reader = dict(type='LoadImageFromFile', color_type=flag)
        cfg = write_data(folder, {'x': (truth, truth)}, pipeline=[reader])
        Image.new('RGB', (4, 2), ORANGE).save(folder / 'pics' / 'x.png', exif=exif)
        write_predictions(folder / 'found', {'x': (truth, truth)})
        pictures[flag] = draw(segmentation_results(cfg, folder / 'found'), 'x').size
    assert pictures == {'color': (488, 508), 'color_ignore_orientation': (968, 268)}


def test_label_maps_of_an_evaluation(tmp_path):
    cfg = write_data(tmp_path)
    out = tmp_path / 'out'
    assert sorted(label_map_files(cfg, out)) == [out / 'x.png', out / 'y.png', out / 'z.png']


def test_the_data_set_of_the_config_may_be_shortened(tmp_path):
    cfg = write_data(tmp_path, indices=1)
    assert len(label_map_files(cfg, tmp_path)) == 1


def test_no_validation_images(tmp_path):
    cfg = write_data(tmp_path, img_suffix='.jpg')
    with pytest.raises(ArgumentError, match=r'pics holds no validation image that ends in \.jpg'):
        label_map_files(cfg, tmp_path)


def test_images_of_one_name_in_two_folders(tmp_path):
    maps = {name: MAPS['x'] for name in ('a/x', 'b/x', 'b/y', 'c/x')}
    with pytest.raises(ArgumentError, match='3 validation images are called x; label maps are'):
        label_map_files(write_data(tmp_path, maps), tmp_path)


def test_missing_label_maps_are_counted(tmp_path):
    cfg, found = write_data(tmp_path), write_predictions(tmp_path / 'found')
    (found / 'x.png').unlink()
    message = r'found lacks 1 of 3 label maps \(such as x\.png\); tools/test\.py --out'
    with pytest.raises(FileError, match=message):
        segmentation_results(cfg, found)


def test_a_config_without_classes(tmp_path):
    cfg, found = write_data(tmp_path, metainfo={}), write_predictions(tmp_path / 'found')
    with pytest.raises(ArgumentError, match='the config names no classes'):
        segmentation_results(cfg, found)
