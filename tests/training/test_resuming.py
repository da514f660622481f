"""Going on with a run: its schedule, its classes, its folder, which may be moved or copied."""

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from fastervit_mm.config.run_folder import BEFORE, COMPLETE, FOLDER, note_written, read_record
from fastervit_mm.errors import FileError
from fastervit_mm.report.work_dir import find_checkpoint, find_config, read_curves
from fastervit_mm.training.hooks import ResumableCheckpointHook
from fastervit_mm.training.resuming import resume_point, settle_start
from fastervit_mm.training.runner import starts_from_random_weights
from fastervit_mm.training.whole_files import is_whole
from fastervit_mm.weights.safe_loading import load_file
from tests.helpers import ROOT, call_tool
from tests.training.toy_run import same_weights, weights, write_config


def train(config, work_dir, *options, expect=0):
    return call_tool('train.py', config, '--work-dir', work_dir, *options, expect=expect)


def line_of(output):
    """The one line that a failed tool leaves."""
    (line,) = [line for line in output.splitlines() if line.startswith('error: ')]
    assert 'Traceback' not in output
    return line


def rates(work_dir):
    return [round(rate, 12) for _, rate in read_curves(work_dir)['lr']]


def content(folder):
    """Every file in a folder and below, with its bytes."""
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob('*') if p.is_file()}


@pytest.mark.parametrize('first, whole', [(2, 6), (1, 5)])
def test_a_longer_schedule_goes_on_as_if_it_had_been_so_from_the_start(first, whole, tmp_path):
    """The rate of each iteration after resuming is that of an uninterrupted run of that length."""
    train(write_config(tmp_path, whole), tmp_path / 'whole')
    train(write_config(tmp_path / 'c', first, name='toy_run.py'), tmp_path / 'run')
    output = train(write_config(tmp_path / 'd', whole), tmp_path / 'run', '--resume')
    wanted, found = rates(tmp_path / 'whole'), rates(tmp_path / 'run')
    assert found[4 * first :] == wanted[4 * first :] and len(found) == 4 * whole
    assert 'the schedule is another than' in output


def test_a_shorter_schedule_has_ended(tmp_path):
    train(write_config(tmp_path, 4), tmp_path / 'run')
    train(write_config(tmp_path, 2), tmp_path / 'run', '--resume')
    assert len(rates(tmp_path / 'run')) == 16


def test_an_unchanged_schedule_is_taken_up_as_it_was(tmp_path):
    """Bit for bit, without a word."""
    config = write_config(tmp_path, 3)
    train(config, tmp_path / 'whole')
    train(config, tmp_path / 'run')
    (tmp_path / 'run/epoch_3.pth').unlink()
    (tmp_path / 'run/last_checkpoint').write_text(str(tmp_path / 'run/epoch_2.pth'))
    output = train(config, tmp_path / 'run', '--resume')
    assert 'resumed epoch: 2' in output and 'the schedule is another' not in output
    assert same_weights(tmp_path / 'run/epoch_3.pth', tmp_path / 'whole/epoch_3.pth')


def test_a_schedule_with_a_method_in_its_state_is_taken_up(tmp_path):
    """OneCycleLR's; its checkpoint is loaded safely, and goes on bit for bit."""

    def one_cycle(folder, highest, epochs=4):
        config = write_config(tmp_path / folder, epochs)
        schedule = f"dict(type='OneCycleLR', eta_max={highest}, total_steps=24, by_epoch=False)"
        config.write_text(f'{config.read_text()}param_scheduler = [{schedule}]\n')
        return config

    config, keep_all = one_cycle('c', 0.1), 'default_hooks.checkpoint.max_keep_ckpts=9'
    train(config, tmp_path / 'whole', '--cfg-options', keep_all)
    (tmp_path / 'run').mkdir()
    shutil.copy(tmp_path / 'whole/epoch_2.pth', tmp_path / 'run')
    output = train(config, tmp_path / 'run', '--resume')
    assert 'resumed epoch: 2' in output and 'the schedule is another' not in output
    assert same_weights(tmp_path / 'run/epoch_4.pth', tmp_path / 'whole/epoch_4.pth')
    assert rates(tmp_path / 'run') == rates(tmp_path / 'whole')[8:]
    assert len(set(rates(tmp_path / 'run'))) == 8
    tested = ('test.py', config, tmp_path / 'run/epoch_4.pth')
    call_tool(*tested, '--work-dir', tmp_path / 'tested')
    # of another height, it goes on as if it had been so from the start
    train(one_cycle('d', 0.05, 5), tmp_path / 'lower')
    output = train(one_cycle('e', 0.05, 5), tmp_path / 'run', '--resume')
    assert 'the schedule is another' in output
    assert rates(tmp_path / 'run')[8:] == rates(tmp_path / 'lower')[16:]


def test_another_learning_rate_counts_where_a_run_goes_on(tmp_path):
    """Our own advice after a loss that is not finite: go on with a lower one."""
    train(write_config(tmp_path, 2), tmp_path / 'run')
    output = train(write_config(tmp_path, 3, rate=0.001), tmp_path / 'run', '--resume')
    assert 'the learning rate goes on from' in output
    assert rates(tmp_path / 'run')[-1] == pytest.approx(0.0001)


def test_a_used_folder_is_for_one_run(tmp_path):
    config, work_dir = write_config(tmp_path / 'c'), tmp_path / 'run'
    train(config, work_dir)
    before = content(work_dir)
    line = line_of(train(config, work_dir, expect=1))
    assert f'{work_dir} holds a run already' in line and '--resume' in line and '--fresh' in line
    assert content(work_dir) == before
    for number in (2, 3):
        output = train(config, work_dir, '--fresh')
        assert f'this one goes to {work_dir}-{number}' in output
        assert same_weights(work_dir / 'epoch_3.pth', tmp_path / f'run-{number}/epoch_3.pth')
    assert content(work_dir) == before
    assert 'exclude each other' in line_of(train(config, work_dir, '--fresh', '--resume', expect=1))


