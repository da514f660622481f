"""What is said of the problems that were found."""

import pytest

from fastervit_mm.data.findings import REMEDIES, Findings


def test_one_line_for_each_kind_of_problem():
    findings = Findings('training')
    findings.add('missing image', 'a.png')
    findings.add('box of no size', 'b.png, annotation 3: [1, 2, 0, 4]')
    findings.add('missing image', 'c.png')
    assert findings.problems == {
        'missing image': ['a.png', 'c.png'],
        'box of no size': ['b.png, annotation 3: [1, 2, 0, 4]'],
    }
    assert findings.lines() == [
        'training: 2 × missing image (left out), such as a.png',
        'training: 1 × box of no size (left out), such as b.png, annotation 3: [1, 2, 0, 4]',
    ]


def test_what_is_held_out_is_said_first():
    findings = Findings('training')
    findings.add('grey image', 'a.png')
    findings.note_held_out(2)
    assert findings.lines() == [
        'training: 2 of them held out: there is no validation split',
        'training: 1 × grey image (read as colour), such as a.png',
    ]


def test_kinds_without_a_remedy_are_defects():
    with pytest.raises(AssertionError, match='something'):
        Findings('training').add('something', 'a.png')


def test_splits_share_nothing():
    first, second = Findings('training'), Findings('validation')
    first.add('grey image', 'a.png')
    first.note_held_out(1)
    first.sizes.append((1, 1))
    first.fatal.append('x')
    first.instances['cat'] += 1
    first.rotated['as stored'] += 1
    assert second == Findings('validation')


LEFT_OUT = """
file name that leads out of the folder
missing image
unreadable image
box that is not four numbers
box of no size
box outside its image
polygon of fewer than three points
polygon far outside its image
run-length mask that does not fit its image
annotation marked ignore
image more than 100 times as long as wide
annotation of an unknown image
annotation of an unknown category
image without label map
label map without image
label map of another size
"""
STOPS = 'label beyond the classes, label that is not 0 to 255, label map in colours'


def test_what_is_left_out_and_what_stops():
    """The tests of labels and annotations show that it is so."""
    assert {k for k, v in REMEDIES.items() if v == 'left out'} == set(LEFT_OUT.strip().splitlines())
    assert {k for k, v in REMEDIES.items() if v == 'stops'} == set(STOPS.split(', '))
    assert {k: v for k, v in REMEDIES.items() if v not in ('left out', 'stops')} == {
        'image too small to train on': 'kept out of training by filter_cfg.min_size of the config',
        'file that is not read as an image': 'left out: convert it to PNG or JPEG, or take it away',
        'file name that a list cannot hold': (
            'left out: no blank at its ends, no line break; rename it'
        ),
        'image one pixel wide or high': ('left out: mmseg reads its label map as a row of numbers'),
        'image of the same name as another': 'left out: give each a name of its own',
        'image without annotations': 'kept out of training by the config unless it asks for them',
        'size differs from the annotations': "the image's own size is used",
        'grey image': 'read as colour',
        '16-bit image': 'read as 8 bit colour',
        'palette image': 'read as colour',
        'CMYK image': 'read as colour',
        'alpha image': 'read without transparency',
        'image listed twice': 'read once, with the annotations of all its entries',
        'EXIF rotation': 'read as the annotations were made; turned where they do not tell',
        'box beyond the edge': 'cut at the edge',
        'object without an outline': 'its box is taken as its outline',
        'area that is not a positive number': 'computed from the outline or the box',
        'category without instances': 'kept; the network cannot learn it',
        'label maps of 0 and 255 only': '255 is ignored: write 1 for the class',
    }
