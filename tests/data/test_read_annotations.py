"""Annotation files that are none: what is said of them, entry by entry."""

import json

import pytest

from fastervit_mm.data.layouts import read_annotations
from fastervit_mm.errors import ArgumentError
from tests.data.folders import coco_content


def refused(tmp_path, text) -> str:
    path = tmp_path / 'a.json'
    path.write_text(text if isinstance(text, str) else json.dumps(text))
    with pytest.raises(ArgumentError) as caught:
        read_annotations(path)
    message = str(caught.value)
    assert '\n' not in message and message.startswith(str(path))
    return message.removeprefix(str(path))


def test_good_files_are_read_as_they_are(tmp_path):
    content = coco_content() | dict(info={})
    content['images'][0]['id'] = 'photo 1'
    content['images'][1]['id'] = content['categories'][0]['id'] = 2.5
    content['annotations'].append({})  # looked at later, with the images
    (tmp_path / 'a.json').write_text(json.dumps(content))
    assert read_annotations(tmp_path / 'a.json') == content
    empty = dict(images=[], annotations=[], categories=[])
    (tmp_path / 'a.json').write_text(json.dumps(empty))
    assert read_annotations(tmp_path / 'a.json') == empty


def test_what_is_no_annotation_file(tmp_path):
    assert refused(tmp_path, '{"images": [').startswith(' is not a COCO annotation file (Expecting')
    assert refused(tmp_path, [1]).startswith(" is not a COCO annotation file ('list' object has")
    assert refused(tmp_path, {}) == (
        ' is not a COCO annotation file: it lacks images, annotations, categories'
    )
    for key in ('images', 'annotations', 'categories'):
        content = coco_content()
        content[key] = dict(a=1)
        wanted = f' is not a COCO annotation file: it lacks {key}'
        assert refused(tmp_path, content) == wanted
        del content[key]
        assert refused(tmp_path, content) == wanted


WRONG = [  # entry, index, key, value, what it must be
    ('images', 1, 'id', None, 'a number'),
    ('images', 0, 'id', [1], 'a number'),
    ('images', 1, 'file_name', None, 'text'),
    ('images', 0, 'file_name', 3, 'text'),
    ('categories', 1, 'id', '7', 'a number'),
    ('categories', 0, 'id', None, 'a number'),
    ('categories', 1, 'name', None, 'text'),
    ('categories', 0, 'name', 5, 'text'),
]


@pytest.mark.parametrize('key, index, name, value, kind', WRONG)
def test_entries_that_lack_something(key, index, name, value, kind, tmp_path):
    content = coco_content()
    content[key][index][name] = value
    said = f': {name} of {key}[{index}] is {value!r}; it must be {kind}: '
    assert refused(tmp_path, content).startswith(said)
    if value is None:
        del content[key][index][name]
        assert refused(tmp_path, content).startswith(said)


@pytest.mark.parametrize('key', ['images', 'annotations', 'categories'])
def test_entries_that_are_no_objects(key, tmp_path):
    content = coco_content()
    content[key][1] = 3
    assert refused(tmp_path, content).startswith(f': {key}[1] is 3, not an object; ')


def test_long_values_are_cut(tmp_path):
    content = coco_content()
    content['images'][0]['file_name'] = list(range(200))
    assert f'is {str(list(range(200)))[:80]}; it must' in refused(tmp_path, content)
    content['images'][0] = list(range(200))
    assert f'is {str(list(range(200)))[:80]}, not' in refused(tmp_path, content)