def test_a_checkpoint_of_one_run_is_not_continued_in_the_folder_of_another(tmp_path):
    config = write_config(tmp_path / 'c')
    for name in ('one', 'other'):
        train(config, tmp_path / name)
    resume = ('--resume', tmp_path / 'one/epoch_2.pth')
    assert 'holds a run already' in line_of(train(config, tmp_path / 'other', *resume, expect=1))
    train(config, tmp_path / 'third', *resume)
    assert same_weights(tmp_path / 'third/epoch_3.pth', tmp_path / 'one/epoch_3.pth')


def test_a_run_that_left_nothing_takes_its_folder_again(tmp_path):
    work_dir = tmp_path / 'run'
    (work_dir / '20250101_000000/vis_data').mkdir(parents=True)
    (work_dir / '20250101_000000/vis_data/scalars.json').touch()
    (work_dir / 'imagenet.pth').touch()  # the user's own
    train(write_config(tmp_path), work_dir)
    assert (work_dir / 'epoch_3.pth').is_file()


@pytest.mark.parametrize('moved', [False, True])
def test_a_copy_goes_on_from_itself(moved, tmp_path):
    """By its own config alone, and nothing of the original changes."""
    config, work_dir, copied = write_config(tmp_path / 'c', 4), tmp_path / 'run', tmp_path / 'copy'
    train(config, work_dir)
    for name in ('epoch_4.pth', 'best_tiny_score_epoch_4.pth'):
        (work_dir / name).unlink(missing_ok=True)
    (work_dir / 'last_checkpoint').write_text(str(work_dir / 'epoch_3.pth'))
    before = content(work_dir)
    (shutil.move if moved else shutil.copytree)(work_dir, copied)
    output = call_tool('train.py', copied / 'toy_run.py', '--resume')
    assert 'resumed epoch: 3' in output and (copied / 'epoch_4.pth').is_file()
    assert f'Checkpoints will be saved to {copied}' in output
    assert work_dir.exists() != moved
    if not moved:
        assert content(work_dir) == before
    assert len(list(copied.glob('best_*.pth'))) == 1  # the older one of the copy made room


def test_a_moved_run_names_its_own_labels(tmp_path, shapes):
    """What training wrote of a folder of images lies in the work dir, by absolute paths."""
    from fastervit_mm.config.reading import read_config
    from fastervit_mm.training.run_record import write_record

    old, new = tmp_path / 'old', tmp_path / 'new'
    write_record(old)
    labels, other = old / 'data/train.json', tmp_path / 'older/data/train.json'
    dataset = dict(ann_file=str(labels), data_root='', data_prefix=dict(img=str(other)))
    cfg = Config(dict(work_dir=str(old), train_dataloader=dict(dataset=dataset), a=[str(old)]))
    cfg.dump(old / 'run.py')
    assert read_config(str(old / 'run.py')).train_dataloader.dataset.ann_file == str(labels)
    shutil.move(old, new)
    cfg = read_config(str(new / 'run.py'))
    assert cfg.train_dataloader.dataset.ann_file == str(new / 'data/train.json')
    assert cfg.train_dataloader.dataset.data_prefix.img == str(other)  # not in its folder
    assert cfg.work_dir == str(new) and cfg.a == [str(new)]
    (new / 'run.json').write_text('{"work_dir": "/a')
    with pytest.raises(FileError, match=r'run.json cannot be read .*move it out'):
        read_config(str(new / 'run.py'))


def test_resuming_needs_no_pretrained_file(tmp_path):
    pretrained = tmp_path / 'imagenet.pth'
    train(write_config(tmp_path, 1), tmp_path / 'first')
    shutil.copy(tmp_path / 'first/epoch_1.pth', pretrained)
    init_cfg = dict(type='Pretrained', checkpoint=str(pretrained))
    config = write_config(tmp_path, 2, init_cfg=init_cfg)
    train(config, tmp_path / 'whole')
    train(write_config(tmp_path / 'c', 2, init_cfg=init_cfg), tmp_path / 'run')
    shutil.copy(tmp_path / 'whole/epoch_1.pth', tmp_path / 'run/epoch_1.pth')
    (tmp_path / 'run/last_checkpoint').write_text('epoch_1.pth')
    pretrained.unlink()
    train(config, tmp_path / 'run', '--resume')
    assert same_weights(tmp_path / 'whole/epoch_2.pth', tmp_path / 'run/epoch_2.pth')
    assert 'imagenet.pth' in (tmp_path / 'run/toy_run.py').read_text()  # the run's config says so
    output = train(config, tmp_path / 'new', '--resume', expect=1)  # nothing there to resume
    assert 'imagenet.pth' in line_of(output)


@pytest.mark.parametrize(
    'change, words',
    [
        (dict(classes=('a', 'c')), ['2 classes a, b', '2 classes a, c', '--from']),
        (dict(classes=('b', 'a')), ['2 classes a, b', '2 classes b, a', '--from']),
        (dict(width=5), ['the weights do not fit the config', 'first.weight']),
    ],
)
def test_a_run_goes_on_as_what_it_was(change, words, tmp_path):
    """Where it is refused, no file of the run has changed, and no other has its name."""
    train(write_config(tmp_path, 2), tmp_path / 'run')
    (tmp_path / 'run/data').mkdir()
    (tmp_path / 'run/data/train.json').write_text('labels of the run')
    before = {p: was for p, was in content(tmp_path / 'run').items() if len(p.parts) < 3}
    for name in ('toy_run.py', 'other.py'):
        config = write_config(tmp_path, 3, name=name, **change)
        line = line_of(train(config, tmp_path / 'run', '--resume', expect=1))
        assert all(word in line for word in words)
        after = {p: is_ for p, is_ in content(tmp_path / 'run').items() if len(p.parts) < 3}
        assert {p for p in after if p.suffix != '.log' and after[p] != before.get(p)} == set()


