"""Images of an annotation file: which are used, under which number, and what is said of the rest."""

import numpy as np
import pytest

from fastervit_mm.errors import ArgumentError
from tests.data.folders import (
    coco_content,
    cut_short,
    detector,
    fit,
    look,
    read,
    thing,
    write_coco,
    write_image,
)


def test_images_and_objects_are_numbered_from_one(tmp_path):
    """What is left out leaves no gap, and each object stays with its image."""
    content = coco_content(
        {'gone.png': (1, 1), 'b.png': (10, 8), 'c.png': (6, 4)},
        [thing(30, 90), thing(10, 7), thing(20, 7), thing(20, 90), thing(30, 7, (1, 1, 2, 2))],
    )
    folder = write_coco(tmp_path / 'mine', content=content)
    (folder / 'train/gone.png').unlink()
    findings, used = look(tmp_path, content, images=False)
    assert [(i['id'], i['file_name']) for i in used['images']] == [(1, 'b.png'), (2, 'c.png')]
    assert [(a['id'], a['image_id'], a['category_id']) for a in used['annotations']] == [
        (1, 2, 90),
        (2, 1, 7),
        (3, 1, 90),
        (4, 2, 7),
    ]
    assert findings.problems == {'missing image': ['gone.png']}  # not its annotation once more
    assert findings.sizes == [(10, 8), (6, 4)]
    assert findings.instances == {'dog': 2, 'cat': 2}


def test_other_entries_are_kept(tmp_path):
    content = coco_content() | dict(info=dict(year=2024), licenses=[dict(id=3)])
    content['images'][0]['license'] = 3
    content['annotations'][1]['score'] = 0.5
    content['categories'][0]['supercategory'] = 'animal'
    findings, used = look(tmp_path, content)
    assert findings.problems == {}
    for number, (image, annotation) in enumerate(
        zip(content['images'], content['annotations'], strict=True), start=1
    ):
        image['id'] = annotation['image_id'] = number
    assert used == content


def test_the_true_size_counts(tmp_path):
    content = coco_content(3)
    content['images'][0].update(width=8, height=10)
    content['images'][1] = dict(id=20, file_name='b.png')
    for name in 'ab':
        write_image(tmp_path / f'mine/train/{name}.png', (10, 8))
    findings, used = look(tmp_path, content)
    assert [(i['width'], i['height']) for i in used['images']] == [(10, 8)] * 3
    assert findings.lines() == [
        "training: 2 × size differs from the annotations (the image's own size is used), such as "
        'a.png: (8, 10) for (10, 8)'
    ]
    assert findings.problems['size differs from the annotations'][1] == (
        'b.png: (None, None) for (10, 8)'
    )


def test_images_with_the_same_file_are_read_once(tmp_path):
    """The objects of all its entries are on it."""
    content = coco_content({'a.png': (10, 8), 'b.png': (10, 8), '?': (10, 8)})
    content['images'][2]['file_name'] = 'a.png'
    for i, (image, annotation) in enumerate(
        zip(content['images'], content['annotations'], strict=True)
    ):
        image['id'] = annotation['image_id'] = f'photo {i}'
    findings, used = look(tmp_path, content)
    assert findings.problems == {'image listed twice': ['a.png']}
    assert [(i['id'], i['file_name']) for i in used['images']] == [(1, 'a.png'), (2, 'b.png')]
    assert [a['image_id'] for a in used['annotations']] == [1, 2, 1]
    assert findings.sizes == [(10, 8), (10, 8)]


def test_a_missing_file_listed_twice_is_left_out(tmp_path):
    content = coco_content(3)
    content['images'][2]['file_name'] = 'a.png'
    folder = write_coco(tmp_path / 'mine', content=content)
    (folder / 'train/a.png').unlink()
    findings, used = look(tmp_path, content, images=False)
    assert (
        findings.problems['missing image'] == findings.problems['image listed twice'] == ['a.png']
    )
    assert [i['file_name'] for i in used['images']] == ['b.png']
    assert [a['image_id'] for a in used['annotations']] == [1]


def test_kinds_of_pixels_and_images_without_objects_are_named(tmp_path):
    content = coco_content(
        {'a.png': (10, 8), 'b.jpg': (10, 8), 'c.png': (10, 8), 'd.png': (10, 8)}, [thing(20, 7)]
    )
    for name, mode in (('a.png', 'L'), ('b.jpg', 'CMYK'), ('c.png', 'RGBA')):
        write_image(tmp_path / 'mine/train' / name, mode=mode)
    findings, used = look(tmp_path, content)
    assert findings.problems == {
        'grey image': ['a.png'],
        'CMYK image': ['b.jpg'],
        'alpha image': ['c.png'],
        'image without annotations': ['a.png', 'c.png', 'd.png'],
        'category without instances': ['dog'],
    }
    assert len(used['images']) == 4


