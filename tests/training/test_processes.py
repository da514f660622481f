"""Starting the processes of a launcher, and what one of them does alone."""

from datetime import timedelta

import pytest
import torch
from mmengine.config import Config

from fastervit_mm.errors import ArgumentError, UserError
from fastervit_mm.training import processes
from fastervit_mm.training.processes import (
    check_same_everywhere,
    end_all,
    end_processes,
    has_accelerator,
    in_main_process,
    lost_process_named,
    say,
    start_processes,
)
from fastervit_mm.training.schedule import fit_schedule


@pytest.fixture
def started(monkeypatch):
    """What was called to start processes, in order."""
    calls = []

    def note(name):
        return lambda *args, **options: calls.append((name, *args, options))

    monkeypatch.setattr(processes, 'set_multi_processing', note('settings'))
    monkeypatch.setattr(processes, 'init_dist', note('mmengine'))
    monkeypatch.setattr('torch.distributed.init_process_group', note('torch'))
    return calls


def on(device, monkeypatch):
    monkeypatch.setattr(processes, 'get_device', lambda: device)


def a_config(launcher, **more):
    env = dict(mp_cfg=dict(mp_start_method='fork'), dist_cfg=dict(backend='nccl', timeout=60))
    return Config(dict(launcher=launcher, env_cfg=env, **more))


@pytest.mark.parametrize(
    'device, known', [('cuda', True), ('npu', True), ('mlu', True), ('musa', True), ('cpu', False)]
)
def test_accelerators(device, known, monkeypatch):
    on(device, monkeypatch)
    assert has_accelerator() is known


@pytest.mark.parametrize('launcher', ['pytorch', 'slurm', 'mpi'])
def test_every_launcher_is_started_as_the_runner_would(launcher, started, monkeypatch):
    """The start method of workers first: mmengine's start would choose another one."""
    on('cuda', monkeypatch)
    start_processes(a_config(launcher))
    assert started == [
        ('settings', dict(mp_start_method='fork', distributed=True)),
        ('mmengine', launcher, dict(backend='nccl', timeout=60)),
    ]


def test_settings_may_be_missing(started, monkeypatch):
    on('cuda', monkeypatch)
    start_processes(Config(dict(launcher='slurm')))
    assert started == [
        ('settings', dict(distributed=True)),
        ('mmengine', 'slurm', dict(timeout=1800)),
    ]


def test_deepspeed_is_told_of_the_start(started, monkeypatch):
    on('cuda', monkeypatch)
    start_processes(a_config('pytorch', strategy=dict(type='DeepSpeedStrategy')))
    options = dict(backend='nccl', timeout=60, init_backend='deepspeed')
    assert started[-1] == ('mmengine', 'pytorch', options)
    start_processes(a_config('pytorch', strategy=dict(type='DDPStrategy')))
    assert 'init_backend' not in started[-1][-1]


def test_cpus_meet_by_gloo(started, monkeypatch):
    """The start of mmengine would select a CUDA device."""
    on('cpu', monkeypatch)
    start_processes(a_config('pytorch'))
    minute, half_an_hour = timedelta(minutes=1), timedelta(minutes=30)
    assert started[-1] == ('torch', dict(backend='gloo', timeout=minute)) and len(started) == 2
    start_processes(Config(dict(launcher='pytorch')))
    assert started[-1] == ('torch', dict(backend='gloo', timeout=half_an_hour))


@pytest.mark.parametrize('launcher', ['slurm', 'mpi'])
def test_other_launchers_need_accelerators(launcher, started, monkeypatch):
    on('cpu', monkeypatch)
    with pytest.raises(ArgumentError) as caught:
        start_processes(a_config(launcher))
    assert str(caught.value) == (
        f'--launcher {launcher} needs accelerators; on CPUs use --launcher pytorch (torchrun)'
    )