def test_weights_alone_cannot_be_resumed(tmp_path):
    config = write_config(tmp_path, 2)
    train(config, tmp_path / 'run')
    best = tmp_path / 'weights.pth'
    torch.save(dict(state_dict=weights(tmp_path / 'run/epoch_2.pth'), meta={}), best)
    line = line_of(train(config, tmp_path / 'new', '--resume', best, expect=1))
    assert 'no state of a training' in line and '--from' in line


def test_another_optimizer_is_one_line(tmp_path):
    train(write_config(tmp_path, 1), tmp_path / 'run')
    settings = (
        'optim_wrapper.optimizer.weight_decay=0.1',
        'optim_wrapper.paramwise_cfg.bias_lr_mult=2',
    )
    options = ('--resume', '--cfg-options', *settings)
    line = line_of(train(write_config(tmp_path, 2), tmp_path / 'run', *options, expect=1))
    assert "the checkpoint's optimizer has 1 groups of 6 parameters" in line


def test_testing_leaves_the_folder_of_a_run_as_it_was(tmp_path):
    """The config there is the training's: test.py once wrote its own over it."""
    work_dir = tmp_path / 'run'
    train(write_config(tmp_path, 2), work_dir)
    before = {path: was for path, was in content(work_dir).items() if path.parent == Path()}
    config, checkpoint = work_dir / 'toy_run.py', work_dir / 'epoch_2.pth'
    options = ('--cfg-options', 'train_cfg.max_epochs=77', 'test_dataloader.batch_size=1')
    call_tool('test.py', config, checkpoint, *options)
    after = content(work_dir)
    assert {path: after[path] for path in before} == before
    (copy,) = [path for path in after.keys() - before.keys() if path.name == 'toy_run.py']
    assert 'max_epochs=77' in after[copy].decode()  # beside its log
    train(config, work_dir, '--resume', '--epochs', 3)
    assert (work_dir / 'epoch_3.pth').is_file()
    call_tool('test.py', config, work_dir / 'epoch_3.pth')  # of a run that was resumed


def test_the_config_of_a_resumed_run_does_not_resume_by_itself(tmp_path):
    config = write_config(tmp_path, 2)
    train(config, tmp_path / 'run')
    train(config, tmp_path / 'run', '--resume', '--epochs', 3)
    cfg = Config.fromfile(tmp_path / 'run/toy_run.py')
    assert cfg.resume is False and cfg.load_from is None
    train(tmp_path / 'run/toy_run.py', tmp_path / 'other')
    assert len(rates(tmp_path / 'other')) == 4 * 3


def test_a_config_may_ask_for_it(tmp_path):
    config = write_config(tmp_path, 2)
    train(config, tmp_path / 'run', '--cfg-options', 'resume=True')  # nothing there yet
    output = train(write_config(tmp_path, 3), tmp_path / 'run', '--cfg-options', 'resume=True')
    assert 'resumed epoch: 2' in output


def test_curves_of_what_was_done_again_are_those_of_the_last_time(tmp_path):
    for part, lines in (
        ('1', [dict(step=s, loss=10.0 + s) for s in (1, 2, 3, 4, 5)] + [dict(step=2, AP=0.1)]),
        ('2', [dict(step=s, loss=20.0 + s) for s in (3, 4)]),
    ):
        path = tmp_path / part / 'vis_data/scalars.json'
        path.parent.mkdir(parents=True)
        path.write_text(''.join(json.dumps(line) + '\n' for line in lines) + '{"cut off')
    curves = read_curves(tmp_path)
    assert curves['loss'] == [
        (1, 11.0),
        (2, 12.0),
        (3, 23.0),
        (4, 24.0),
    ]  # not the fifth of the first
    assert curves['AP'] == [(2, 0.1)]
    path.write_text('<html>\n')
    with pytest.raises(FileError, match='scalars.json cannot be read .*move it out'):
        read_curves(tmp_path)


def test_where_a_checkpoint_is_found(tmp_path):
    """Named, by a path elsewhere, by none; gone; at a URL."""
    assert resume_point(tmp_path, 'auto') is None
    torch.save(dict(a=1), tmp_path / 'epoch_1.pth')
    assert resume_point(tmp_path, 'auto') == str(tmp_path / 'epoch_1.pth')
    (tmp_path / 'last_checkpoint').write_text('/another/machine/epoch_1.pth\n')
    assert resume_point(tmp_path, 'auto') == str(tmp_path / 'epoch_1.pth')
    elsewhere = tmp_path / 'elsewhere'
    elsewhere.mkdir()
    shutil.move(tmp_path / 'epoch_1.pth', elsewhere)
    with pytest.raises(FileError, match=r'names /another/machine/epoch_1.pth, which is gone'):
        resume_point(tmp_path, 'auto')
    (tmp_path / 'last_checkpoint').write_text(str(elsewhere / 'epoch_1.pth'))
    assert resume_point(tmp_path, 'auto') == str(elsewhere / 'epoch_1.pth')
    (tmp_path / 'last_checkpoint').write_text('s3://bucket/epoch_1.pth')
    assert resume_point(tmp_path, 'auto') == 's3://bucket/epoch_1.pth'
    with pytest.raises(FileError, match='checkpoint none.pth does not exist'):
        resume_point(tmp_path, 'none.pth')


