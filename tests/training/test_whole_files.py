"""A run that ends while it writes a checkpoint: what was whole before stays, and is resumed."""

import errno
from pathlib import Path

import pytest
import torch

from fastervit_mm.errors import FileError, UserError
from fastervit_mm.training import whole_files
from fastervit_mm.training.resuming import resume_point
from fastervit_mm.training.whole_files import (
    check_finite_weights,
    is_whole,
    newest_whole,
    whole_checkpoints,
)
from tests.helpers import call_tool, few

SHAPES = 'configs/detection/cascade_fastervit_shapes.py'


class Backend:
    def __init__(self):
        self.removed = []

    def isfile(self, path):
        return Path(path).is_file()

    def remove(self, path):
        self.removed.append(path)
        Path(path).unlink()

    rmtree = remove


class Runner:
    """Writes as mmengine does: in place."""

    fails = None

    def save_checkpoint(self, out_dir, filename, **_):
        with open(Path(out_dir, filename), 'wb') as file:
            file.write(b'half')
            if self.fails is not None:
                raise self.fails
            file.write(b' and half')


class Hook:
    def __init__(self):
        self.file_backend = Backend()


@pytest.fixture
def run(tmp_path):
    """A run with one checkpoint."""
    (tmp_path / 'epoch_1.pth').write_bytes(b'first')
    runner, hook = Runner(), Hook()

    def save(name='epoch_2.pth', old='epoch_1.pth'):
        with whole_checkpoints(runner, hook):
            hook.file_backend.remove(str(tmp_path / old))  # first, as mmengine does
            runner.save_checkpoint(str(tmp_path), name)

    save.runner, save.hook, save.folder = runner, hook, tmp_path
    return save


def names(folder):
    return sorted(p.name for p in folder.iterdir())


def test_a_checkpoint_takes_the_place_of_the_one_before(run):
    run()
    assert names(run.folder) == ['epoch_2.pth']
    assert (run.folder / 'epoch_2.pth').read_bytes() == b'half and half'
    assert type(run.hook.file_backend) is Backend


def test_the_same_file_written_again_is_whole_at_any_moment(run, monkeypatch):
    seen = []
    put = whole_files.put_in_place

    def watched(part, path):
        seen.append((path.read_bytes(), part.read_bytes()))
        put(part, path)

    monkeypatch.setattr(whole_files, 'put_in_place', watched)
    run('epoch_1.pth')  # its own predecessor: removed by nobody
    assert seen == [(b'first', b'half and half')]
    assert names(run.folder) == ['epoch_1.pth']


@pytest.mark.parametrize(
    'fault, raised',
    [(OSError(errno.ENOSPC, 'No space left on device'), FileError), (KeyboardInterrupt(), None)],
)
def test_an_end_while_writing_leaves_the_one_before(fault, raised, run):
    run.runner.fails = fault
    with pytest.raises(raised or type(fault)) as caught:
        run()
    assert (run.folder / 'epoch_1.pth').read_bytes() == b'first'
    assert not (run.folder / 'epoch_2.pth').exists()
    assert type(run.hook.file_backend) is Backend and run.hook.file_backend.removed == []
    if raised:
        text = str(caught.value)
        assert 'epoch_2.pth cannot be written (No space left on device); make room' in text
        assert names(run.folder) == ['epoch_1.pth']
    run.runner.fails = None
    run()
    assert names(run.folder)[0] == 'epoch_2.pth'


def test_inside_another_one_nothing_changes(run):
    with whole_checkpoints(run.runner, run.hook):
        run()
        assert names(run.folder) == ['epoch_1.pth', 'epoch_2.pth']  # the outer one removes
    assert names(run.folder) == ['epoch_2.pth']


def a_work_dir(tmp_path, whole, torn=(), last=None):
    for name in whole:
        torch.save(dict(a=torch.ones(100)), tmp_path / name)
    for name in torn:
        torch.save(dict(a=torch.ones(100)), tmp_path / name)
        content = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(content[: len(content) // 2])
    if last is not None:
        (tmp_path / 'last_checkpoint').write_text(last and str(tmp_path / last))
    return tmp_path


@pytest.mark.parametrize(
    'whole, torn, last, found',
    [
        (['epoch_1.pth', 'epoch_2.pth'], [], 'epoch_2.pth', 2),
        (['epoch_1.pth', 'epoch_9.pth', 'epoch_10.pth'], ['epoch_11.pth'], 'epoch_11.pth', 10),
        (['iter_500.pth', 'best_mIoU_iter_900.pth'], ['iter_1000.pth'], 'iter_1000.pth', 500),
        (['epoch_1.pth'], [], 'epoch_2.pth', 1),  # gone
        (['epoch_1.pth'], [], '', 1),  # named by half a line
        ([], [], None, None),
    ],
)
def test_the_newest_whole_checkpoint(whole, torn, last, found, tmp_path):
    a_work_dir(tmp_path, whole, torn, last)
    newest = newest_whole(tmp_path)
    point = resume_point(tmp_path, 'auto')
    assert point == (None if newest is None else str(newest))
    assert newest is None or newest.stem.endswith(f'_{found}')
    assert all(is_whole(tmp_path / name) for name in whole)
    assert not any(is_whole(tmp_path / name) for name in torn)


def test_resuming_names_the_torn_file(tmp_path, capsys):
    folder = a_work_dir(tmp_path, ['epoch_1.pth'], ['epoch_2.pth'], 'epoch_2.pth')
    assert resume_point(folder, 'auto') == str(folder / 'epoch_1.pth')
    said = capsys.readouterr().out
    assert said.startswith(f'warning: {folder / "epoch_2.pth"} is torn') and 'epoch_1.pth' in said
    (folder / 'epoch_1.pth').unlink()
    with pytest.raises(FileError, match='epoch_2.pth is torn, and .* has no other checkpoint'):
        resume_point(folder, 'auto')


def test_a_run_goes_on_after_a_torn_checkpoint(shapes, tmp_path):
    """Of three epochs the last was cut: resuming does it once more, to the same weights."""
    shared = ['--data', shapes / 'coco', '--work-dir', tmp_path]
    quick = [*few(), 'train_cfg.val_interval=9', 'model.test_cfg.rpn.max_per_img=9']
    call_tool('train.py', SHAPES, *shared, '--epochs', 3, '--cfg-options', *quick)
    last = tmp_path / 'epoch_3.pth'
    whole = torch.load(last, weights_only=False)['state_dict']
    assert not list(tmp_path.glob('*.part'))
    content = last.read_bytes()
    last.write_bytes(content[: len(content) // 3])
    output = call_tool(
        'train.py', SHAPES, *shared, '--epochs', 3, '--resume', '--cfg-options', *quick
    )
    assert f'{last} is torn' in output and 'resumed epoch: 2' in output
    again = torch.load(last, weights_only=False)['state_dict']
    assert all(torch.equal(again[name], value) for name, value in whole.items())


def test_weights_that_are_not_finite_are_not_saved():
    model = torch.nn.BatchNorm1d(2)
    check_finite_weights(model)
    model.running_mean[1] = float('nan')
    with pytest.raises(UserError, match='no longer finite .running_mean.: they are not saved'):
        check_finite_weights(model)
