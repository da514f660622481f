"""Without a validation split, a seeded fifth of the training images is held out."""

import random
from pathlib import Path

import pytest

from fastervit_mm.errors import ArgumentError
from tests.data.folders import (
    coco_content,
    detector,
    fit,
    innermost,
    read,
    segmentor,
    thing,
    write_ade,
    write_coco,
    written,
)


def names(cfg, split):
    return [i['file_name'] for i in written(cfg, split)['images']]


def test_the_held_out_are_not_trained_on(tmp_path):
    """Ten images: eight and two, each with its own objects."""
    folder = write_coco(tmp_path / 'mine', content=coco_content(10) | dict(info=dict(year=2024)))
    cfg, (findings,) = fit(detector(), folder)
    train, val = names(cfg, 'train'), names(cfg, 'val')
    assert (len(train), len(val)) == (8, 2)
    assert sorted(train + val) == [f'{c}.png' for c in 'abcdefghij']
    for split in ('train', 'val'):
        content = written(cfg, split)
        ids = [i['id'] for i in content['images']]
        assert [a['image_id'] for a in content['annotations']] == ids == sorted(ids)
        assert [c['name'] for c in content['categories']] == ['cat', 'dog']
        assert content['info'] == dict(year=2024)
    assert findings.lines() == ['training: 2 of them held out: there is no validation split']
    assert findings.name == 'training' and len(findings.sizes) == 10
    assert innermost(cfg, 'test')['ann_file'] == innermost(cfg, 'val')['ann_file']


def test_the_library_reads_both_parts_from_the_training_folder(tmp_path):
    folder = write_coco(tmp_path / 'mine', content=coco_content(5))
    cfg, _ = fit(detector(), folder)
    paths = {
        s: [x['data_samples'].img_path for x in read(cfg, s)] for s in ('train', 'val', 'test')
    }
    assert [len(paths[s]) for s in ('train', 'val', 'test')] == [4, 1, 1]
    assert paths['val'] == paths['test'] and not set(paths['val']) & set(paths['train'])
    assert {str(Path(p).parent) for p in paths['val']} == {str(folder / 'train')}


def test_the_same_images_are_held_out_each_time(tmp_path):
    """Later runs, and other machines, must not validate on what was trained on."""
    folder = write_coco(tmp_path / 'mine', content=coco_content(10))
    for work in ('one', 'two'):
        cfg, _ = fit(detector(), folder, tmp_path / work)
        assert names(cfg, 'val') == HELD_OUT
    drawn = list(range(10))
    random.Random(0).shuffle(drawn)
    assert sorted(f'{chr(97 + i)}.png' for i in drawn[:2]) == HELD_OUT
    maps = {c: [[0, 1], [1, 1]] for c in 'abcdefghij'}
    for work in ('three', 'four'):
        cfg, _ = fit(segmentor(), write_ade(tmp_path / 'ade', maps=maps), tmp_path / work)
        lines = Path(innermost(cfg, 'val')['ann_file']).read_text().splitlines()
        assert [f'{line}.png' for line in lines] == HELD_OUT


HELD_OUT = ['h.png', 'i.png']


@pytest.mark.parametrize(
    'count, held', [(2, 1), (3, 1), (7, 1), (8, 2), (12, 2), (13, 3), (15, 3), (23, 5)]
)
def test_a_fifth_and_at_least_one(count, held, tmp_path):
    cfg, (findings,) = fit(detector(), write_coco(tmp_path / 'mine', content=coco_content(count)))
    assert (len(names(cfg, 'train')), len(names(cfg, 'val'))) == (count - held, held)
    maps = {chr(97 + i): [[0, 1], [1, 1]] for i in range(count)}
    cfg, (scenes,) = fit(segmentor(), write_ade(tmp_path / 'ade', maps=maps))
    assert [len(read(cfg, s)) for s in ('train', 'val')] == [count - held, held]
    assert findings.notes == scenes.notes
    assert findings.notes == [f'training: {held} of them held out: there is no validation split']


@pytest.mark.parametrize('labelled, bare, held', [(10, 5, (2, 1)), (2, 2, (1, 0)), (2, 8, (1, 2))])
def test_images_without_objects_are_shared_too(labelled, bare, held, tmp_path):
    """A fifth of those with objects, a fifth of those without."""
    things = [thing(10 * i, 7) for i in range(bare + 1, bare + labelled + 1)]
    folder = write_coco(tmp_path / 'mine', content=coco_content(bare + labelled, things))
    cfg, (findings,) = fit(detector(), folder)
    val = written(cfg, 'val')
    with_objects = {a['image_id'] for a in val['annotations']}
    assert (len(with_objects), len(val['images']) - len(with_objects)) == held
    assert len(written(cfg)['images']) == labelled + bare - sum(held)
    assert len(written(cfg)['annotations']) == labelled - held[0]
    assert findings.notes[0].startswith(f'training: {sum(held)} of them')


def test_the_draw_of_images_without_objects_is_seeded_too(tmp_path):
    things = [thing(10 * i, 7) for i in range(1, 6)]
    folder = write_coco(tmp_path / 'mine', content=coco_content(15, things))
    cfg, _ = fit(detector(), folder)
    draw, held = random.Random(0), []
    for group, count in ((list(range(5)), 1), (list(range(5, 15)), 2)):
        draw.shuffle(group)
        held += group[:count]
    assert names(cfg, 'val') == sorted(f'{chr(97 + i)}.png' for i in held)


def test_the_lists_of_scenes_are_sorted(tmp_path):
    maps = {c: [[0, 1], [1, 1]] for c in 'jihgfedcba'}
    cfg, _ = fit(segmentor(), write_ade(tmp_path / 'ade', maps=maps))
    parts = [Path(innermost(cfg, s)['ann_file']).read_text() for s in ('train', 'val', 'test')]
    assert parts == ['a\nb\nc\nd\ne\nf\ng\nj\n', 'h\ni\n', 'h\ni\n']


def test_one_image_cannot_be_held_out(tmp_path):
    content = coco_content(2, [thing(20, 7), thing(20, 90)])
    folder = write_coco(tmp_path / 'mine', content=content)
    with pytest.raises(ArgumentError) as caught:
        fit(detector(), folder)
    assert str(caught.value) == (
        f'{folder}/annotations/instances_train.json has 1 usable image with annotations and there '
        'is no validation split; add images (at least 2, to hold one out) or a validation split'
    )
    folder = write_ade(tmp_path / 'ade', maps={'a': [[0, 1], [1, 1]], 'b': None})
    with pytest.raises(ArgumentError) as caught:
        fit(segmentor(), folder)
    assert str(caught.value) == (
        f'{folder}/images/training has 1 usable image and there is no validation split; add images '
        '(at least 2, to hold one out) or a validation split'
    )
