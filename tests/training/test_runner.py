"""What a run on CPUs changes in its config, and which runner it is."""

import importlib

import pytest
import torch
from mmengine.config import Config
from mmengine.model import BaseModule
from mmengine.registry import DefaultScope
from mmengine.runner import Runner

from fastervit_mm.config.host import build_model
from fastervit_mm.errors import ArgumentError
from fastervit_mm.training import processes
from fastervit_mm.training.processes import start_processes
from fastervit_mm.training.runner import build_runner, fit_strategy, fit_to_device
from tests.training.toys import NotingRunner, registered


@pytest.fixture(autouse=True)
def one_process_on_a_cpu(monkeypatch):
    monkeypatch.setattr(processes, 'get_device', lambda: 'cpu')


@pytest.fixture
def started(monkeypatch):
    """The backends by which processes were connected."""
    backends = []
    monkeypatch.setattr(
        'torch.distributed.init_process_group', lambda backend, timeout: backends.append(backend)
    )
    # which sets the start method and thread counts of this whole process
    monkeypatch.setattr(processes, 'set_multi_processing', lambda **_: None)
    return backends


def a_config(**more):
    content = dict(
        sync_bn='torch',
        optim_wrapper=dict(
            type='AmpOptimWrapper',
            loss_scale='dynamic',
            dtype='bfloat16',
            use_fsdp=False,
            clip_grad=dict(max_norm=1),
        ),
        default_hooks=dict(timer=dict(type='IterTimerHook')),
        env_cfg=dict(cudnn_benchmark=False, dist_cfg=dict(backend='nccl')),
    )
    return Config({**content, **more})


@pytest.mark.parametrize('device', ['cuda', 'npu', 'mlu', 'musa'])
def test_an_accelerator_changes_nothing(device, monkeypatch, started, capsys):
    monkeypatch.setattr(processes, 'get_device', lambda: device)
    cfg = a_config(launcher='slurm')
    fit_to_device(cfg)
    assert cfg.to_dict() == a_config(launcher='slurm').to_dict()
    assert started == [] and capsys.readouterr().out == ''


@pytest.mark.parametrize('device', ['cpu', 'mps'])
def test_mixed_precision_becomes_fp32_and_says_so(device, monkeypatch, started, capsys):
    monkeypatch.setattr(processes, 'get_device', lambda: device)
    cfg = a_config()
    fit_to_device(cfg)
    expected = a_config(optim_wrapper=dict(type='OptimWrapper', clip_grad=dict(max_norm=1)))
    assert cfg.to_dict() == expected.to_dict()
    said = 'warning: no accelerator here: training in fp32 instead of mixed precision\n'
    assert capsys.readouterr().out == said
    fit_to_device(cfg)
    assert capsys.readouterr().out == '' and cfg.to_dict() == expected.to_dict()
    assert started == []


@pytest.mark.parametrize('wrapper', [dict(type='OptimWrapper', dtype='x'), dict(dtype='x'), None])
def test_full_precision_stays_as_it_is(wrapper, capsys):
    cfg = a_config(optim_wrapper=wrapper, launcher='none')
    fit_to_device(cfg)
    assert cfg.to_dict() == a_config(optim_wrapper=wrapper, launcher='none').to_dict()
    assert capsys.readouterr().out == ''
    fit_to_device(Config({}))  # a config for testing alone


@pytest.mark.parametrize('unused', [None, True])
def test_several_processes_on_cpus(unused, started):
    more = {} if unused is None else dict(find_unused_parameters=unused)
    cfg = a_config(launcher='pytorch', **more)
    start_processes(cfg)
    fit_to_device(cfg)
    assert cfg.sync_bn is None
    assert cfg.model_wrapper_cfg == dict(
        type='MMDistributedDataParallel',
        device_ids=None,
        broadcast_buffers=False,
        find_unused_parameters=bool(unused),
    )
    assert cfg.default_hooks == dict(
        timer=dict(type='IterTimerHook'), sync_buffers=dict(type='SyncBuffersHook')
    )
    assert cfg.env_cfg == dict(cudnn_benchmark=False, dist_cfg=dict(backend='gloo'))
    assert started == ['gloo']


