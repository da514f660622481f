"""Folders in ADE20K's layout: which splits are found, and the names of classes."""

import pytest

from fastervit_mm.data.layouts import AdeLayout, AdeSplit, find_ade
from tests.data.folders import write_ade

TRAIN = ['train2017', 'training', 'train', 'trainval']
VAL = ['val2017', 'validation', 'valid', 'val']


def split(folder, name):
    return AdeSplit(folder / 'images' / name, folder / 'annotations' / name)


@pytest.mark.parametrize('train', TRAIN)
@pytest.mark.parametrize('val', VAL)
def test_usual_names_are_found(train, val, tmp_path):
    write_ade(write_ade(tmp_path, train), val)
    assert find_ade(tmp_path) == AdeLayout(split(tmp_path, train), split(tmp_path, val), None)


def test_earlier_names_are_preferred(tmp_path):
    for train, val in zip(TRAIN[::-1], VAL[::-1], strict=True):
        write_ade(write_ade(tmp_path, train), val)
        layout = find_ade(tmp_path)
        assert (layout.train, layout.val) == (split(tmp_path, train), split(tmp_path, val))


def test_a_split_needs_images_and_label_maps(tmp_path):
    (tmp_path / 'images/training').mkdir(parents=True)
    assert find_ade(tmp_path) is None
    write_ade(tmp_path, 'train')
    (tmp_path / 'annotations/validation').mkdir(parents=True)
    assert find_ade(tmp_path) == AdeLayout(split(tmp_path, 'train'), None, None)


def test_validation_alone_is_no_layout(tmp_path):
    assert find_ade(write_ade(tmp_path, 'validation')) is None


def test_classes_one_a_line(tmp_path):
    folder = write_ade(tmp_path)
    (folder / 'classes.txt').write_text('  sky\n\ntraffic light \n \nFüchse\n', encoding='utf-8')
    assert find_ade(folder).classes == ('sky', 'traffic light', 'Füchse')
    (folder / 'classes.txt').write_text('')
    assert find_ade(folder).classes == ()
    (folder / 'classes.txt').unlink()
    (folder / 'classes.txt').mkdir()
    assert find_ade(folder).classes is None
