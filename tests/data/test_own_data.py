"""Somebody's own folder: found, looked through, fitted to a config; what is broken is named."""

import json
import shutil

import numpy as np
import pytest
from tests.helpers import ROOT
from mmengine.config import Config
from PIL import Image

from fastervit_mm.errors import UserError
from fastervit_mm.data.adapt import fit_to_folder
from fastervit_mm.data.check import check_folder
from fastervit_mm.data.coco import category_names, inspect_coco
from fastervit_mm.data.findings import Findings
from fastervit_mm.data.layouts import CocoSplit, find_coco
from fastervit_mm.training.schedule import fit_schedule, scaled_scheduler
from fastervit_mm.config.data_sets import datasets

DETECTION = ROOT / 'configs/detection/cascade_fastervit_2_3x.py'
SEGMENTATION = ROOT / 'configs/segmentation/upernet_fastervit_2_160k.py'


def write_image(path, size=(64, 48), mode='RGB', **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(0).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(noise).convert(mode).save(path, **options)


def coco_content(names=('cat', 'dog'), images=2, ids=(7, 90)):
    """Images 0.jpg, 1.jpg ... with one object each, categories with ids that are not contiguous."""
    return dict(
        images=[dict(id=i, file_name=f'{i}.jpg', width=64, height=48) for i in range(images)],
        annotations=[
            dict(
                id=i,
                image_id=i,
                category_id=ids[i % len(names)],
                bbox=[5, 5, 10, 10],
                area=100,
                iscrowd=0,
                segmentation=[[5, 5, 15, 5, 15, 15, 5, 15]],
            )
            for i in range(images)
        ],
        categories=[dict(id=i, name=n) for i, n in zip(ids, names, strict=False)],
    )


def write_coco(folder, split='train', content=None, images=True):
    content = content or coco_content()
    (folder / 'annotations').mkdir(parents=True, exist_ok=True)
    (folder / f'annotations/instances_{split}.json').write_text(json.dumps(content))
    for image in content['images'] if images else ():
        write_image(folder / split / image['file_name'])
    return folder


def write_ade(folder, split='training', labels=(0, 1, 2), classes=None, size=(64, 48), images=2):
    for i in range(images):
        write_image(folder / 'images' / split / f'{i}.jpg')
        path = folder / 'annotations' / split / f'{i}.png'
        path.parent.mkdir(parents=True, exist_ok=True)
        values = np.resize(np.array(labels, np.uint8), (size[1], size[0]))
        Image.fromarray(values).save(path)
    if classes:
        (folder / 'classes.txt').write_text('\n'.join(classes))
    return folder


def fit(config, folder, tmp_path, **kwargs):
    cfg = Config.fromfile(config)
    return cfg, fit_to_folder(cfg, folder, tmp_path / 'work', **kwargs)


def problems(findings):
    return {kind for f in findings for kind in f.problems}


def test_classes_follow_everywhere(tmp_path):
    folder = write_coco(write_coco(tmp_path / 'mine'), 'val')
    cfg, _ = fit(DETECTION, folder, tmp_path)
    text = cfg.pretty_text
    assert 'num_classes=80' not in text
    assert not [d for d in datasets(cfg) if 'coco' in str(d.data_root) + d.ann_file]
    for loader in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        assert cfg[loader].dataset.metainfo.classes == ('cat', 'dog')
    assert {h.num_classes for h in cfg.model.roi_head.bbox_head} == {2}
    assert cfg.model.roi_head.mask_head.num_classes == 2
    assert cfg.val_evaluator.ann_file == cfg.val_dataloader.dataset.ann_file


def test_the_fitted_config_reads_the_right_objects(tmp_path):
    from mmdet.registry import DATASETS
    from mmengine.registry import init_default_scope

    folder = write_coco(write_coco(tmp_path / 'mine'), 'val')
    cfg, _ = fit(DETECTION, folder, tmp_path)
    init_default_scope('mmdet')
    dataset = DATASETS.build(cfg.train_dataloader.dataset)
    labels = [dataset.get_data_info(i)['instances'][0]['bbox_label'] for i in range(len(dataset))]
    assert labels == [0, 1]


@pytest.mark.parametrize('train, val', [('train2017', 'val2017'), ('train', 'valid')])
def test_usual_names_are_found(train, val, tmp_path):
    folder = write_coco(write_coco(tmp_path, train), val)
    layout = find_coco(folder)
    assert (layout.train.images.name, layout.val.images.name) == (train, val)


def test_without_validation_a_seeded_share_is_held_out(tmp_path):
    folder = write_coco(tmp_path / 'mine', content=coco_content(images=10))
    splits = []
    for _ in range(2):
        cfg, _ = fit(DETECTION, folder, tmp_path)
        splits.append(
            [
                json.loads(open(cfg[f'{s}_dataloader'].dataset.ann_file).read())['images']
                for s in ('train', 'val')
            ]
        )
    assert splits[0] == splits[1]
    train, val = ({i['id'] for i in part} for part in splits[0])
    assert len(val) == 2 and not train & val and len(train | val) == 10


def damaged(folder):
    """A folder with one of everything that is left out or counted."""
    content = coco_content(images=9)
    a = content['annotations']
    a[0]['bbox'] = [5, 5, 0, 10]
    a[1]['bbox'] = [500, 5, 10, 10]
    a[2]['bbox'] = [59, 5, 30, 10]
    a[3]['segmentation'] = [[1, 1, 2, 2]]
    a[4]['category_id'] = 3
    a[5]['image_id'] = 999
    content['categories'].append(dict(id=91, name='never'))
    write_coco(folder, content=content)
    write_image(folder / 'train/6.jpg', mode='L')
    write_image(folder / 'train/7.jpg', mode='CMYK')
    (folder / 'train/8.jpg').write_bytes(b'broken')
    exif = Image.Exif()
    exif[0x0112] = 6
    write_image(folder / 'train/2.jpg', exif=exif)
    content['images'].append(dict(id=50, file_name='gone.jpg', width=1, height=1))
    (folder / 'annotations/instances_train.json').write_text(json.dumps(content))
    return folder


def test_what_can_be_handled_is_counted_and_left_out(tmp_path):
    folder = damaged(tmp_path)
    split = CocoSplit(folder / 'annotations/instances_train.json', folder / 'train')
    findings, clean = inspect_coco('training', split)
    assert set(findings.problems) == {
        'box of no size',
        'box outside its image',
        'box beyond the edge',
        'polygon of fewer than three points',
        'object without an outline',
        'annotation of an unknown category',
        'annotation of an unknown image',
        'category without instances',
        'grey image',
        'CMYK image',
        'unreadable image',
        'missing image',
        'EXIF rotation',
        'image without annotations',
    }
    assert {i['file_name'] for i in clean['images']} == {f'{i}.jpg' for i in range(8)}
    names = {i['id']: i['file_name'] for i in clean['images']}
    assert [i['id'] for i in clean['images']] == list(range(1, 9))
    assert [x['id'] for x in clean['annotations']] == [1, 2, 3, 4]
    of = [names[x['image_id']] for x in clean['annotations']]
    assert of == ['2.jpg', '3.jpg', '6.jpg', '7.jpg']
    assert clean['annotations'][0]['bbox'] == [59, 5, 5, 10]
    assert len(clean['annotations'][1]['segmentation'][0]) == 8
    assert not findings.fatal


def rotated(folder, stated):
    """Two photographs of 64×48 px as stored that EXIF turns by a quarter."""
    content = coco_content()
    exif = Image.Exif()
    exif[0x0112] = 6
    write_coco(folder, content=content, images=False)
    for image, (width, height) in zip(content['images'], stated, strict=True):
        image.update(width=width, height=height)
        write_image(folder / 'train' / image['file_name'], exif=exif)
    (folder / 'annotations/instances_train.json').write_text(json.dumps(content))
    return folder


@pytest.mark.parametrize('size, flag', [((64, 48), 'color_ignore_orientation'), ((48, 64), None)])
def test_rotated_photographs_are_read_as_they_were_annotated(size, flag, tmp_path):
    from mmcv import imread

    folder = rotated(tmp_path / 'mine', [size, size])
    cfg, _ = fit(DETECTION, folder, tmp_path)
    loading = cfg.train_dataloader.dataset.pipeline[0]
    assert loading.get('color_type') == flag
    pixels = imread(folder / 'train/0.jpg', flag=flag or 'color')
    assert pixels.shape[1::-1] == size


def test_photographs_annotated_both_ways_stop(tmp_path):
    folder = rotated(tmp_path / 'mine', [(64, 48), (48, 64)])
    with pytest.raises(UserError, match='1 images with an EXIF rotation are annotated as stored'):
        fit(DETECTION, folder, tmp_path)


def test_train_and_validation_annotated_two_ways_stop(tmp_path):
    folder = rotated(tmp_path / 'mine', [(64, 48)] * 2)
    other = rotated(tmp_path / 'other', [(48, 64)] * 2)
    shutil.copytree(other / 'train', folder / 'val')
    annotations = 'annotations/instances_train.json'
    shutil.copy(other / annotations, folder / 'annotations/instances_val.json')
    message = 'annotated as stored in the first, as shown in the second'
    with pytest.raises(UserError, match=message):
        fit(DETECTION, folder, tmp_path)
    assert message in check_folder(folder).fatal[0]


def test_a_turn_that_keeps_the_sides_tells_nothing(tmp_path):
    folder = rotated(tmp_path / 'mine', [(64, 48)] * 2)
    exif = Image.Exif()
    exif[0x0112] = 3
    write_image(folder / 'train/1.jpg', exif=exif)
    cfg, (findings,) = fit(DETECTION, folder, tmp_path)
    assert findings.rotated == {'as stored': 1}
    loading = cfg.train_dataloader.dataset.pipeline[0]
    assert loading.color_type == 'color_ignore_orientation'


@pytest.mark.parametrize('size', [(64, 48), (48, 64)])
def test_the_check_draws_as_training_reads(size, tmp_path):
    sample = check_folder(rotated(tmp_path, [size] * 2)).samples[0]
    width, height = sample.draw().size
    assert (width > height) == (size[0] > size[1])


@pytest.mark.parametrize('mode, kind', [('I;16', '16-bit image'), ('P', 'palette image')])
def test_other_pixels_are_read_as_colour(mode, kind, tmp_path):
    from mmcv import imread

    content = coco_content()
    content['images'][0]['file_name'] = '0.png'
    write_coco(tmp_path, content=content, images=False)
    write_image(tmp_path / 'train/1.jpg')
    write_image(tmp_path / 'train/0.png', mode='P' if mode == 'P' else 'L')
    if mode == 'I;16':
        Image.fromarray(np.full((48, 64), 40000, np.uint16)).save(tmp_path / 'train/0.png')
    _, findings = fit(DETECTION, tmp_path, tmp_path)
    assert kind in problems(findings)
    assert imread(tmp_path / 'train/0.png').shape == (48, 64, 3)


def test_segmentation_classes_by_name_by_number_and_with_zero_ignored(tmp_path):
    cases = [
        (None, None, ('class 0', 'class 1', 'class 2'), False),
        (None, True, ('class 1', 'class 2'), True),
        (('a', 'b', 'c'), None, ('a', 'b', 'c'), False),
        (('a', 'b'), None, ('a', 'b'), True),  # as many as the highest label: 0 is unlabelled
    ]
    for i, (names, ignore, classes, zero) in enumerate(cases):
        folder = write_ade(write_ade(tmp_path / str(i), classes=names), 'validation')
        cfg, _ = fit(SEGMENTATION, folder, tmp_path, ignore_zero=ignore)
        dataset = cfg.train_dataloader.dataset
        assert tuple(dataset.metainfo.classes) == classes and dataset.reduce_zero_label == zero
        assert cfg.model.decode_head.num_classes == len(classes)
        flags = [t.reduce_zero_label for t in dataset.pipeline if t.type == 'LoadAnnotations']
        assert flags == [zero]


def break_json(folder):
    write_coco(folder)
    (folder / 'annotations/instances_train.json').write_text('{"images": [')


def two_unnamed(folder):
    write_coco(folder)
    annotations = folder / 'annotations'
    shutil.move(annotations / 'instances_train.json', annotations / 'a.json')
    shutil.copy(annotations / 'a.json', annotations / 'b.json')


def all_unreadable(folder):
    write_coco(folder)
    for path in (folder / 'train').iterdir():
        path.write_bytes(b'')


def no_box(folder):
    content = coco_content()
    for annotation in content['annotations']:
        annotation['bbox'] = [1, 1, 0, 0]
    write_coco(folder, content=content)


def other_categories(folder):
    write_coco(write_coco(folder), 'val', coco_content(names=('cat', 'horse')))


def coloured_map(folder):
    write_ade(folder)
    write_image(folder / 'annotations/training/0.png')


def mixed_suffixes(folder):
    write_ade(folder, images=8)
    image = folder / 'images/training/0.jpg'
    Image.open(image).save(image.with_suffix('.png'))
    image.unlink()


def no_maps(folder):
    write_ade(folder)
    for path in (folder / 'annotations/training').iterdir():
        path.rename(path.with_name(f'x{path.name}'))


def changed(**changes):
    """Makes a folder whose annotation file has other entries: ``images=change`` of its list."""

    def make(folder):
        content = coco_content()
        for key, change in changes.items():
            change(content[key])
        write_coco(folder, images=False)
        for i in range(2):
            write_image(folder / f'train/{i}.jpg')
        (folder / 'annotations/instances_train.json').write_text(json.dumps(content))

    return make


def wide_labels(folder):
    write_ade(folder)
    path = folder / 'annotations/training/0.png'
    Image.fromarray(np.full((48, 64), 300, np.uint16)).save(path)


BROKEN = [
    (DETECTION, lambda f: write_coco(f, content=coco_content(images=1)), 'at least 2, to hold one'),
    (DETECTION, changed(images=lambda x: x[1].update(id=0)), 'gives the image id 0 twice'),
    (DETECTION, changed(categories=lambda x: x[1].update(id=7)), 'gives the category id 7 twice'),
    (
        DETECTION,
        changed(images=lambda x: x[1].pop('file_name')),
        r'file_name of images\[1\] is None',
    ),
    (DETECTION, changed(images=lambda x: x[0].pop('id')), r'id of images\[0\] is None'),
    (DETECTION, changed(categories=lambda x: x[0].pop('name')), r'name of categories\[0\] is None'),
    (
        DETECTION,
        changed(annotations=lambda x: x.append(3)),
        r'annotations\[2\] is 3, not an object',
    ),
    (SEGMENTATION, lambda f: write_ade(f, images=1), 'at least 2, to hold one'),
    (SEGMENTATION, wide_labels, 'holds labels from 300 to 300; a label is a whole number'),
    (DETECTION, lambda f: f.mkdir(), 'has no annotation file in COCO format'),
    (DETECTION, break_json, 'instances_train.json is not in COCO format'),
    (
        DETECTION,
        lambda f: write_coco(f, content={**coco_content(), 'categories': []}),
        'has no categories; add at least one',
    ),
    (
        DETECTION,
        lambda f: write_coco(f, content=coco_content(names=('cat', 'cat'))),
        'names a category twice',
    ),
    (DETECTION, two_unnamed, 'which one is for training cannot be told'),
    (DETECTION, lambda f: write_coco(f, images=False), r'none of the first images .*0\.jpg'),
    (DETECTION, all_unreadable, 'no image of .* can be read'),
    (DETECTION, no_box, 'no annotation of .* can be used'),
    (DETECTION, other_categories, r'different categories \(dog, horse\)'),
    (
        DETECTION,
        lambda f: write_coco(f, content={**coco_content(), 'images': []}),
        'names no images',
    ),
    (SEGMENTATION, lambda f: f.mkdir(), 'has no images/training and annotations/training'),
    (
        SEGMENTATION,
        lambda f: write_ade(f, labels=(0, 9), classes=('a', 'b')),
        r'hold the labels \[9\], but classes.txt names 2',
    ),
    (SEGMENTATION, coloured_map, 'has colours; a label map has one number'),
    (SEGMENTATION, mixed_suffixes, r'images in .* end in \.jpg, \.png'),
    (SEGMENTATION, no_maps, 'no image of .* has a usable label map'),
    (SEGMENTATION, lambda f: write_ade(f, size=(10, 10)), 'no image of .* has a usable label map'),
]


@pytest.mark.parametrize('config, make, message', BROKEN)
def test_broken_folders_say_how_to_mend_them(config, make, message, tmp_path):
    make(tmp_path / 'mine')
    with pytest.raises(UserError, match=message) as caught:
        fit(config, tmp_path / 'mine', tmp_path)
    assert '\n' not in str(caught.value)


def test_the_check_tells_what_training_would_do(tmp_path):
    check = check_folder(damaged(tmp_path / 'a'))
    assert not check.fatal and check.layout == 'COCO'
    assert check.class_counts()['cat'] == [2] and check.class_counts()['never'] == [0]
    assert check.samples[0].problems  # the worst first
    all_unreadable(tmp_path / 'b')
    assert check_folder(tmp_path / 'b').fatal


def written(cfg, loader='train'):
    return json.loads(open(cfg[f'{loader}_dataloader'].dataset.ann_file).read())


def read_labels_of(cfg, loader):
    """File name -> class name of its first object, as mmdet reads it."""
    from mmdet.registry import DATASETS
    from mmengine.registry import init_default_scope

    init_default_scope('mmdet')
    dataset = DATASETS.build(cfg[f'{loader}_dataloader'].dataset)
    found = {}
    for i in range(len(dataset)):
        info = dataset.get_data_info(i)
        label = info['instances'][0]['bbox_label']
        found[info['img_path'].rsplit('/', 1)[1]] = dataset.metainfo['classes'][label]
    return found


@pytest.mark.parametrize('ids', [(90, 7), (7, 90)])
def test_names_follow_ids_in_any_order_and_in_each_file(ids, tmp_path):
    folder = write_coco(tmp_path / 'mine', content=coco_content(ids=ids))
    write_coco(folder, 'val', coco_content(ids=ids[::-1]))
    cfg, _ = fit(DETECTION, folder, tmp_path)
    for loader in ('train', 'val'):
        assert read_labels_of(cfg, loader) == {'0.jpg': 'cat', '1.jpg': 'dog'}
        categories = written(cfg, loader)['categories']
        assert tuple(c['name'] for c in categories) == category_names(categories)
    assert check_folder(folder).class_counts() == {'cat': [1, 1], 'dog': [1, 1]}


def inspect(folder, content):
    write_coco(folder, content=content)
    split = CocoSplit(folder / 'annotations/instances_train.json', folder / 'train')
    return inspect_coco('training', split)


def test_every_object_gets_an_outline(tmp_path):
    wrong_size = dict(counts=[0, 100], size=[10, 10])
    outlines = [None, {}, [], [5, 5, 15, 5, 15, 15], [[5, 5, '15', 5, 15, 15]], wrong_size]
    content = coco_content(images=len(outlines) + 1)
    for annotation, outline in zip(content['annotations'], outlines, strict=False):
        annotation['segmentation'] = outline
    del content['annotations'][-1]['segmentation']
    findings, clean = inspect(tmp_path, content)
    box = [[5, 5, 15, 5, 15, 15, 5, 15]]
    assert [a['segmentation'] for a in clean['annotations']] == [box] * 7
    assert len(findings.problems['object without an outline']) == 7


def test_areas_boxes_and_ids_that_cannot_be_used(tmp_path):
    content = coco_content(images=6)
    annotations = content['annotations']
    boxes = [None, [None, 1, 2, 3], ['1', 1, 2, 3], [1, 1, float('nan'), 3]]
    for annotation, box in zip(annotations, boxes, strict=False):
        annotation['bbox'] = box
    annotations[4].update(area=None, segmentation=[[5, 5, 15, 5, 15, 15]])
    annotations[5].update(area=0, iscrowd=None, segmentation=None)
    annotations.append({**annotations[5], 'category_id': [7]})
    annotations.append({**annotations[5], 'image_id': [0]})
    findings, clean = inspect(tmp_path, content)
    assert len(findings.problems['box that is not four numbers']) == 4
    assert len(findings.problems['area that is not a positive number']) == 2
    assert [(a['id'], a['area'], a['iscrowd']) for a in clean['annotations']] == [
        (1, 50, 0),
        (2, 100, 0),
    ]


def test_images_are_numbered_and_read_once(tmp_path):
    content = coco_content(images=3)
    for image, annotation in zip(content['images'], content['annotations'], strict=True):
        image['id'] = annotation['image_id'] = f'photo {image["id"]}'
    content['images'][2]['file_name'] = '0.jpg'
    findings, clean = inspect(tmp_path, content)
    assert findings.problems['image listed twice'] == ['0.jpg']
    assert [(i['id'], i['file_name']) for i in clean['images']] == [(1, '0.jpg'), (2, '1.jpg')]
    assert [a['image_id'] for a in clean['annotations']] == [1, 2, 1]


def test_truncated_photographs_are_left_out(tmp_path):
    for i, (config, make, name) in enumerate(
        [
            (DETECTION, lambda f: write_coco(f, content=coco_content(images=4)), 'train'),
            (SEGMENTATION, lambda f: write_ade(f, images=4), 'images/training'),
        ]
    ):
        folder = make(tmp_path / str(i))
        photograph = folder / name / '0.jpg'
        photograph.write_bytes(photograph.read_bytes()[:-1500])
        _, (findings,) = fit(config, folder, tmp_path)
        assert len(findings.problems['unreadable image']) == 1 and len(findings.sizes) == 3


def test_files_are_told_by_whole_words(tmp_path):
    cases = [
        (('trainval', 'test'), ('trainval', None)),
        (('train_val', 'test'), ('train_val', None)),
        (('train', 'trainval', 'val'), ('train', 'val')),
        (('training_photos_val', 'training_photos_train'), None),
        (('interval', 'train'), ('train', None)),
        (('Train2014', 'Val2014'), ('Train2014', 'Val2014')),
    ]
    for i, (names, wanted) in enumerate(cases):
        for name in names:
            write_coco(tmp_path / str(i), name)
        layout = find_coco(tmp_path / str(i))
        found = tuple(
            s and s.annotations.stem.removeprefix('instances_') for s in (layout.train, layout.val)
        )
        assert found == (wanted or names[::-1])


def test_a_work_dir_inside_the_folder_is_no_data(tmp_path):
    folder = write_coco(tmp_path, 'a', coco_content(images=10))
    for _ in range(2):
        cfg = Config.fromfile(DETECTION)
        fit_to_folder(cfg, folder, folder / 'work')
        assert len(written(cfg)['images']) == 8
    assert [f.name for f in check_folder(folder).findings] == ['training']


def test_label_maps_that_teach_nothing_are_named(tmp_path):
    _, found = fit(SEGMENTATION, write_ade(tmp_path / 'a', labels=(0, 255)), tmp_path)
    assert 'label maps of 0 and 255 only' in problems(found)
    _, found = fit(SEGMENTATION, write_ade(tmp_path / 'b', labels=(0, 2, 255)), tmp_path)
    assert problems(found) == {'category without instances'}
    assert found[0].problems['category without instances'] == ['class 1']
    folder = write_ade(tmp_path / 'c', labels=(0,))
    with pytest.raises(UserError, match='hold no class.*leave out --ignore-zero'):
        fit(SEGMENTATION, folder, tmp_path, ignore_zero=True)
    assert check_folder(folder, ignore_zero=True).fatal


def test_the_check_stops_where_training_would(tmp_path):
    write_coco(tmp_path / 'a', content=coco_content(images=1))
    write_ade(tmp_path / 'b', images=1)
    other_categories(tmp_path / 'c')
    for name in 'abc':
        assert len(check_folder(tmp_path / name).fatal) == 1


def test_other_json_beside_label_maps(tmp_path):
    folder = write_ade(tmp_path)
    (folder / 'settings.json').write_text('{}')
    check = check_folder(folder)
    assert check.layout == 'ADE' and not check.fatal


def test_epochs_are_shared_by_all_processes(monkeypatch):
    monkeypatch.setenv('WORLD_SIZE', '4')
    cfg = Config.fromfile(DETECTION)
    assert fit_schedule(cfg, images=100, epochs=12, iters=None) == 156  # 13 batches of 4 × 2


def test_schedules_of_another_length():
    cfg = Config.fromfile(DETECTION)
    assert fit_schedule(cfg, images=100, epochs=12, iters=None) == 600
    assert cfg.train_cfg.max_epochs == 12
    warm_up, steps = cfg.param_scheduler
    assert warm_up.end == 60 and steps.milestones == [9, 11] and steps.end == 12
    cfg = Config.fromfile(SEGMENTATION)
    assert fit_schedule(cfg, images=100, epochs=None, iters=200) == 200
    warm_up, poly = cfg.param_scheduler
    assert (warm_up.end, poly.begin, poly.end) == (20, 20, 200)
    assert cfg.train_cfg.val_interval == cfg.default_hooks.checkpoint.interval == 200
    assert scaled_scheduler(dict(type='CosineAnnealingLR', T_max=10, end=10), 0.5, 1)['T_max'] == 5


def test_a_warm_up_always_ends_at_the_full_learning_rate():
    """A LinearLR of mmengine never leaves its first factor where it ends at iteration 1."""
    import torch
    from mmengine.optim import build_optim_wrapper
    from mmengine.registry import PARAM_SCHEDULERS

    cfg = Config.fromfile(ROOT / 'configs/detection/cascade_fastervit_shapes.py')
    fit_schedule(cfg, images=4, epochs=2, iters=None)
    wrapper = build_optim_wrapper(torch.nn.Linear(1, 1), dict(optimizer=dict(type='SGD', lr=1.0)))
    warm_up = next(s for s in cfg.param_scheduler if s['type'] == 'LinearLR')
    scheduler = PARAM_SCHEDULERS.build(dict(warm_up, optimizer=wrapper))
    scheduler.step()
    assert wrapper.get_lr()['lr'] == [pytest.approx(1.0)]


def test_what_is_held_out_is_said():
    findings = Findings('training')
    findings.note_held_out(2)
    assert findings.lines() == ['training: 2 of them held out: there is no validation split']
