"""One place tells detection from segmentation; what it tells about files and devices."""

from pathlib import Path

import pytest
from mmengine.config import Config

from fastervit_mm.errors import ArgumentError
from fastervit_mm.tasks import TASKS, task_of
from tests.helpers import ROOT


@pytest.mark.parametrize('task', ['detection', 'segmentation'])
def test_every_config_has_the_task_of_its_folder(task):
    configs = sorted((ROOT / 'configs' / task).rglob('*.py'))
    assert len(configs) > 10
    assert {task_of(Config.fromfile(path)).name for path in configs} == {task}


def test_tasks_by_name_scope_and_labels():
    said = {name: (task.name, task.scope, task.labels) for name, task in TASKS.items()}
    assert said == {
        'detection': ('detection', 'mmdet', 'objects'),
        'segmentation': ('segmentation', 'mmseg', 'label maps'),
    }


@pytest.mark.parametrize('settings', [{}, dict(default_scope='mmpretrain')])
def test_other_libraries_have_none(settings):
    with pytest.raises(
        ArgumentError, match='default_scope of the config is .*; allowed: mmdet, mm'
    ):
        task_of(Config(settings))


def test_where_a_report_keeps_predictions():
    paths = {name: task.predictions_path(Path('run')) for name, task in TASKS.items()}
    assert paths == {
        'detection': Path('run/predictions.json'),
        'segmentation': Path('run/label_maps'),
    }
    file = Path('any/file.pkl')
    assert TASKS['detection'].prediction_files(Config({}), file) == [file]