def test_a_validation_that_was_cut_off_is_done_again(tmp_path):
    """Else its score, perhaps the best, would be missing: mmengine goes on with the next epoch."""
    config = write_config(tmp_path, 3)
    train(config, tmp_path / 'whole')
    train(config, tmp_path / 'run', '--cfg-options', 'train_cfg.max_epochs=2')
    (tmp_path / 'run/last_validation').write_text('1')
    (tmp_path / 'run/epoch_2.pth.part').write_bytes(b'half')
    output = train(config, tmp_path / 'run', '--resume')
    assert 'once more' in output and not list((tmp_path / 'run').glob('*.part'))
    assert same_weights(tmp_path / 'run/epoch_3.pth', tmp_path / 'whole/epoch_3.pth')
    scores = [read_curves(tmp_path / name)['tiny/score'] for name in ('run', 'whole')]
    assert scores[0] == scores[1]


def test_a_checkpoint_that_cannot_be_named_is_one_line(tmp_path):
    (tmp_path / 'run/last_checkpoint').mkdir(parents=True)
    line = line_of(train(write_config(tmp_path), tmp_path / 'run', '--resume', expect=1))
    assert 'last_checkpoint in' in line and 'cannot be written' in line
    assert (tmp_path / 'run/epoch_1.pth').is_file()


@pytest.mark.parametrize(
    'more',
    [
        'optim_wrapper.update(accumulative_counts=3)',
        'train_cfg.update(val_interval=2)\ndefault_hooks["checkpoint"].update(interval=2)',
        'custom_hooks = [dict(type="EMAHook")]',
        'optim_wrapper.update(clip_grad=dict(max_norm=0.1))',
        'train_dataloader.update(num_workers=1)',
    ],
)
def test_the_same_weights_after_resuming(more, tmp_path):
    """Stopped after 2 of 4 epochs; gradients that wait for those of other batches are taken up too."""
    config = write_config(tmp_path / 'c', 4)
    keep = 'default_hooks["checkpoint"].update(max_keep_ckpts=-1)'
    config.write_text(f'{config.read_text()}\n{keep}\n{more}\n')
    train(config, tmp_path / 'whole')
    work_dir = tmp_path / 'run'
    shutil.copytree(tmp_path / 'whole', work_dir)
    for name in ('epoch_3.pth', 'epoch_4.pth'):
        (work_dir / name).unlink(missing_ok=True)
    (work_dir / 'last_checkpoint').write_text('epoch_2.pth')
    output = train(config, work_dir, '--resume')
    assert 'resumed epoch: 2' in output
    assert same_weights(tmp_path / 'whole/epoch_4.pth', work_dir / 'epoch_4.pth')


def test_a_rate_without_a_schedule(tmp_path):
    """What the config's is over the old one's counts, also without anything that steps."""
    for name, rate in (('first', 0.01), ('second', 0.001)):
        path = write_config(tmp_path / name, 2 if name == 'first' else 3, rate=rate)
        path.write_text(path.read_text() + '\nparam_scheduler = []\n')
        output = train(path, tmp_path / 'run', *['--resume'] * (name == 'second'))
    assert 'the learning rate goes on from 0.001 (the old one was at 0.01)' in output
    assert rates(tmp_path / 'run')[-1] == pytest.approx(0.001)


def test_epochs_of_another_length(tmp_path):
    """The schedule counts by the iterations that an epoch has now."""
    whole = ('--cfg-options', 'train_dataloader.batch_size=4')
    steps = (
        'param_scheduler = [dict(type="CosineAnnealingLR", T_max=4, by_epoch=True, '
        'convert_to_iter_based=True)]'
    )
    config = write_config(tmp_path / 'c', 4)
    config.write_text(f'{config.read_text()}\n{steps}\n')
    train(config, tmp_path / 'whole', *whole)
    train(config, tmp_path / 'run', '--cfg-options', 'train_cfg.max_epochs=2')
    train(config, tmp_path / 'run', '--resume', *whole)
    assert rates(tmp_path / 'run')[-4:] == rates(tmp_path / 'whole')[-4:]


def test_several_optimizers(tmp_path):
    """Each by its own schedule."""
    text = (
        'optim_wrapper = dict(_delete_=True, constructor="TwoOptimizers")\n'
        'param_scheduler = dict(a=[dict(type="PolyLR", by_epoch=True, begin=0, end={n})], '
        'b=[dict(type="PolyLR", by_epoch=True, begin=0, end={n}, power=2)])\n'
    )
    for folder, epochs, options in (
        ('whole', 6, ()),
        ('run', 2, ()),
        ('run', 6, ('--resume',)),
    ):
        config = write_config(tmp_path / f'{folder}{epochs}', epochs)
        config.write_text(config.read_text() + text.format(n=epochs))
        train(config, tmp_path / folder, *options)
    logged = [read_curves(tmp_path / name) for name in ('whole', 'run')]
    for name in ('a.lr', 'b.lr'):
        found = [[round(v, 12) for _, v in curves[name]] for curves in logged]
        assert found[0][8:] == found[1][8:] and len(set(found[0])) > 2


def test_a_shared_folder_of_checkpoints(tmp_path):
    """Two runs of the same name would replace each other's."""
    config, big = write_config(tmp_path / 'c', 2), tmp_path / 'big'
    keep = ('--cfg-options', f'default_hooks.checkpoint.out_dir={big}')
    train(config, tmp_path / 'a/run', *keep)
    assert (big / 'run/epoch_2.pth').is_file()
    line = line_of(train(config, tmp_path / 'b/run', *keep, expect=1))
    assert f'{big}/run holds a run already' in line
    train(config, tmp_path / 'b/run', '--fresh', *keep)
    assert (big / 'run-2/epoch_2.pth').is_file()


def test_the_users_own_config_is_not_replaced(tmp_path):
    config = write_config(tmp_path / 'mine')
    text = config.read_text()
    line = line_of(train(config, tmp_path / 'mine', expect=1))
    assert 'would replace; name another folder' in line and config.read_text() == text