def test_truncated_images_are_left_out_of_both_splits(tmp_path):
    folder = tmp_path / 'mine'
    content = coco_content({'a.jpg': (64, 48), 'b.jpg': (10, 8)})
    for split in ('train', 'val'):
        cut_short(write_image(folder / split / 'a.jpg', (64, 48), noise=True))
        write_coco(folder, split, content)
    cfg, all_findings = fit(detector(), folder)
    assert [f.name for f in all_findings] == ['training', 'validation']
    for findings in all_findings:
        (line,) = findings.problems['unreadable image']
        assert line.startswith('a.jpg: unreadable (image file is truncated')
        assert findings.sizes == [(10, 8)]
    assert [len(read(cfg, split)) for split in ('train', 'val', 'test')] == [1, 1, 1]


def test_each_image_is_looked_at_once_and_counted(tmp_path):
    folder = write_coco(tmp_path / 'mine', content=coco_content(3))
    write_coco(folder, 'val', coco_content(2))
    seen = []

    def progress(items):
        seen.append([entry['file_name'] for entry in items])
        return iter(items)

    fit(detector(), folder, progress=progress)
    assert seen == [['a.png', 'b.png', 'c.png'], ['a.png', 'b.png']]


def test_the_library_reads_each_image_with_its_own_objects(tmp_path):
    """Two images, three objects: pixels, boxes, labels and masks as they were made."""
    content = coco_content(
        {'a.png': (10, 8), 'b.png': (6, 4)},
        [thing(20, 90, (1, 1, 3, 2)), thing(10, 7, (2, 2, 4, 3)), thing(10, 90, (0, 0, 10, 8))],
    )
    write_image(tmp_path / 'mine/train/b.png', (6, 4), colour=(10, 20, 30))
    folder = write_coco(tmp_path / 'mine', content=content)
    cfg, _ = fit(detector(), write_coco(folder, 'val', content))
    first, second = read(cfg)
    assert first['inputs'].shape == (3, 8, 10) and second['inputs'].shape == (3, 4, 6)
    assert second['inputs'].unique().tolist() == [10, 20, 30]
    objects = first['data_samples'].gt_instances
    assert objects.labels.tolist() == [0, 1]
    assert objects.bboxes.tensor.tolist() == [[2, 2, 6, 5], [0, 0, 10, 8]]
    mask = np.zeros((8, 10), bool)
    mask[2:5, 2:6] = True
    assert (objects.masks.masks[0] == mask).all()
    objects = second['data_samples'].gt_instances
    assert (objects.labels.tolist(), objects.bboxes.tensor.tolist()) == ([1], [[1, 1, 4, 3]])


def stop(tmp_path, content, **writing) -> str:
    """Why a folder of one training split cannot be used."""
    write_coco(tmp_path / 'mine', content=content, **writing)
    with pytest.raises(ArgumentError) as caught:
        fit(detector(), tmp_path / 'mine')
    assert not (tmp_path / 'work').exists()  # nothing is written
    return str(caught.value)


def test_ids_and_names_given_twice_stop(tmp_path):
    file = tmp_path / 'mine/annotations/instances_train.json'
    content = coco_content(4)
    for number in (1, 3):
        content['images'][number]['id'] = content['images'][number - 1]['id']
    assert stop(tmp_path, content).startswith(
        f'{file} gives the image id 10 twice (2 such ids); give each image its own'
    )
    content = coco_content()
    content['categories'][1]['id'] = 7
    assert stop(tmp_path, content).startswith(
        f'{file} gives the category id 7 twice (1 such ids); give each category its own'
    )
    content = coco_content(categories={7: 'cat', 90: 'cat'})
    assert stop(tmp_path, content).startswith(f'{file} names a category twice')
    content = coco_content(things=[], categories={})
    assert stop(tmp_path, content) == f'{file} has no categories; add at least one'


def test_nothing_to_train_on_stops(tmp_path):
    folder = tmp_path / 'mine'
    file = folder / 'annotations/instances_train.json'
    write_image(folder / 'train/a.png').write_bytes(b'')
    write_image(folder / 'train/b.png').write_bytes(b'')
    assert stop(tmp_path, coco_content()) == (
        f'no image of {file} can be read from {folder / "train"}'
    )
    for name in 'ab':
        write_image(folder / f'train/{name}.png')
    content = coco_content(things=[thing(10, 7, (1, 1, 0, 0))])
    assert stop(tmp_path, content) == f'no annotation of {file} can be used'


def test_the_first_split_at_fault_is_named(tmp_path):
    """Validation's, where training's is fine."""
    write_coco(tmp_path / 'mine', 'val', coco_content(things=[]))
    file = tmp_path / 'mine/annotations/instances_val.json'
    assert stop(tmp_path, coco_content()) == f'no annotation of {file} can be used'
    write_coco(tmp_path / 'mine', 'val', coco_content(things=[]))
    file = tmp_path / 'mine/annotations/instances_train.json'
    assert stop(tmp_path, coco_content(things=[])) == f'no annotation of {file} can be used'
