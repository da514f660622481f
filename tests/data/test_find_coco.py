"""Which annotation files and image folders are taken for training and validation."""

import json

import pytest

from fastervit_mm.data.layouts import OWN_MARK, CocoLayout, CocoSplit, find_coco
from fastervit_mm.errors import ArgumentError, FileError
from tests.data.folders import coco_content, write_coco, write_image

CHOICES = [  # names of annotation files, which is for training, which for validation
    (['train'], 'train', None),
    (['val'], 'val', None),
    (['labels'], 'labels', None),
    (['labels', 'val'], 'labels', 'val'),
    (['validation', 'training'], 'training', 'validation'),
    (['train', 'valid'], 'train', 'valid'),
    (['train2017', 'val2017'], 'train2017', 'val2017'),
    (['Train2014', 'Val2014'], 'Train2014', 'Val2014'),
    (['coco_train_2017', 'coco_val_2017'], 'coco_train_2017', 'coco_val_2017'),
    (['myTrain', 'myVal'], 'myTrain', 'myVal'),
    (['train', 'training', 'train2017', 'trainval'], 'train2017', None),
    (['train', 'training', 'trainval'], 'training', None),
    (['trainval', 'train'], 'train', None),
    (['val', 'valid', 'validation', 'val2017', 'train'], 'train', 'val2017'),
    (['val', 'valid', 'validation', 'train'], 'train', 'validation'),
    (['val', 'valid', 'train'], 'train', 'valid'),
    (['trainval', 'test'], 'trainval', None),
    (['trainval', 'val'], 'trainval', 'val'),
    (['train_val', 'test'], 'train_val', None),
    (['train-val', 'val'], 'train-val', 'val'),
    (['trainVal', 'test'], 'trainVal', None),
    (['training_val', 'test'], 'training_val', None),
    (['train', 'trainval', 'val'], 'train', 'val'),
    (['interval', 'train'], 'train', None),
    (['constrain', 'restraint', 'train'], 'train', None),
    (['training_photos_val', 'training_photos_train'], *['training_photos_' + s for s in ('train', 'val')]),
    (['val_of_train', 'all_train'], 'all_train', 'val_of_train'),
    (['a_val_train', 'b_val'], 'a_val_train', 'b_val'),
    (['a_val_train', 'b_train'], 'b_train', 'a_val_train'),
    (['a_val_of_train', 'b_val', 'train'], 'train', 'b_val'),
    (['c_train_val_x', 'train', 'c_val'], 'train', 'c_val'),
    (['b_train', 'a_train', 'b_val', 'a_val'], 'a_train', 'a_val'),
]  # fmt: skip


@pytest.mark.parametrize('names, train, val', CHOICES)
def test_files_are_told_by_their_words(names, train, val, tmp_path):
    for name in names:
        write_coco(tmp_path, name, coco_content(1))
    layout = find_coco(tmp_path)
    files = [s and s.annotations.stem.removeprefix('instances_') for s in layout]
    assert files == [train, val]


def test_what_training_wrote_there_is_passed_over(tmp_path):
    write_coco(tmp_path / 'deeper', 'train', coco_content(1))
    (tmp_path / 'training.json').write_text(json.dumps(coco_content(1)))
    (tmp_path / OWN_MARK).write_text('')
    found = find_coco(tmp_path).train.annotations
    assert found.is_relative_to(tmp_path / 'deeper') and found.is_file()


@pytest.mark.parametrize('names', [['labels', 'things'], ['labels', 'things', 'val']])
def test_files_that_tell_nothing_stop(names, tmp_path):
    for name in names:
        write_coco(tmp_path, name, coco_content(1))
    with pytest.raises(ArgumentError) as caught:
        find_coco(tmp_path)
    message = str(caught.value)
    assert message.startswith(f'{tmp_path} has the annotation files ')
    assert all(f'instances_{name}.json' in message for name in names)
    assert 'which one is for training cannot be told: put train in its name' in message


def test_images_and_annotations_of_both_splits(tmp_path):
    write_coco(write_coco(tmp_path, 'train2017'), 'val2017')
    annotations = tmp_path / 'annotations'
    assert find_coco(tmp_path) == CocoLayout(
        CocoSplit(annotations / 'instances_train2017.json', tmp_path / 'train2017'),
        CocoSplit(annotations / 'instances_val2017.json', tmp_path / 'val2017'),
    )


def test_a_folder_without_annotation_files(tmp_path):
    write_image(tmp_path / 'train/a.png')
    assert find_coco(tmp_path) is None