def test_one_process_and_a_started_run_stay(started, monkeypatch):
    on('cuda', monkeypatch)
    start_processes(a_config('none'))
    start_processes(Config({}))
    monkeypatch.setattr(processes, 'is_distributed', lambda: True)
    start_processes(a_config('slurm'))
    assert started == []


def test_ranks_of_the_environment_are_not_believed(monkeypatch, capsys):
    """A launcher may set them for another purpose, or not yet."""
    monkeypatch.setenv('RANK', '3')
    monkeypatch.setenv('WORLD_SIZE', '4')
    say('spoken')
    assert capsys.readouterr().out == 'spoken\n'
    cfg = Config(
        dict(
            train_dataloader=dict(batch_size=2),
            train_cfg=dict(max_epochs=1),
            param_scheduler=[],
            default_hooks={},
        )
    )
    assert fit_schedule(cfg, images=20, epochs=3, iters=None) == 30
    monkeypatch.setattr('fastervit_mm.training.schedule.get_world_size', lambda: 4)
    assert fit_schedule(cfg, images=20, epochs=3, iters=None) == 9


def test_other_processes_are_silent(monkeypatch, capsys):
    monkeypatch.setattr(processes, 'is_main_process', lambda: False)
    say('spoken')
    assert capsys.readouterr().out == ''


def test_alone_there_is_nobody_to_wait_for():
    assert in_main_process(lambda: 5) == 5
    with pytest.raises(KeyError):
        in_main_process(lambda: {}['missing'])
    end_processes()


def test_processes_of_torchrun_need_its_launcher(started, monkeypatch):
    """They would not know of each other; the first one says it, the others leave."""
    monkeypatch.setattr('time.sleep', lambda seconds: None)
    for name, value in dict(TORCHELASTIC_RUN_ID='a', WORLD_SIZE='2', RANK='0').items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ArgumentError, match='torchrun has started 2 processes') as caught:
        start_processes(a_config('none'))
    assert str(caught.value).endswith('; add --launcher pytorch')
    monkeypatch.setenv('RANK', '1')
    with pytest.raises(SystemExit) as left:
        start_processes(a_config('none'))
    assert left.value.code == 1
    monkeypatch.setenv('WORLD_SIZE', '1')
    start_processes(a_config('none'))
    monkeypatch.setenv('WORLD_SIZE', '2')
    monkeypatch.delenv('TORCHELASTIC_RUN_ID')
    start_processes(a_config('none'))
    assert started == []


@pytest.mark.parametrize(
    'error',
    [
        RuntimeError('[/a/gloo/transport/tcp/pair.cc:1] Connection closed by peer\nmore'),
        torch.distributed.DistBackendError('NCCL error: remote process exited'),
    ],
)
def test_a_lost_process_is_one_line(error, monkeypatch):
    monkeypatch.setattr('time.sleep', lambda seconds: None)
    with pytest.raises(UserError) as caught, lost_process_named():
        raise error
    text = str(caught.value)
    assert str(error).splitlines()[0] in text and '\n' not in text and '--resume' in text


@pytest.mark.parametrize('error', [RuntimeError('a defect'), KeyError('gloo/transport')])
def test_other_errors_keep_their_page(error):
    with pytest.raises(type(error)) as caught, lost_process_named():
        raise error
    assert caught.value is error


def test_what_all_know_ends_all_with_one_message(monkeypatch):
    monkeypatch.setattr('time.sleep', lambda seconds: None)
    with pytest.raises(ArgumentError, match='a line'):
        end_all(ArgumentError('a line'))
    monkeypatch.setattr(processes, 'is_main_process', lambda: False)
    with pytest.raises(SystemExit):
        end_all(ArgumentError('a line'))


def test_all_must_have_come_to_the_same(monkeypatch):
    check_same_everywhere('it', 5)
    monkeypatch.setattr(processes, 'all_gather_object', lambda value: [value, value, 6])
    with pytest.raises(
        ArgumentError, match='it is 5 in process 0 and 6 in process 2; without a disk'
    ):
        check_same_everywhere('it', 5)
