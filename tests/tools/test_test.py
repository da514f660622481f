"""What tools/test.py decides before it tests: checkpoint, drawing, augmentation, keeping."""

import matplotlib
import pytest
from mmdet.evaluation import DumpDetResults

from tests.helpers import ROOT, call_tool

SHAPES = 'configs/detection/cascade_fastervit_shapes.py'
SEGMENTATION = 'configs/segmentation/upernet_fastervit_shapes.py'
NOTING = ('--cfg-options', 'runner_type=NotingRunner')


@pytest.fixture
def checkpoint(tmp_path):
    path = tmp_path / 'c.pth'
    path.touch()
    return path


@pytest.fixture
def tested(made, shapes, tmp_path, checkpoint):
    """A function that calls the tool on the drawn scenes; the runner it makes."""

    def run(*options, config=SHAPES, layout='coco', output=None, more=()):
        folder = ['--data', shapes / layout, '--work-dir', tmp_path / 'run']
        text = call_tool('test.py', config, checkpoint, *folder, *options, *NOTING, *more)
        (runner,) = made
        made.clear()
        assert runner.asked == ['test']
        if output is not None:
            output.append(text)
        return runner

    return run


def test_the_help_names_the_options():
    output = call_tool('test.py', '--help')
    assert 'Evaluate a checkpoint, and draw or keep its predictions.' in output
    for option in ('[checkpoint]', '--out PATH', '--eval-only FILE', '--show-dir FOLDER'):
        assert option in output


def test_a_checkpoint_is_tested_as_the_config_says(tested, checkpoint, shapes, tmp_path):
    runner = tested()
    cfg = runner.cfg
    assert cfg.load_from == str(checkpoint) and cfg.work_dir == str(tmp_path / 'run')
    assert cfg.test_dataloader.dataset.data_root == str(shapes / 'coco')
    assert cfg.default_hooks.visualization == dict(type='DetVisualizationHook')
    assert cfg.get('custom_hooks', []) == [] and cfg.model.type == 'CascadeRCNN'
    assert runner.test_evaluator.metrics == ['its own']


def test_a_checkpoint_may_lie_elsewhere(made, shapes, tmp_path):
    url = 'https://a.b/c.pth'
    call_tool('test.py', SHAPES, url, '--data', shapes / 'coco', '--work-dir', tmp_path, *NOTING)
    assert made[0].cfg.load_from == url and made[0].asked == ['test']


@pytest.mark.parametrize('given', [(), ('c.pth', '--eval-only', 'p.pkl')])
def test_either_a_checkpoint_or_kept_predictions(given):
    output = call_tool('test.py', SHAPES, *given, expect=2)
    assert 'error: give a checkpoint, or --eval-only with kept predictions' in output


def test_only_the_data_to_test_on_are_asked_for(made, checkpoint, shapes, tmp_path):
    config = tmp_path / 'c.py'
    roots = dict(train='no_train', val='no_val', test=str(shapes / 'coco'))
    loaders = [f'{k}_dataloader = dict(dataset=dict(data_root={r!r}))' for k, r in roots.items()]
    config.write_text('\n'.join([f'_base_ = {str(ROOT / SHAPES)!r}', *loaders]))
    call_tool('test.py', config, checkpoint, '--work-dir', tmp_path, *NOTING)
    assert made[0].cfg.test_dataloader.dataset.data_root == str(shapes / 'coco')
    config.write_text(config.read_text().replace(str(shapes / 'coco'), 'no_test'))
    output = call_tool('test.py', config, checkpoint, '--work-dir', tmp_path, expect=1)
    assert 'error: data folder no_test does not exist' in output


def test_drawing_to_files_or_in_a_window(tested, screen, tmp_path):
    hook = tested('--show-dir', 'drawn').cfg.default_hooks.visualization
    assert (hook.draw, hook.show, hook.test_out_dir, hook.wait_time) == (True, False, 'drawn', 2)
    hook = tested('--show', '--wait-time', 0.5).cfg.default_hooks.visualization
    assert (hook.draw, hook.show, hook.wait_time) == (True, True, 0.5)
    assert 'test_out_dir' not in hook
    cfg = tested('--show-dir', 'drawn', config=SEGMENTATION, layout='ade').cfg
    assert cfg.visualizer.save_dir == 'drawn' and cfg.default_hooks.visualization.draw


def test_names_with_dollars_are_no_formulas(tested):
    assert tested('--show-dir', 'drawn').formulas is False
    assert matplotlib.rcParams['text.parse_math']  # as before


@pytest.mark.parametrize(
    'options, fuse, compile',
    [
        (['--fuse'], True, False),
        (['--compile'], False, True),
        (['--compile', '--fuse'], True, True),
    ],
)
def test_a_faster_model(options, fuse, compile, tested):
    hook = dict(type='fastervit_mm.FasterInferenceHook', fuse=fuse, compile=compile)
    assert tested(*options).cfg.custom_hooks == [hook]
    cfg = tested(*options, more=['custom_hooks=[other]']).cfg
    assert cfg.custom_hooks == ['other', hook]


def test_augmentation(tested):
    output = []
    cfg = tested('--tta', output=output).cfg
    assert cfg.model.type == 'DetTTAModel' and cfg.model.module.type == 'CascadeRCNN'
    assert 'warning: test-time augmentation merges boxes only' in output[0]


def test_keeping_predictions(tested, tmp_path):
    own, dump = tested('--out', tmp_path / 'p.pkl').test_evaluator.metrics
    assert own == 'its own' and isinstance(dump, DumpDetResults)
    assert dump.out_file_path == str(tmp_path / 'p.pkl')
    runner = tested('--out', tmp_path / 'maps', config=SEGMENTATION, layout='ade')
    assert runner.test_evaluator.metrics == ['its own']
    assert runner.cfg.test_evaluator.output_dir == str(tmp_path / 'maps')


def test_kept_predictions_of_no_detector_or_no_file(made, shapes):
    given = ['--data', shapes / 'coco', '--eval-only', 'none.pkl']
    output = call_tool('test.py', SHAPES, *given, *NOTING, expect=1)
    assert 'error: --eval-only none.pkl does not exist; --out writes it' in output
    assert made == []
