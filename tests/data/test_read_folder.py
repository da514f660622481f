"""The one reading of a folder: what the check prints and training uses."""

import pytest

from fastervit_mm.data.ade_reading import AdeReading
from fastervit_mm.data.coco_reading import CocoReading
from fastervit_mm.data.folder import LABEL_MAPS, OBJECTS, read_folder, read_for_evaluation
from fastervit_mm.data.hold_out import hold_out
from fastervit_mm.errors import ArgumentError, FileError
from tests.tasks.folders import coco_content, write_ade, write_coco, write_image

ROWS = [[0, 1], [1, 2]]


@pytest.fixture
def both(tmp_path):
    """A folder that is in both layouts."""
    write_coco(tmp_path / 'labels.json', coco_content(5, ('cat', 'dog')), tmp_path / 'photos')
    return write_ade(tmp_path, 'training', {c: ROWS for c in 'abcde'}, ('sky', 'sea', 'sun'))


def test_labels_that_are_asked_for(both):
    coco, ade = read_folder(both, OBJECTS), read_folder(both, LABEL_MAPS)
    assert isinstance(coco, CocoReading) and isinstance(ade, AdeReading)
    assert (coco.layout, coco.unit, coco.classes) == ('COCO', 'objects', ('cat', 'dog'))
    assert (ade.layout, ade.unit, ade.classes) == ('ADE', 'pixels', ('sky', 'sea', 'sun'))
    assert read_folder(both).layout == 'ADE'
    assert [len(s.samples) for s in (coco, ade)] == [5, 5]


def test_labels_that_are_not_there(tmp_path):
    for read in (read_folder, read_for_evaluation):
        with pytest.raises(ArgumentError, match='has no annotation file in COCO format'):
            read(tmp_path, OBJECTS)
        with pytest.raises(ArgumentError, match='has no images/training and annotations/training'):
            read(tmp_path, LABEL_MAPS)
    with pytest.raises(ArgumentError, match='neither in COCO'):
        read_folder(tmp_path)


def test_what_is_held_out_is_in_the_reading(both):
    coco, ade = read_folder(both, OBJECTS), read_folder(both, LABEL_MAPS)
    parts = [{i['file_name'] for i in p.content['images']} for p in (coco.train, coco.val)]
    assert parts[1] == hold_out(parts[0] | parts[1]) and not parts[0] & parts[1]
    assert {*ade.val.stems} == hold_out(ade.train.stems + ade.val.stems) - {*ade.train.stems}
    for reading, held in ((coco, parts[1]), (ade, ade.val.stems)):
        assert reading.lines()[:2] == [
            'training: 5 images',
            f'  training: {len(held)} of them held out: there is no validation split',
        ]
        reading.stop_on_fatal()


def test_a_reading_stops_where_it_must(tmp_path):
    content = coco_content(1, ('cat',))
    write_coco(tmp_path / 'labels.json', content, tmp_path / 'photos')
    reading = read_folder(tmp_path)
    assert reading.train is reading.val is None and len(reading.fatal) == 1
    with pytest.raises(ArgumentError, match='1 usable image with annotations'):
        reading.stop_on_fatal()


def test_files_of_two_kinds_stop_the_check_too(tmp_path):
    """The suffixes of a split are settled by one setting."""
    write_ade(tmp_path, 'training', {c: ROWS for c in 'abcdefgh'})
    write_ade(tmp_path, 'training', {c: ROWS for c in 'ijklmnop'}, suffix='.png')
    fatal = read_folder(tmp_path).fatal
    assert fatal and 'images/training end in .jpg, .png; mmseg reads one kind of file' in fatal[0]
    write_ade(tmp_path / 'val', 'training', {c: ROWS for c in 'ab'})
    write_ade(tmp_path / 'val', 'validation', {'a': ROWS}, suffix='.png')
    reading = read_folder(tmp_path / 'val')
    assert reading.fatal == []
    assert (reading.train.image_suffix, reading.train.label_suffix) == ('.jpg', '.png')
    assert reading.val.image_suffix == '.png'


def test_an_evaluation_reads_one_split(tmp_path):
    seen = []

    def note(items):
        seen.extend(items)
        return items

    write_coco(tmp_path / 'c/train.json', coco_content(4), tmp_path / 'c/train')
    write_coco(tmp_path / 'c/val.json', coco_content(2), tmp_path / 'c/val')
    reading = read_for_evaluation(tmp_path / 'c', OBJECTS, progress=note)
    assert len(seen) == 2 and reading.train is None and len(reading.samples) == 2
    assert reading.val.images == tmp_path / 'c/val'
    seen.clear()
    write_ade(tmp_path / 'a', 'training', {c: ROWS for c in 'abc'})
    write_ade(tmp_path / 'a', 'validation', {c: ROWS for c in 'de'})
    reading = read_for_evaluation(tmp_path / 'a', LABEL_MAPS, progress=note)
    assert len(seen) == 2 and reading.train is None and reading.val.stems == ['d', 'e']
    assert not reading.named and not reading.ignore_zero
    assert read_for_evaluation(tmp_path / 'a', LABEL_MAPS, ignore_zero=True).classes == (
        'class 1',
        'class 2',
    )


def test_what_is_evaluated_is_said(tmp_path):
    write_coco(tmp_path / 'train.json', coco_content(10), tmp_path / 'photos')
    reading = read_for_evaluation(tmp_path, OBJECTS)
    held_out = read_folder(tmp_path).val
    assert reading.val.content['images'] == held_out.content['images']
    assert reading.findings[0].notes == [
        'evaluation: 1 of the images of train.json, the share that training holds out'
    ]
    (tmp_path / 'train.json').rename(tmp_path / 'all.json')
    reading = read_for_evaluation(tmp_path, OBJECTS)
    assert len(reading.val.content['images']) == 10
    assert reading.findings[0].notes == ['evaluation: all images of all.json']


def test_images_that_an_evaluation_needs(tmp_path):
    write_coco(tmp_path / 'val.json', coco_content(2), tmp_path / 'val')
    write_coco(tmp_path / 'train.json', coco_content(3), tmp_path / 'train')
    for path in (tmp_path / 'val').iterdir():
        path.unlink()
        (tmp_path / 'train' / path.name).unlink()
    write_image(tmp_path / 'other/9.jpg')
    with pytest.raises(FileError, match='none of the first images that .*val.json names'):
        read_for_evaluation(tmp_path, OBJECTS)
