"""What a work dir holds: config, checkpoints, logs, and whether its predictions are complete."""

import json
import os

import pytest

from fastervit_mm.config.run_folder import read_record
from fastervit_mm.errors import FileError
from fastervit_mm.report.run_page import curve_figures
from fastervit_mm.report.work_dir import find_checkpoint, find_config, is_complete, read_curves
from tests.report.pages import pictures


def touch(path, time=1000):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text('')
    os.utime(path, (time, time))
    return path


def test_the_one_config_of_a_run(tmp_path):
    with pytest.raises(FileError, match='holds 0 configs; a work dir of tools/train.py holds one'):
        find_config(tmp_path)
    config = touch(tmp_path / 'b.py')
    touch(tmp_path / '20260101' / 'vis_data' / 'config.py')  # the logger's copy
    assert find_config(tmp_path) == config
    touch(tmp_path / 'a.py')
    with pytest.raises(FileError, match='holds 2 configs'):
        find_config(tmp_path)


def test_the_newest_best_checkpoint_comes_first(tmp_path):
    touch(tmp_path / 'epoch_3.pth', time=3000)
    (tmp_path / 'last_checkpoint').write_text(str(tmp_path / 'epoch_3.pth'))
    touch(tmp_path / 'best_z_epoch_1.pth', time=1000)
    newest = touch(tmp_path / 'best_m_epoch_2.pth', time=2000)
    touch(tmp_path / 'best_a_epoch_0.pth', time=500)
    assert find_checkpoint(tmp_path) == newest


def test_the_last_checkpoint_without_a_best_one(tmp_path):
    elsewhere = touch(tmp_path / 'elsewhere' / 'epoch_3.pth')
    work_dir = tmp_path / 'run'
    touch(work_dir / 'epoch_2.pth')
    (work_dir / 'last_checkpoint').write_text(f'{elsewhere}\n')
    assert find_checkpoint(work_dir) == elsewhere
    (work_dir / 'last_checkpoint').write_text('/moved/since/epoch_2.pth')
    assert find_checkpoint(work_dir) == work_dir / 'epoch_2.pth'


def test_a_run_without_checkpoints(tmp_path):
    touch(tmp_path / 'epoch_1.pth')  # neither best nor named as the last
    with pytest.raises(FileError, match='holds no checkpoint; training writes one'):
        find_checkpoint(tmp_path)


def test_predictions_are_complete_while_none_is_older_than_the_checkpoint(tmp_path):
    checkpoint = touch(tmp_path / 'a.pth', time=2000)
    same, newer = touch(tmp_path / '1.png', time=2000), touch(tmp_path / '2.png', time=3000)
    assert is_complete([], checkpoint)
    assert is_complete([same, newer], checkpoint)
    assert not is_complete([newer, touch(tmp_path / '3.png', time=1999)], checkpoint)
    assert not is_complete([newer, tmp_path / 'missing.png'], checkpoint)
    (tmp_path / 'folder').mkdir()
    assert not is_complete([tmp_path / 'folder'], checkpoint)


def log(work_dir, part, *entries):
    path = work_dir / part / 'vis_data' / 'scalars.json'
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text('\n'.join(json.dumps(entry) for entry in entries) + '\n')


def test_curves_of_a_run_in_parts(tmp_path):
    """A run that stopped after step 30 and was resumed from step 20."""
    log(tmp_path, '20260102_000000', dict(step=30, loss=0.3), dict(step=40, loss=0.2, lr=1e-4))
    log(
        tmp_path,
        '20260101_000000',
        dict(step=10, loss=2, lr=1e-3),
        dict(loss=9.0),  # without a step
        dict(step=30, loss=0.5, note='text', other=None),
        dict(step=20, loss=1.0),
    )
    touch(tmp_path / 'scalars.json')
    assert read_curves(tmp_path) == {
        'loss': [(10, 2), (20, 1.0), (30, 0.3), (40, 0.2)],
        'lr': [(10, 1e-3), (40, 1e-4)],
    }


def test_a_run_without_logs(tmp_path, figures):
    assert read_curves(tmp_path) == {}
    assert curve_figures({}) == '<p>Nothing was logged.</p>' and not figures
    assert 'Nothing' in curve_figures({'time': [(1, 2.0)]})