def test_a_link_to_the_config_of_a_run(tmp_path):
    """It means the run itself."""
    train(write_config(tmp_path / 'c', 2), tmp_path / 'run')
    (tmp_path / 'links').mkdir()
    (tmp_path / 'links/again.py').symlink_to(tmp_path / 'run/toy_run.py')
    call_tool('train.py', tmp_path / 'links/again.py', '--resume', '--epochs', 3)
    assert (tmp_path / 'run/epoch_3.pth').is_file()
    assert [p.name for p in (tmp_path / 'links').iterdir()] == ['again.py']


@pytest.mark.parametrize('named', [b'\xff\xfe\x00', b'a' * 5000, b'\x00'])
def test_a_last_checkpoint_that_names_nothing(named, tmp_path):
    (tmp_path / 'last_checkpoint').write_bytes(named)
    with pytest.raises(FileError, match='last_checkpoint cannot be read .*newest whole checkpoint'):
        resume_point(tmp_path, 'auto')


def test_a_full_disk_is_one_line(tmp_path):
    """Also where it is the log or a mark that cannot be written."""
    (tmp_path / 'run').mkdir()
    (tmp_path / 'run/last_validation').symlink_to('/dev/full')
    line = line_of(train(write_config(tmp_path), tmp_path / 'run', expect=1))
    assert 'no room is left on the disk' in line


def test_a_start_from_a_file_is_remembered(tmp_path):
    """Precision depends on it: the run did not begin with random weights."""
    cfg = Config(
        dict(work_dir=str(tmp_path), model=dict(backbone=dict(type='FasterViT', init_cfg=1)))
    )
    torch.save(dict(a=1), tmp_path / 'epoch_1.pth')
    assert settle_start(cfg, 'auto', fresh=False, warm=True) == str(tmp_path / 'epoch_1.pth')
    assert cfg.load_from == str(tmp_path / 'data/start.pth') and not starts_from_random_weights(cfg)
    assert cfg.model.backbone.init_cfg is None


def test_two_trainings_do_not_share_a_folder(tmp_path):
    """Also where both go on with the same run; the one that is killed gives the folder back."""
    config, work_dir = write_config(tmp_path), tmp_path / 'run'
    code = (
        'import sys, time; from pathlib import Path; from fastervit_mm.config.run_folder import claimed\n'
        'with claimed(Path(sys.argv[1])): print("claimed", flush=True); time.sleep(600)'
    )
    other = subprocess.Popen([sys.executable, '-c', code, work_dir], stdout=-1, cwd=ROOT)
    try:
        assert other.stdout.readline() == b'claimed\n'
        line = line_of(train(config, work_dir, '--resume', expect=1))
        assert f'another process is training in {work_dir} now' in line and '--fresh' in line
        assert f'this one goes to {work_dir}-2' in train(config, work_dir, '--fresh')
    finally:
        other.kill()
        other.wait()
    train(config, work_dir, '--resume')
    assert (work_dir / 'epoch_3.pth').is_file()


def test_the_config_of_a_run_is_the_one_that_it_names(tmp_path):
    """One that was resumed by a config of another name holds two."""
    train(write_config(tmp_path, 1), tmp_path / 'run')
    train(write_config(tmp_path, 2, name='longer.py'), tmp_path / 'run', '--resume')
    assert find_config(tmp_path / 'run') == tmp_path / 'run/longer.py'
    (tmp_path / 'run/run.json').unlink()
    with pytest.raises(FileError, match='holds 2 configs'):
        find_config(tmp_path / 'run')


def described(folder):
    """The files that say what a run is."""
    files = {p: was for p, was in content(folder).items() if len(p.parts) < 3}
    return {p: was for p, was in files.items() if p.suffix in ('.py', '.json')}


@pytest.mark.parametrize('ends', ['raise KeyboardInterrupt', 'raise RuntimeError("memory")'])
def test_whatever_ends_it_before_it_goes_on_leaves_the_files(ends, tmp_path, monkeypatch):
    """Also with the labels on another disk, and the rest of data nobody's but the user's."""
    work_dir, other = tmp_path / 'run', Path(tempfile.mkdtemp(dir='/dev/shm'))
    try:
        train(write_config(tmp_path / 'c', 2), work_dir)
        (work_dir / 'data').symlink_to(other)
        (other / 'written_by_train.txt').touch()
        (other / 'train.json').write_text('labels of the run')
        before = described(work_dir)
        config = write_config(tmp_path / 'd', 3, classes=('x', 'y'))
        assert 'goes on with its own' in line_of(train(config, work_dir, '--resume', expect=1))
        assert (other / 'train.json').read_text() == 'labels of the run'
        assert before == described(work_dir)
        monkeypatch.setattr(ResumableCheckpointHook, 'after_load_checkpoint', _ending(ends))
        with pytest.raises((KeyboardInterrupt, RuntimeError, AssertionError)):
            train(config, work_dir, '--resume')
        assert before == described(work_dir)
        assert not (work_dir / '.before').exists()
    finally:
        shutil.rmtree(other)


def _ending(how):
    def end(self, runner, checkpoint):
        exec(how)

    return end


def test_what_a_kill_leaves_is_put_back(tmp_path):
    train(write_config(tmp_path / 'c', 2), tmp_path / 'run')
    before = (tmp_path / 'run/toy_run.py').read_text()
    code = (
        'import os, signal; from pathlib import Path; from fastervit_mm.config.run_folder import *\n'
        f'with unchanged_if_refused(Path({str(tmp_path / "run")!r}), "toy_run.py", lambda: False):\n'
        f'    config = Path({str(tmp_path / "run/toy_run.py")!r})\n'
        '    note_written(config, "another")\n'
        '    config.write_text("another")\n'
        '    os.kill(os.getpid(), signal.SIGKILL)'
    )
    subprocess.run([sys.executable, '-c', code], cwd=ROOT)
    assert (tmp_path / 'run/toy_run.py').read_text() == 'another'
    other = write_config(tmp_path / 'd', 3, classes=('x', 'y'))
    train(other, tmp_path / 'run', '--resume', expect=1)
    assert (tmp_path / 'run/toy_run.py').read_text() == before


