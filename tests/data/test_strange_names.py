"""Names from files of strangers: they lead nowhere, become nothing else, and break no page."""

import json

import pytest
from PIL import Image

from fastervit_mm.data.folder import OBJECTS, read_folder
from fastervit_mm.data.layouts import leads_out
from fastervit_mm.errors import ArgumentError
from fastervit_mm.tasks.prepared_data import check_known
from tests.helpers import ROOT, call_tool
from tests.tasks.folders import coco_content, write_coco2017

SHAPES = ROOT / 'configs/detection/cascade_fastervit_shapes.py'

SCRIPT = '<script>alert(1)</script>'


@pytest.mark.parametrize(
    'name, out',
    [
        ('a.jpg', False),
        ('a/b.jpg', False),
        ('a..b/c...jpg', False),
        ('../a.jpg', True),
        ('a/../../b.jpg', True),
        ('a\\..\\b.jpg', True),
        ('/etc/passwd', True),
        ('\\\\server\\a.jpg', True),
        ('C:\\a.jpg', True),
        ('..', True),
    ],
)
def test_names_that_lead_out(name, out):
    assert leads_out(name) == out


def folder_of(root, classes, file_names=('0.png', '1.png', '2.png'), of_val=None):
    """A folder in COCO's format; an image for each name that stays inside."""
    for split, names in (('train', classes), ('val', of_val or classes)):
        (root / split).mkdir(parents=True)
        images, annotations = [], []
        for i, file_name in enumerate(file_names):
            if not leads_out(file_name):
                Image.new('RGB', (64, 64)).save(root / split / file_name)
            images.append(dict(id=i, file_name=file_name, width=64, height=64))
            outline = [[4, 4, 40, 4, 40, 40]]
            box = dict(bbox=[4, 4, 36, 36], area=648, iscrowd=0, segmentation=outline)
            annotations.append(dict(id=i, image_id=i, category_id=i % len(names) + 1, **box))
        categories = [dict(id=i, name=name) for i, name in enumerate(names, 1)]
        content = dict(images=images, annotations=annotations, categories=categories)
        (root / f'{split}.json').write_text(json.dumps(content))
    return root


def test_images_outside_are_left_out_by_name(tmp_path):
    Image.new('RGB', (64, 64)).save(tmp_path / 'secret.png')
    names = ('../../secret.png', str(tmp_path / 'secret.png'), 'a.png', 'b.png')
    reading = read_folder(folder_of(tmp_path / 'data', ('dog',), names), OBJECTS)
    for findings in reading.findings:
        assert findings.problems['file name that leads out of the folder'] == [
            n[:80] for n in names[:2]
        ]
        assert len(findings.sizes) == 2
    assert all(sample.path.name in 'a.png b.png' for sample in reading.samples)


@pytest.mark.parametrize('name', ['../0.jpg', '/0.jpg', 'x/../0.jpg', '..\\0.jpg'])
def test_a_folder_that_fits_but_leads_out_is_not_used_as_it_is(name, tmp_path):
    from fastervit_mm.tasks import task_of
    from tests.configs.resolved import read

    content = coco_content(3)
    content['images'][2]['file_name'] = name
    folder = write_coco2017(tmp_path / 'fits', coco_content(3), coco_content(2))
    path = folder / 'annotations/instances_train2017.json'
    cfg = read('detection/cascade_fastervit_shapes')
    misfit = task_of(cfg).misfit
    assert misfit(cfg, folder, ('train_dataloader',), None) is None
    for text in (json.dumps(content), json.dumps(content).replace('..', '\\u002e.')):
        path.write_text(text)
        assert misfit(cfg, folder, ('train_dataloader',), None) is not None
    path.write_text(json.dumps(content))
    reason = misfit(cfg, folder, ('train_dataloader',), None)
    said = 'names files outside of the folder, or writes names in disguise'
    assert reason == f'annotations/instances_train2017.json {said}'


def test_class_names_are_names(tmp_path):
    """Tags, formulas and percent signs in the page, the picture and the run's config."""
    classes = (SCRIPT, '$5_$', r'$\frac$', '%s', 'a & b', "it's")
    folder = folder_of(tmp_path / 'data', classes, [f'{i}.png' for i in range(6)])
    call_tool('check_data.py', folder, '--out', tmp_path / 'page')
    text = (tmp_path / 'page/data.html').read_text()
    assert '<script' not in text and 'Training would start.' in text


def test_classes_that_differ_between_splits_are_escaped_too(tmp_path):
    folder = folder_of(tmp_path / 'data', (SCRIPT, 'b'), of_val=(SCRIPT + '2', 'b'))
    output = call_tool('check_data.py', folder, '--out', tmp_path / 'page', expect=1)
    text = (tmp_path / 'page/data.html').read_text()
    assert 'have different categories' in output and '&lt;script&gt;' in text
    assert '<script' not in text


def test_a_class_name_that_a_config_would_replace_stops(tmp_path):
    reading = read_folder(folder_of(tmp_path / 'data', ('dog', '{{$HOME:x}}')), OBJECTS)
    with pytest.raises(
        ArgumentError, match=r"^the class name '\{\{\$HOME:x\}\}' holds \{\{, which"
    ):
        reading.stop_on_fatal()


@pytest.mark.parametrize('inside', [True, False])
def test_a_folder_whose_name_is_an_expression_stops(inside, tmp_path, monkeypatch):
    """Of images, or the whole one: a config that names it would run it when it is read again."""
    monkeypatch.chdir(tmp_path)
    code = r"""{{$X:\'+str(__import__("os").system("touch${IFS}ran"))+"|Z}}"#"""
    root = folder_of(tmp_path / ('data' if inside else code), ('circle', 'square', 'triangle'))
    if inside:
        (root / code).mkdir()
        for split in ('train', 'val'):
            for image in (root / split).iterdir():
                image.rename(root / code / image.name)
            (root / split).rmdir()
    (reason,) = read_folder(root, OBJECTS).fatal
    assert 'holds {{, which config files replace' in reason and 'system' in reason
    options = ('--data', root, '--work-dir', tmp_path / 'run')
    output = call_tool('train.py', SHAPES, *options, expect=1)
    assert 'error: ' in output and 'holds' in output and 'Traceback' not in output
    assert not list(tmp_path.rglob('ran')) and not list((tmp_path / 'run').glob('*.py'))


def test_a_setting_that_a_config_would_replace_stops(shapes, tmp_path):
    options = ('--data', shapes / 'coco', '--work-dir', tmp_path / '{{ fileDirname }}')
    output = call_tool('train.py', SHAPES, *options, expect=1)
    assert 'work_dir holds' in output and 'fileDirname' in output


def test_errors_that_name_classes_are_one_line(tmp_path):
    """Names of several lines, with colours for a terminal."""
    names, others = ('dog\n\x1b[31m', 'b'), ('cat\nmouse', 'b')
    reading = read_folder(folder_of(tmp_path / 'data', names, of_val=others), OBJECTS)
    (reason,) = reading.fatal
    assert r'(cat\nmouse, dog\n\x1b[31m)' in reason and len(reason.splitlines()) == 1
    assert r'classes: dog\n\x1b[31m, b, cat\nmouse' in reading.lines()[-1]
    with pytest.raises(
        ArgumentError, match=r'does not know: dog\\n\\x1b\[31m; its 1 classes'
    ) as caught:
        check_known(tmp_path, names, ('b',))
    assert len(str(caught.value).splitlines()) == 1