def of(figure):
    """What a figure of curves shows: lines by name, their markers, its x label and legend."""
    (axes,) = figure.axes
    lines = {line.get_label(): line.get_xydata().tolist() for line in axes.lines}
    legend = [text.get_text() for text in axes.get_legend().get_texts()]
    assert legend == list(lines)
    return lines, {line.get_marker() for line in axes.lines}, axes.get_xlabel()


def test_curves_are_drawn_in_three_figures(figures):
    losses = ['loss', 'loss_rpn_cls', 'loss_cls', 'loss_bbox', 'loss_iou', 'decode.loss_ce']
    metrics = ['coco/bbox_mAP', 'coco/segm_mAP_50', 'mIoU', 'mAcc']
    others = ['base_lr', 's0.loss_cls', 'loss_mask', 'time', 'coco/bbox_mAP_75', 'aAcc']
    curves = {n: [(1, float(i)), (2, i / 2)] for i, n in enumerate([*metrics, 'lr', *losses])}
    page = curve_figures({**curves, **{name: [(1, 1.0)] for name in others}})
    assert [p.caption for p in pictures(page)] == ['loss', 'learning rate', 'validation']
    shown = [of(figure) for figure in figures]
    for (lines, *_), names in zip(shown, (losses, ['lr'], metrics), strict=True):
        assert list(lines) == names
        assert lines == {name: [list(point) for point in curves[name]] for name in names}
    assert [markers for _, markers, _ in shown] == [{'None'}, {'None'}, {'o'}]
    labels = [label for *_, label in shown]
    assert labels == ['iteration', 'iteration', 'epoch or iteration']
    assert all(figure.get_size_inches().tolist() == [6, 3] for figure in figures)
    assert all(figure.axes[0].xaxis.get_gridlines()[0].get_visible() for figure in figures)


def test_groups_without_curves_are_left_out():
    page = curve_figures({'lr': [(1, 0.1), (2, 0.2)]})
    assert [p.caption for p in pictures(page)] == ['learning rate']


@pytest.mark.parametrize(
    'content',
    [b'hello\n', b'[1]\n', b'3\n', b'\xff\xfe\n', b'{"loss": 1.\n{"loss": 1, "step": 1}\n', None],
)
def test_logs_that_are_none(content, tmp_path):
    path = tmp_path / '1/vis_data/scalars.json'
    if content is None:
        path.mkdir(parents=True)
    else:
        path.parent.mkdir(parents=True)
        path.write_bytes(content)
    with pytest.raises(FileError, match=r'scalars\.json cannot be read \(.*\); move it out'):
        read_curves(tmp_path)


def test_the_line_that_a_kill_tore(tmp_path):
    path = log(tmp_path, '1', dict(step=1, loss=2.0)) or tmp_path / '1/vis_data/scalars.json'
    path.write_text(path.read_text().rstrip('\n') + '\n{"step": 2, "lo')
    assert read_curves(tmp_path) == {'loss': [(1, 2.0)]}


def test_steps_that_are_no_numbers(tmp_path):
    log(tmp_path, '1', dict(step=[1], loss=2.0), dict(step='x', loss=1), dict(step=3, loss=1.0))
    assert read_curves(tmp_path) == {'loss': [(3, 1.0)]}


@pytest.mark.parametrize(
    'content', [b'nowhere/x.pth', b'', b'\xff\xfe', b'x' * 5000, b's3://a/b.pth']
)
def test_a_last_checkpoint_that_names_nothing(content, tmp_path):
    (tmp_path / 'last_checkpoint').write_bytes(content)
    with pytest.raises(
        FileError, match='last_checkpoint (names|cannot be read).*write the name of'
    ):
        find_checkpoint(tmp_path)


@pytest.mark.parametrize('content', [b'{"a', b'[1]', b'null', b'\xff', b'{"versions": [1]}'])
def test_records_that_are_none(content, tmp_path):
    (tmp_path / 'run.json').write_bytes(content)
    with pytest.raises(FileError, match=r'run\.json cannot be read \(.*\); move it out'):
        read_record(tmp_path)