@pytest.mark.parametrize(
    'left, words',
    [
        (['best_tiny_score_epoch_1.pth'], 'holds checkpoints, but none that can be resumed'),
        (['last_checkpoint'], 'holds checkpoints, but none that can be resumed'),
    ],
)
def test_a_run_does_not_start_over_its_own_remains(left, words, tmp_path):
    for name in left:
        (tmp_path / 'run').mkdir(exist_ok=True)
        (tmp_path / 'run' / name).touch()
    assert words in line_of(train(write_config(tmp_path), tmp_path / 'run', '--resume', expect=1))


@pytest.mark.parametrize('named', ['{}', ''])
def test_checkpoints_elsewhere_and_by_other_names(named, tmp_path):
    """A torn one, or an empty mark, makes the one before count there too."""
    config, big = write_config(tmp_path / 'c', 3), tmp_path / 'big'
    more = f'default_hooks["checkpoint"].update(out_dir="{big}", filename_tmpl="model_{{}}.pth")'
    config.write_text(f'{config.read_text()}\n{more}\n')
    train(config, tmp_path / 'run')
    torn = big / 'run/model_3.pth'
    torn.write_bytes(torn.read_bytes()[:500])
    (tmp_path / 'run/last_checkpoint').write_text(named.format(torn))
    output = train(config, tmp_path / 'run', '--resume')
    assert 'resumed epoch: 2' in output and (f'{torn} is torn' in output) == bool(named)


def test_a_run_that_moved_its_checkpoints_goes_on_from_the_last(tmp_path):
    train(write_config(tmp_path / 'c', 2), tmp_path / 'run')
    keep = ('--cfg-options', f'default_hooks.checkpoint.out_dir={tmp_path / "big"}')
    train(write_config(tmp_path / 'd', 3), tmp_path / 'run', '--resume', *keep)
    for options in (keep, ()):
        config = write_config(tmp_path / 'e', 4 if options else 5)
        output = train(config, tmp_path / 'run', '--resume', *options)
        assert f'resumed epoch: {3 if options else 4}' in output


def resumed_rates(tmp_path, first, then, options=()):
    """Learning rates of a run whose schedule was another one for its first two epochs."""
    for epochs, schedule in ((2, first), (6, then)):
        config = write_config(tmp_path / f'c{epochs}', epochs)
        config.write_text(f'{config.read_text()}\n{schedule}\n')
        output = train(config, tmp_path / 'run', *['--resume'] * (epochs == 6), *options)
    return rates(tmp_path / 'run')[8:], output


def test_a_schedule_that_is_added(tmp_path):
    found, output = resumed_rates(tmp_path, 'param_scheduler = []', '')
    train(write_config(tmp_path / 'whole', 6), tmp_path / 'other')
    assert found == rates(tmp_path / 'other')[8:] and 'the schedule is another' in output


@pytest.mark.parametrize('then', ['param_scheduler = []', 'param_scheduler = None'])
def test_a_schedule_that_is_taken_away(then, tmp_path):
    found, output = resumed_rates(tmp_path, '', then)
    assert set(found) == {0.01} and 'goes on from 0.01 (the old one was at 0.001)' in output


def test_another_kind_of_optimizer_is_one_line(tmp_path):
    train(write_config(tmp_path / 'c', 1), tmp_path / 'run')
    before = described(tmp_path / 'run')
    options = ('--resume', '--cfg-options', 'optim_wrapper.optimizer.type=SGD')
    line = line_of(train(write_config(tmp_path / 'd', 2), tmp_path / 'run', *options, expect=1))
    assert 'optimizer is of another kind' in line
    assert {p: described(tmp_path / 'run')[p] for p in before} == before


def test_damage_anywhere_makes_a_checkpoint_torn(tmp_path):
    """Every byte of its table of contents, and some others: never an exception."""
    path = tmp_path / 'epoch_1.pth'
    torch.save(dict(a=torch.ones(10)), path)
    whole = path.read_bytes()
    assert is_whole(path)
    table = whole.index(b'PK\x01\x02')
    for place in [*range(table, len(whole)), *range(0, table, 7)]:
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 255]) + whole[place + 1 :])
        if is_whole(path):  # a byte that nobody reads
            assert load_file(path)['a'].tolist() == [1] * 10


def test_intervals_that_change(tmp_path):
    """Whether a validation was due follows them."""
    config = write_config(tmp_path / 'c', 5)
    more = 'train_cfg.update(val_interval=3, dynamic_intervals=[(4, 1)])'
    config.write_text(f'{config.read_text()}\n{more}\n')
    train(config, tmp_path / 'run')
    (tmp_path / 'run/last_validation').unlink()
    (tmp_path / 'run/last_checkpoint').write_text('epoch_4.pth')
    assert 'once more' in train(config, tmp_path / 'run', '--resume')


def test_a_mark_of_a_later_validation_does_not_count(tmp_path):
    config = write_config(tmp_path / 'c', 2)
    train(config, tmp_path / 'run')
    (tmp_path / 'run/last_validation').write_text('9')
    train(write_config(tmp_path / 'd', 2), tmp_path / 'run', '--resume')
    assert (tmp_path / 'run/last_validation').read_text() == '2'


def test_another_file_of_the_configs_name_stays(tmp_path):
    config, work_dir = write_config(tmp_path / 'c', 1), tmp_path / 'mine'
    work_dir.mkdir()
    (work_dir / 'toy_run.py').write_text("# the user's")
    assert 'holds a file toy_run.py' in line_of(train(config, work_dir, expect=1))
    (work_dir / 'toy_run.py').rename(work_dir / 'own.py')
    train(config, work_dir)
    other = write_config(tmp_path / 'd', 2, name='own.py')
    assert 'holds a file own.py' in line_of(train(other, work_dir, '--resume', expect=1))
    assert (work_dir / 'own.py').read_text() == "# the user's"


