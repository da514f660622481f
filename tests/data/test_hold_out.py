"""Without a validation split, about a fifth of the images is held out, each by its own name."""

import random
from pathlib import Path

import pytest

from fastervit_mm.data.folder import LABEL_MAPS, OBJECTS, read_for_evaluation
from fastervit_mm.data.hold_out import hold_out, place_of
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

PHOTOGRAPHS = [f'IMG_{i:04}.jpg' for i in range(200)]


def test_images_that_come_or_go_move_no_other():
    """In any order, from 40 images on and down to them: neither side was ever empty."""
    held = hold_out(PHOTOGRAPHS)
    for seed in range(5):
        order = random.Random(seed).sample(PHOTOGRAPHS, len(PHOTOGRAPHS))
        for count in range(40, 201, 20):
            assert hold_out(order[:count]) == held & set(order[:count])


@pytest.mark.parametrize('seed', range(30))
def test_while_a_folder_grows_from_two_images_no_more_than_the_one_exception_moves(seed):
    """What was held out because nothing else was may go back to training; all others stay."""
    order = random.Random(seed).sample(PHOTOGRAPHS, 40)
    before = hold_out(order[:2])
    for count in range(3, 41):
        now = hold_out(order[:count])
        moved = (before ^ now) - {order[count - 1]}
        assert len(moved) <= 1
        if moved:  # the lowest gave way to a lower one, or the highest to a higher one
            new, old = place_of(order[count - 1]), place_of(*moved)
            assert (new < old and before == moved) or (new > old and moved <= now)
        before = now


@pytest.mark.parametrize('prefix', ['IMG_', 'scene/', 'f\u00fcnf ', '\udcff', ''])
def test_about_a_fifth_of_many(prefix):
    names = [f'{prefix}{i}.jpg' for i in range(200)]
    assert 0.1 < len(hold_out(names)) / len(names) < 0.3


@pytest.mark.parametrize('count', range(2, 20))
def test_neither_side_is_empty(count):
    for seed in range(50):
        names = random.Random(seed).sample(PHOTOGRAPHS, count)
        assert 0 < len(hold_out(names)) < count


def test_the_place_of_a_name_is_the_same_on_every_machine():
    """By SHA-256, computed by hand: `printf a.png | sha256sum` begins with these digits."""
    assert place_of('a.png') == int(DIGITS, 16) / 2**64


DIGITS = '7f071235805fbf58'


def names(cfg, split):
    return [i['file_name'] for i in written(cfg, split)['images']]


def test_the_held_out_are_not_trained_on(tmp_path):
    """Of ten images each is in one part, with its own objects."""
    folder = write_coco(tmp_path / 'mine', content=coco_content(10) | dict(info=dict(year=2024)))
    cfg, (findings,) = fit(detector(), folder)
    train, val = names(cfg, 'train'), names(cfg, 'val')
    assert val == HELD_OUT
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


HELD_OUT = ['i.png', 'j.png']


def test_the_same_images_are_held_out_each_time(tmp_path):
    """Later runs, other machines and evaluations must not validate on what was trained on."""
    folder = write_coco(tmp_path / 'mine', content=coco_content(10))
    for work in ('one', 'two'):
        cfg, _ = fit(detector(), folder, tmp_path / work)
        assert names(cfg, 'val') == HELD_OUT
    evaluated = read_for_evaluation(folder, OBJECTS).val
    assert [i['file_name'] for i in evaluated.content['images']] == HELD_OUT
    maps = {c: [[0, 1], [1, 1]] for c in 'abcdefghij'}
    folder = write_ade(tmp_path / 'ade', maps=maps)
    cfg, _ = fit(segmentor(), folder, tmp_path / 'three')
    lines = Path(innermost(cfg, 'val')['ann_file']).read_text().splitlines()
    assert lines == sorted(hold_out(maps)) == read_for_evaluation(folder, LABEL_MAPS).val.stems


@pytest.mark.parametrize('count', [2, 3, 7, 23])
def test_both_libraries_read_all_images_once(count, tmp_path):
    cfg, (findings,) = fit(detector(), write_coco(tmp_path / 'mine', content=coco_content(count)))
    held = len(hold_out(f'{chr(97 + i)}.png' for i in range(count)))
    assert (len(names(cfg, 'train')), len(names(cfg, 'val'))) == (count - held, held)
    assert findings.notes == [f'training: {held} of them held out: there is no validation split']
    maps = {chr(97 + i): [[0, 1], [1, 1]] for i in range(count)}
    cfg, (scenes,) = fit(segmentor(), write_ade(tmp_path / 'ade', maps=maps))
    held = len(hold_out(maps))
    assert [len(read(cfg, s)) for s in ('train', 'val')] == [count - held, held]
    assert scenes.notes == [f'training: {held} of them held out: there is no validation split']


def test_images_added_to_a_folder_stay_where_they_were(tmp_path):
    """Twelve images, then twelve more, in another order and with other ids."""
    content = coco_content(12)
    parts = []
    for more in (0, 12):
        files = [f'{chr(97 + i)}.png' for i in range(12 + more)]
        content = coco_content({name: (10, 8) for name in reversed(files)})
        cfg, _ = fit(detector(), write_coco(tmp_path / 'mine', content=content))
        parts.append((set(names(cfg, 'train')), set(names(cfg, 'val'))))
    assert parts[0][0] < parts[1][0] and parts[0][1] < parts[1][1]


@pytest.mark.parametrize('labelled', [2, 5, 15])
def test_images_without_objects_follow_their_names_too(labelled, tmp_path):
    """Whatever the others do; both parts have images with objects."""
    things = [thing(10 * i, 7) for i in range(1, labelled + 1)]
    folder = write_coco(tmp_path / 'mine', content=coco_content(20, things))
    cfg, (findings,) = fit(detector(), folder)
    val = written(cfg, 'val')
    bare = [f'{chr(97 + i)}.png' for i in range(labelled, 20)]
    assert set(names(cfg, 'val')) & set(bare) == {n for n in bare if place_of(n) < 0.2}
    assert 0 < len(val['annotations']) < labelled
    assert len(val['annotations']) + len(written(cfg)['annotations']) == labelled
    assert findings.notes[0].startswith(f'training: {len(val["images"])} of them')


def test_the_lists_of_scenes_are_sorted(tmp_path):
    maps = {c: [[0, 1], [1, 1]] for c in 'jihgfedcba'}
    cfg, _ = fit(segmentor(), write_ade(tmp_path / 'ade', maps=maps))
    parts = [Path(innermost(cfg, s)['ann_file']).read_text() for s in ('train', 'val', 'test')]
    assert parts == ['a\nb\ne\ng\nh\ni\n', 'c\nd\nf\nj\n', 'c\nd\nf\nj\n']


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
