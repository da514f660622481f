"""tools/check_data.py: what it prints, what it writes, and how it ends."""

import runpy
import sys

import pytest

from tests.helpers import ROOT, call_tool
from tests.report.folders import write_ade, write_coco
from tests.report.pages import pictures, sections


@pytest.fixture(scope='module')
def animals(tmp_path_factory):
    """Three images of cats and dogs, one of them without an object."""
    images = {f'{i}.png': (40, 40) for i in range(3)}
    objects = [('0.png', 5, (2, 2, 9, 9)), ('1.png', 9, (2, 2, 9, 9)), ('1.png', 9, (1, 1, 9, 9))]
    folder = tmp_path_factory.mktemp('animals')
    return write_coco(folder, 'train', images, objects, {5: 'cat', 9: 'dog'})


def printed(output) -> list[str]:
    """The lines of the tables, without the progress bars."""
    return [line for line in output.splitlines() if line and 'images/s' not in line]


def test_the_tables_and_the_page_of_a_folder(animals, tmp_path):
    out = tmp_path / 'new' / 'folder'
    output = call_tool('check_data.py', animals, '--out', out)
    assert printed(output) == [
        f'{animals}: COCO layout, 2 classes',
        '  training  3 images  3 objects',
        'classes (in each split)',
        '  cat  1',
        '  dog  2',
        'problems',
        '  training  1  image without annotations  '
        'kept out of training by the config unless it asks for them  2.png',
        f'page: {out / "data.html"}',
    ]
    page = (out / 'data.html').read_text()
    assert len(pictures(sections(page)['Images with their labels, the worst first (3 of 3)'])) == 3
    assert '3/3' in output  # progress
    call_tool('check_data.py', animals, '--out', out)  # once more, over what is there


def test_zeros_are_ignored_when_asked(tmp_path):
    maps = {f'{i}.png': [[0, 0], [1, 2]] for i in range(2)}
    folder = write_ade(tmp_path / 'scenes', 'training', maps)
    rows = ['  class 0  4', '  class 1  2', '  class 2  2']
    output = call_tool('check_data.py', folder, '--out', tmp_path)
    assert [line for line in printed(output) if line.startswith('  class')] == rows
    output = call_tool('check_data.py', folder, '--out', tmp_path, '--ignore-zero')
    assert [line for line in printed(output) if line.startswith('  class')] == rows[1:]


def test_names_tell_of_zeros_unless_something_is_said(tmp_path):
    """Two names for the labels 0 to 2: 0 is unlabelled."""
    maps = {f'{i}.png': [[0, 0], [1, 2]] for i in range(2)}
    folder = write_ade(tmp_path / 'scenes', 'training', maps)
    (folder / 'classes.txt').write_text('sky\ntree\n')
    output = call_tool('check_data.py', folder, '--out', tmp_path)
    assert ['  sky  2', '  tree  2'] == printed(output)[3:5]


def test_what_stops_training_ends_with_status_one(tmp_path):
    folder = write_coco(tmp_path / 'one', 'train', {'0.png': (40, 40)}, [], {})
    output = call_tool('check_data.py', folder, '--out', tmp_path, expect=1)
    reasons = [line for line in output.splitlines() if line.startswith('training would fail: ')]
    assert len(reasons) == 2
    assert 'has no categories; add at least one' in reasons[0]
    assert 'no annotation of' in reasons[1]
    assert 'Training would fail' in (tmp_path / 'data.html').read_text()


def test_folders_that_are_none(tmp_path):
    output = call_tool('check_data.py', tmp_path / 'none', expect=1)
    assert output == f'error: {tmp_path / "none"} is not a folder\n'
    output = call_tool('check_data.py', tmp_path, '--out', tmp_path / 'out', expect=1)
    assert output.startswith(f"error: {tmp_path} is neither in COCO's layout")
    assert not (tmp_path / 'out').exists()


def test_the_page_goes_to_data_check_by_default(animals, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, 'argv', ['check_data.py', str(animals)])
    runpy.run_path(str(ROOT / 'tools' / 'check_data.py'), run_name='__main__')
    assert (tmp_path / 'data_check' / 'data.html').is_file()