def place(folder, *places, name='train.json', content=None):
    """An annotation file ``name`` whose image a.png lies in each of ``places``."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content or coco_content(1)))
    for where in places:
        write_image(folder / where / 'a.png')
    return folder


def test_annotation_files_are_looked_for_two_folders_deep(tmp_path):
    for name in ('train.json', 'x/train.json', 'x/y/train.json'):
        folder = place(tmp_path / name.replace('/', '_'), 'train', name=name)
        assert find_coco(folder).train.annotations == folder / name
    assert find_coco(place(tmp_path / 'deep', 'train', name='x/y/z/train.json')) is None
    assert find_coco(place(tmp_path / 'other', 'train', name='train.txt')) is None


def test_what_training_wrote_is_no_data(tmp_path):
    folder = place(tmp_path, 'train', name='a_train.json')
    for name in ('work/data', 'val'):
        place(folder, name=f'{name}/train2017.json')
    (folder / 'work/data/written_by_train.txt').write_text('')
    assert find_coco(folder).train.annotations == folder / 'val/train2017.json'
    (folder / 'val/written_by_train.txt').write_text('')
    assert find_coco(folder).train.annotations == folder / 'a_train.json'
    (folder / 'written_by_train.txt').write_text('')
    assert find_coco(folder) is None


def test_other_json_files_are_passed_over(tmp_path):
    folder = place(tmp_path, 'train', name='labels.json')
    for name, text in (('a.json', '{}'), ('train.json', '[1]'), ('z.json', '{"categories"')):
        (folder / name).write_text(text)
    assert find_coco(folder).train.annotations == folder / 'labels.json'
    (folder / 'labels.json').unlink()
    with pytest.raises(ArgumentError, match=r'annotation file .*\.json is not in COCO format'):
        find_coco(folder)


ORDER = [  # where the image lies, in the order in which it is looked for
    'train2017', 'deep/training', 'TRAIN', 'trainval', 'annotations', '.', 'aaa', 'deep/images',
]  # fmt: skip


@pytest.mark.parametrize('first', range(len(ORDER)))
def test_the_images_are_looked_for_in_folders_that_are_named_for_it_first(first, tmp_path):
    folder = place(tmp_path, *ORDER[first:], name='annotations/train.json')
    for where in ORDER:
        (folder / where).mkdir(parents=True, exist_ok=True)
    assert find_coco(folder).train.images == folder / ORDER[first]


def test_validations_images_are_looked_for_under_its_own_names(tmp_path):
    """Images of the same names lie everywhere."""
    order = ['val2017', 'validation', 'valid', 'val']
    place(tmp_path, 'train', *order)
    for where in order:
        place(tmp_path, name='val.json')
        layout = find_coco(tmp_path)
        assert layout.train.images == tmp_path / 'train'
        assert layout.val.images == tmp_path / where
        (tmp_path / where / 'a.png').unlink()


def test_the_folder_itself_may_have_the_name(tmp_path):
    folder = place(tmp_path / 'train', 'a', '.', name='x/labels.json')
    assert find_coco(folder).train.images == folder


def test_names_with_a_folder_in_them(tmp_path):
    content = coco_content({'train/a.png': (10, 8)})
    folder = place(tmp_path, 'photos/train', name='labels.json', content=content)
    assert find_coco(folder).train.images == folder / 'photos'


def test_one_of_the_first_twenty_images_is_enough(tmp_path):
    content = coco_content({f'{i}.png': (10, 8) for i in range(21)})
    folder = place(tmp_path, content=content)
    write_image(folder / 'train' / '20.png')
    with pytest.raises(FileError) as caught:
        find_coco(folder)
    assert str(caught.value).startswith(
        f'none of the first images that {folder}/train.json names (such as 0.png) is found under '
        f'{folder}; put them in {folder}/train2017 or '
    )
    write_image(folder / 'train' / '19.png')
    assert find_coco(folder).train.images == folder / 'train'


def test_a_folder_of_an_images_name_is_no_image(tmp_path):
    folder = place(tmp_path)
    (folder / 'train/a.png').mkdir(parents=True)
    with pytest.raises(FileError, match='none of the first images'):
        find_coco(folder)


def test_validation_without_its_images_says_so(tmp_path):
    place(tmp_path, 'train', name='train.json')
    place(tmp_path, name='val.json', content=coco_content({'v.png': (10, 8)}))
    with pytest.raises(FileError, match=r'val\.json names .*v\.png.*/val2017 or '):
        find_coco(tmp_path)


def test_an_annotation_file_must_name_images(tmp_path):
    content = coco_content({}, [])
    with pytest.raises(ArgumentError) as caught:
        find_coco(place(tmp_path, content=content))
    assert str(caught.value) == f'{tmp_path}/train.json names no images; it needs at least one'