def test_a_flexible_runner_stays_on_the_cpu(started, capsys):
    """Its DDP would take the GPU of its rank; one process has nothing to share out."""
    flexible = dict(runner_type='FlexibleRunner')
    cfg = a_config(launcher='pytorch', **flexible)
    fit_to_device(cfg)
    fit_strategy(cfg)
    assert cfg.strategy == dict(type='DDPStrategy', model_wrapper=cfg.model_wrapper_cfg)
    sharded = dict(type='fastervit_mm.BlockFSDPStrategy')
    cfg = a_config(launcher='pytorch', **flexible, strategy=sharded)
    fit_strategy(cfg)
    assert cfg.strategy == sharded
    cfg.launcher = 'none'
    fit_strategy(cfg)
    assert 'runner_type' not in cfg and 'strategy' not in cfg
    assert 'with one process, it is left out' in capsys.readouterr().out
    cfg = a_config(launcher='none', **flexible)
    fit_strategy(cfg)
    assert cfg.runner_type == 'FlexibleRunner'


def test_processes_are_connected_once(started, monkeypatch):
    monkeypatch.setattr(processes, 'is_distributed', lambda: True)
    start_processes(a_config(launcher='pytorch'))
    assert started == []


@pytest.mark.parametrize('launcher', ['slurm', 'mpi'])
def test_other_launchers_need_accelerators(launcher, started):
    message = f'^--launcher {launcher} needs accelerators; on CPUs use --launcher pytorch'
    with pytest.raises(ArgumentError, match=message):
        build_runner(a_config(launcher=launcher))
    assert started == []


def test_processes_are_connected_before_the_runner_is_built(started, monkeypatch, tmp_path):
    monkeypatch.setattr(Runner, 'from_cfg', lambda cfg: (started.copy(), cfg.env_cfg.dist_cfg))
    cfg = a_config(launcher='pytorch', work_dir=str(tmp_path))
    assert build_runner(cfg) == (['gloo'], dict(backend='gloo'))


def test_the_runner_is_the_one_that_the_config_names(monkeypatch, tmp_path):
    with registered():
        runner = build_runner(a_config(runner_type='NotingRunner', work_dir=str(tmp_path)))
    assert isinstance(runner, NotingRunner) and runner.asked == []
    assert runner.cfg.optim_wrapper.type == 'OptimWrapper'  # fitted to the device
    monkeypatch.setattr(Runner, 'from_cfg', lambda cfg: ('plain', cfg.optim_wrapper.type))
    assert build_runner(a_config(work_dir=str(tmp_path))) == ('plain', 'OptimWrapper')


@pytest.mark.parametrize('scope', ['mmdet', 'mmseg'])
def test_runners_and_optimizers_of_the_host_library(scope, tmp_path):
    """Registered as its guides say; another of the same library is still refused."""
    registries = importlib.import_module(f'{scope}.registry')
    kinds = {registries.RUNNERS: NotingRunner, registries.OPTIMIZERS: torch.optim.SGD}
    for registry, kind in kinds.items():
        registry.register_module(name='OfTheHost', module=kind)
    cfg = a_config(runner_type='OfTheHost', default_scope=scope, work_dir=str(tmp_path))
    cfg.optim_wrapper.optimizer = dict(type='OfTheHost', lr=0.1)
    try:
        assert isinstance(build_runner(cfg), NotingRunner)
        cfg.optim_wrapper.optimizer.type = 'NoneOfIt'
        with pytest.raises(ArgumentError, match='NoneOfIt is not in the optimizer registry'):
            build_runner(cfg)
    finally:
        for registry in kinds:
            registry.module_dict.pop('OfTheHost')


def test_a_test_asks_for_no_optimizer(tmp_path):
    """That of the training need not be installed where its checkpoint is tested."""
    cfg = a_config(runner_type='NotingRunner', work_dir=str(tmp_path))
    cfg.optim_wrapper.optimizer = dict(type='NoneOfIt', lr=0.1)
    with registered():
        assert isinstance(build_runner(cfg, tests=True), NotingRunner)
        with pytest.raises(ArgumentError, match='NoneOfIt is not in the optimizer registry'):
            build_runner(cfg)


class Toy(BaseModule):
    """A model that keeps its arguments."""

    def __init__(self, **options):
        super().__init__()
        self.options = options


@pytest.mark.parametrize('scope', ['mmdet', 'mmseg'])
def test_a_model_is_built_by_its_library(scope):
    models = importlib.import_module(f'{scope}.registry').MODELS
    models.register_module(name='ToyOfOne', module=Toy)
    try:
        model = build_model(Config(dict(default_scope=scope, model=dict(type='ToyOfOne', a=3))))
    finally:
        models.module_dict.pop('ToyOfOne')
    assert isinstance(model, Toy) and model.options == dict(a=3)
    assert DefaultScope.get_current_instance().scope_name == scope
