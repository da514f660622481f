"""A distributed run: one process reads the data, the others get what it found, or end with it."""

import json
from pathlib import Path

import pytest

from tests.distributed.start import torchrun
from tests.helpers import ROOT
from tests.tasks.folders import SHAPES, coco_content, write_coco

SCRIPT = ROOT / 'tests/tasks/in_two_processes.py'


@pytest.fixture(scope='module')
def found(tmp_path_factory) -> list[dict]:
    """What each of two processes found in a folder of ten images of two classes."""
    root = tmp_path_factory.mktemp('two')
    content = coco_content(10, ('cat', 'dog'), ids=(4, 2))
    write_coco(root / 'mine/labels.json', content, root / 'mine/photos')
    done = torchrun(SCRIPT, root / 'mine', root)
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    assert done.stdout.count('is not what the config reads') == 1
    return [json.loads((root / f'{rank}.json').read_text()) for rank in (0, 1)]


def test_one_process_opens_the_images(found):
    assert [f['opened'] for f in found] == [10, 0]


def test_both_train_on_what_it_found(found):
    for f in found:
        assert f['lines'] == [
            'training: 10 images',
            '  training: 1 of them held out: there is no validation split',
            '2 classes: dog, cat',
        ]
        assert f['classes'] == ['dog', 'cat'] and f['heads'] == 2
        assert [
            len(json.loads(Path(f[k]).read_text())['images']) for k in ('ann_file', 'truth')
        ] == [
            9,
            1,
        ]
    assert found[0]['ann_file'] == found[1]['ann_file']


def test_the_schedule_knows_both(found):
    """40 images in batches of 8 by two processes: 3 iterations an epoch."""
    assert [(f['world'], f['iterations']) for f in found] == [(2, 6)] * 2


def test_an_error_of_one_ends_both(found):
    """The main process says it; the other leaves in silence."""
    assert [f['user_error'] for f in found] == [
        'ArgumentError: a line for the user',
        'SystemExit: 1',
    ]
    assert [f['defect'] for f in found] == [
        "KeyError: 'a defect'",
        "SystemExit: the main process failed: KeyError('a defect')",
    ]


def test_they_go_on_together_after_an_error(found):
    assert [f['after'] for f in found] == ['by 0', 'by 0']


def test_bad_data_end_a_run_with_one_line(tmp_path):
    write_coco(tmp_path / 'mine/train.json', coco_content(1), tmp_path / 'mine/photos')
    options = ['--launcher', 'pytorch', '--work-dir', tmp_path / 'run']
    done = torchrun(ROOT / 'tools/train.py', SHAPES, '--data', tmp_path / 'mine', *options)
    assert done.returncode == 1
    lines = [line for line in done.stderr.splitlines() if line.startswith('error: ')]
    assert len(lines) == 1 and 'has 1 usable image with annotations' in lines[0]