def test_a_rate_that_follows_metrics_stays_where_it_is(tmp_path):
    """What such a schedule has counted is no change of it."""
    plateau = (
        'param_scheduler = [dict(type="ReduceOnPlateauLR", monitor="tiny/score", rule="greater", '
        'factor=0.1, patience=0, threshold=10., threshold_rule="abs")]'
    )
    config = write_config(tmp_path / 'c', 5)
    config.write_text(f'{config.read_text()}\n{plateau}\n')
    train(config, tmp_path / 'whole')
    shutil.copytree(tmp_path / 'whole', tmp_path / 'run')
    (tmp_path / 'run/epoch_5.pth').unlink()
    (tmp_path / 'run/last_checkpoint').write_text('epoch_4.pth')
    output = train(config, tmp_path / 'run', '--resume')
    assert 'the schedule is another' not in output
    assert same_weights(tmp_path / 'whole/epoch_5.pth', tmp_path / 'run/epoch_5.pth')
    assert rates(tmp_path / 'whole')[-1] < 0.001


def test_a_copy_that_is_half_removed_is_not_believed(tmp_path, monkeypatch):
    train(write_config(tmp_path / 'c', 2), tmp_path / 'run')
    before = described(tmp_path / 'run')
    monkeypatch.setattr(shutil, 'rmtree', lambda *_, **__: None)  # a kill comes first
    train(write_config(tmp_path / 'c', 3), tmp_path / 'run', '--resume')
    monkeypatch.undo()
    (tmp_path / 'run/.before/run.json').unlink()
    train(write_config(tmp_path / 'c', 3, width=9), tmp_path / 'run', '--resume', expect=1)
    assert described(tmp_path / 'run').keys() == before.keys()


def test_a_checkpoint_of_an_older_torch(tmp_path):
    """Its optimizer lacks settings that newer torch fills in."""
    config = write_config(tmp_path / 'c', 2)
    train(config, tmp_path / 'run')
    path = tmp_path / 'run/epoch_1.pth'
    checkpoint = torch.load(path, weights_only=False)
    for group in checkpoint['optimizer']['param_groups']:
        group.pop('decoupled_weight_decay', None)
    torch.save(checkpoint, path)
    train(config, tmp_path / 'other', '--resume', path)
    assert same_weights(tmp_path / 'run/epoch_2.pth', tmp_path / 'other/epoch_2.pth')


def test_a_start_that_was_killed_early_can_be_started_again(tmp_path):
    """Between the writing of the config and that of the record, too."""
    config = write_config(tmp_path / 'c', 1)
    hook = 'custom_hooks = [dict(type="NoSuchHook")]'
    text = config.read_text()
    config.write_text(f'{text}\n{hook}\n')
    train(config, tmp_path / 'run', expect=1)
    (tmp_path / 'run/toy_run.py').write_text('# dumped')
    config.write_text(text)
    train(config, tmp_path / 'run')


def keep_all(config):
    config.write_text(
        config.read_text() + '\ndefault_hooks["checkpoint"].update(max_keep_ckpts=-1)\n'
    )
    return config


STOP_EARLY = """
from mmengine.hooks import Hook
from mmengine.registry import HOOKS

@HOOKS.register_module(force=True)
class StopEarly(Hook):
    def before_train_iter(self, runner, batch_idx, data_batch=None):
        raise KeyboardInterrupt
"""


def stopped_early(config, work_dir, *options):
    """A start that ends after it took up its checkpoint, before it saved one."""
    early = config.parent / 'early' / config.name
    early.parent.mkdir(exist_ok=True)
    (early.parent / 'stop_early.py').write_text(STOP_EARLY)
    hooks = (
        "custom_imports['imports'].append('stop_early')\ncustom_hooks = [dict(type='StopEarly')]"
    )
    early.write_text(f'{config.read_text()}\n{hooks}\n')
    path = str(early.parent)
    sys.path.insert(0, path)
    try:
        return train(early, work_dir, *options, expect=130)
    finally:
        sys.path.remove(path)


def test_a_moved_run_does_not_go_on_from_what_took_its_old_place(tmp_path):
    """Also where its first start after the move ended before it saved anything."""
    config = keep_all(write_config(tmp_path / 'c', 3))
    first, moved = tmp_path / 'run', tmp_path / 'moved'
    train(config, first)
    for path in (first / 'epoch_3.pth', *first.glob('best_*_epoch_3.pth')):
        path.unlink()
    (first / 'last_checkpoint').write_text(str(first / 'epoch_2.pth'))
    shutil.move(first, moved)
    train(write_config(tmp_path / 'd', 3, rate=0.1), first)
    stopped_early(config, moved, '--resume')
    assert (moved / 'last_checkpoint').read_text() == str(moved / 'epoch_2.pth')
    train(config, moved, '--resume')
    train(config, tmp_path / 'whole')
    assert same_weights(moved / 'epoch_3.pth', tmp_path / 'whole/epoch_3.pth')


def test_a_run_that_went_back_does_not_return_to_what_it_left(tmp_path, capsys):
    config = keep_all(write_config(tmp_path / 'c', 4))
    run = tmp_path / 'run'
    train(config, run)
    (run / 'best_tiny_score_epoch_4.pth').write_bytes((run / 'epoch_4.pth').read_bytes())
    lower = keep_all(write_config(tmp_path / 'd', 4, rate=0.001))
    output = stopped_early(lower, run, '--resume', run / 'epoch_1.pth')
    assert 'of a later step than the run goes on from' in output
    assert not list(run.glob('best_*epoch_4.pth')) and list(run.glob('left_best_*epoch_4.pth'))
    assert resume_point(run, 'auto') == str(run / 'epoch_1.pth')
    output = train(lower, run, '--resume', '--epochs', 2)
    assert 'resumed epoch: 1' in output
    (run / 'epoch_2.pth').write_bytes((run / 'epoch_2.pth').read_bytes()[:999])
    capsys.readouterr()
    assert resume_point(run, 'auto') == str(run / 'epoch_1.pth')  # not the third of the other line
    assert 'epoch_2.pth is torn' in capsys.readouterr().out


