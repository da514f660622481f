"""Errors that a user can fix end with one line and status 1, without a traceback."""

import json
import re
from pathlib import Path

import pytest

from tests.helpers import call_tool, run_tool

SHAPES = 'configs/detection/cascade_fastervit_shapes.py'


@pytest.fixture(scope='module')
def shapes(shapes) -> Path:
    """The drawn scenes in COCO's layout."""
    return shapes / 'coco'


@pytest.fixture(scope='module')
def other_classes(shapes, tmp_path_factory) -> Path:
    """The same scenes with a fourth category."""
    folder = tmp_path_factory.mktemp('four')
    for split in ('train2017', 'val2017'):
        (folder / split).symlink_to(shapes / split)
        content = json.loads((shapes / f'annotations/instances_{split}.json').read_text())
        content['categories'].append(dict(id=4, name='star'))
        (folder / 'annotations').mkdir(exist_ok=True)
        (folder / f'annotations/instances_{split}.json').write_text(json.dumps(content))
    return folder


def one_line(output: str) -> str:
    """The error line of a tool that failed as it should."""
    assert 'Traceback' not in output
    lines = [line for line in output.splitlines() if line.startswith('error: ')]
    assert len(lines) == 1
    return lines[0]


@pytest.mark.parametrize(
    'arguments, expected',
    [
        (
            ['configs/detection/cascade_fastervit_9_3x.py'],
            'config .*cascade_fastervit_9_3x.py does not exist; did you mean cascade_fastervit_',
        ),
        ([SHAPES, '--data', 'nowhere'], '--data nowhere is not a folder'),
        (
            ['configs/detection/cascade_fastervit_2_3x.py'],
            'data folder data/coco.* does not exist .*cocodataset.org.*--data FOLDER',
        ),
        (
            [SHAPES, '--data', '{empty}'],
            'has no annotation file in COCO format',
        ),
        ([SHAPES, '--data', '{shapes}', '--resume', 'no.pth'], 'checkpoint no.pth does not exist'),
        (
            [
                SHAPES,
                '--cfg-options',
                'train_dataloader.dataset.data_root={four}',
                'val_dataloader.dataset.data_root={four}',
            ],
            '3 classes, .* has 4 categories.* star',
        ),
        (
            [
                SHAPES,
                '--data',
                '{shapes}',
                '--cfg-options',
                'model.roi_head.mask_head.num_classes=5',
            ],
            r'num_classes .* \[3, 5\], but .* has 3 categories',
        ),
        (
            [SHAPES, '--data', '{shapes}', '--cfg-options', 'default_scope=mmfoo'],
            "default_scope of the config is 'mmfoo'; allowed: mmdet, mmseg",
        ),
        (
            [
                SHAPES,
                '--data',
                '{shapes}',
                '--work-dir',
                '{empty}',
                '--cfg-options',
                'model.backbone.init_cfg.type=Pretrained',
                'model.backbone.init_cfg.checkpoint=no.pth',
            ],
            'checkpoint no.pth does not exist',
        ),
    ],
)
def test_bad_inputs_end_with_one_line(arguments, expected, shapes, other_classes, tmp_path):
    filled = [a.format(shapes=shapes, four=other_classes, empty=tmp_path) for a in arguments]
    assert re.search(expected, one_line(call_tool('train.py', *filled, expect=1)))


def test_a_missing_checkpoint_to_test(shapes):
    line = one_line(call_tool('test.py', SHAPES, 'none.pth', '--data', shapes, expect=1))
    assert 'checkpoint none.pth does not exist' in line


def test_broken_annotations_are_named(shapes, tmp_path):
    (tmp_path / 'annotations').mkdir()
    for split in ('train2017', 'val2017'):
        (tmp_path / split).mkdir()
        (tmp_path / f'annotations/instances_{split}.json').write_text('{"images": []}')
    line = one_line(call_tool('train.py', SHAPES, '--data', tmp_path, expect=1))
    assert 'is not in COCO format' in line


def test_a_process_of_its_own_ends_the_same():
    given = ('train.py', SHAPES, '--data', 'nowhere')
    assert one_line(run_tool(*given, expect=1)) == one_line(call_tool(*given, expect=1))
