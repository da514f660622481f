"""``--data FOLDER`` of tools/train.py and tools/test.py: one meaning, said in one line."""

import pytest
from mmengine.registry import RUNNERS

from tests.helpers import call_tool
from tests.tasks.folders import CLASSES, SHAPES, coco_content, write_coco, write_coco2017


class IdleRunner:
    """A runner that keeps its config and does nothing."""

    made: list = []  # noqa: RUF012

    @classmethod
    def from_cfg(cls, cfg):
        cls.made.append(cfg)
        return cls()

    def register_hook(self, hook, priority):
        pass

    def train(self):
        pass

    test = train


@pytest.fixture
def call(tmp_path):
    """A function that calls a tool; its output and the config of its runner."""
    RUNNERS.register_module(name='IdleRunner', module=IdleRunner)
    (tmp_path / 'c.pth').touch()

    def run(tool, folder, *options):
        given = [SHAPES] if tool == 'train.py' else [SHAPES, tmp_path / 'c.pth']
        shared = ['--data', folder, '--work-dir', tmp_path / 'run', '--cfg-options']
        output = call_tool(tool, *given, *shared, 'runner_type=IdleRunner', *options)
        return output, IdleRunner.made.pop()

    yield run
    RUNNERS.module_dict.pop('IdleRunner')


@pytest.fixture
def own(tmp_path):
    """Photographs of two of the config's classes, without a validation split."""
    content = coco_content(10, ('triangle', 'circle'), ids=(3, 7))
    write_coco(tmp_path / 'own/train.json', content, tmp_path / 'own/photos')
    return tmp_path / 'own'


@pytest.mark.parametrize('tool', ['train.py', 'test.py'])
def test_a_folder_that_fits_is_used_as_it_is(tool, call, tmp_path):
    folder = write_coco2017(tmp_path / 'fits', coco_content(3), coco_content(2))
    output, cfg = call(tool, folder)
    assert output.count(f'--data {folder} fits the config: used as it is (looked at in ') == 1
    assert 'looking at images' not in output and not (tmp_path / 'run/data').exists()
    assert cfg.test_dataloader.dataset.data_root == str(folder)


def test_any_other_is_fitted_for_training(call, own):
    output, cfg = call('train.py', own)
    line = f'--data {own} is not what the config reads (annotations/instances_train2017.json is not'
    assert output.count(line) == 1 and 'looking at images' in output
    assert '2 classes: triangle, circle' in output
    assert cfg.model.roi_head.mask_head.num_classes == 2


def test_a_model_is_evaluated_on_what_was_held_out(call, own):
    output, cfg = call('test.py', own)
    note = '  evaluation: 1 of the images of train.json, the share that training holds out'
    assert note in output.splitlines()
    assert cfg.model.roi_head.mask_head.num_classes == 3
    assert tuple(cfg.test_dataloader.dataset.metainfo.classes) == CLASSES
    assert cfg.test_evaluator.ann_file == cfg.test_dataloader.dataset.ann_file


@pytest.mark.parametrize('tool', ['train.py', 'test.py'])
def test_options_come_after_the_folder(tool, call, own):
    loader = {'train.py': 'train_dataloader', 'test.py': 'test_dataloader'}[tool]
    _, cfg = call(tool, own, f'{loader}.dataset.data_prefix.img={own}')
    assert cfg[loader].dataset.data_prefix.img == str(own)