def keep_before(run):
    """What a start that is killed early leaves beside the files of a run."""
    (run / BEFORE).mkdir()
    for name in ('run.json', 'toy_run.py'):
        shutil.copy(run / name, run / BEFORE)
    (run / BEFORE / COMPLETE).touch()


def test_what_a_start_wrote_that_was_killed_before_it_began_does_not_count(tmp_path):
    """Neither the config that it would have trained with, nor that it was a move."""
    from fastervit_mm.config.reading import read_config

    run = tmp_path / 'run'
    train(write_config(tmp_path / 'c', 2), run)
    keep_before(run)
    config = run / 'toy_run.py'
    started = config.read_text().replace('lr=0.01', 'lr=0.5')
    note_written(config, started)
    config.write_text(started)
    (run / 'run.json').write_text(json.dumps({FOLDER: '/elsewhere'}))
    assert read_config(config).optim_wrapper.optimizer.lr == 0.01
    assert read_record(run)[FOLDER] == str(run)
    call_tool('train.py', config, '--resume', '--epochs', 3)
    assert 'lr=0.01' in config.read_text() and not (run / BEFORE).exists()
    assert rates(run)[-1] == pytest.approx(0.001)


def test_a_moved_run_without_a_whole_checkpoint_takes_none_of_another(tmp_path):
    """Another run has taken its old place; its own one checkpoint is torn."""
    config = write_config(tmp_path / 'c', 2)
    first, moved = tmp_path / 'run', tmp_path / 'moved'
    train(config, first, '--cfg-options', 'default_hooks.checkpoint.max_keep_ckpts=1')
    shutil.move(first, moved)
    train(write_config(tmp_path / 'd', 2, rate=0.1), first)
    last = moved / 'epoch_2.pth'
    last.write_bytes(last.read_bytes()[:999])
    line = line_of(train(config, moved, '--resume', '--epochs', 3, expect=1))
    assert f'{last} is torn' in line and 'no other checkpoint' in line
    last.unlink()
    line = line_of(train(config, moved, '--resume', '--epochs', 3, expect=1))
    assert 'which is gone, and there is no other' in line


def test_an_edit_after_a_start_that_was_killed_early_counts(tmp_path):
    """Such as a smaller batch, after memory ran out."""
    from fastervit_mm.config.reading import read_config

    run = tmp_path / 'run'
    train(write_config(tmp_path / 'c', 2), run)
    config = run / 'toy_run.py'
    keep_before(run)
    started = config.read_text().replace('lr=0.01', 'lr=0.5')
    note_written(config, started)
    assert read_config(config).optim_wrapper.optimizer.lr == 0.01  # not written yet
    config.write_text(started)
    assert read_config(config).optim_wrapper.optimizer.lr == 0.01
    config.write_text(started.replace('lr=0.5', 'lr=0.002'))
    assert read_config(config).optim_wrapper.optimizer.lr == 0.002
    call_tool('train.py', config, '--resume', '--epochs', 3)
    assert 'lr=0.002' in config.read_text() and not (run / BEFORE).exists()
    assert rates(run)[-1] == pytest.approx(0.0002)


@pytest.mark.parametrize('template', ['epoch_{}.pth', 'model_{}.pth'])
def test_a_run_that_went_back_finds_its_own_best_again(template, tmp_path):
    config = keep_all(write_config(tmp_path / 'c', 3))
    name = f'default_hooks["checkpoint"].update(filename_tmpl={template!r})'
    config.write_text(f'{config.read_text()}\n{name}\n')
    run = tmp_path / 'run'
    train(config, run)
    for best in run.glob('best_*.pth'):  # as if the second epoch had been the best
        best.rename(run / f'best_tiny_score_{template.format(2)}')
    (run / f'best_tiny_score_{template.format(1)}').unlink(missing_ok=True)
    output = train(config, run, '--resume', run / template.format(1))
    assert 'the next validation gives a new best' in output
    left = run / f'left_best_tiny_score_{template.format(2)}'
    assert left.is_file() and f'is {left.name} now' in output
    (best,) = run.glob('best_*.pth')
    assert find_checkpoint(run) == best


def test_a_run_with_another_hook_for_checkpoints_begins_too(tmp_path):
    """Once it has taken up its checkpoint, what was before is not read any more."""
    config = write_config(tmp_path / 'c', 2)
    plain = "default_hooks['checkpoint'] = dict(_delete_=True, type='CheckpointHook', interval=1)"
    config.write_text(f'{config.read_text()}\n{plain}\n')
    run = tmp_path / 'run'
    train(config, run)
    (tmp_path / 'look.py').write_text(
        'from pathlib import Path\nfrom mmengine.hooks import Hook\nfrom mmengine.registry import HOOKS\n'
        '@HOOKS.register_module(force=True)\nclass Look(Hook):\n'
        '    def before_train(self, runner):\n'
        "        there = str(Path(runner.work_dir, '.before').exists())\n"
        f'        Path({str(tmp_path / "seen")!r}).write_text(there)\n'
    )
    hooks = "custom_imports['imports'].append('look')\ncustom_hooks = [dict(type='Look')]"
    config.write_text(f'{config.read_text()}\n{hooks}\n')
    sys.path.insert(0, str(tmp_path))
    try:
        train(config, run, '--resume', '--epochs', 3)
    finally:
        sys.path.remove(str(tmp_path))
    assert (tmp_path / 'seen').read_text() == 'False' and not (run / BEFORE).exists()
