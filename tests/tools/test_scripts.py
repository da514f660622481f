"""The shell scripts pass on what they are given to the launcher, word by word."""

import os
import subprocess

import pytest

from tests.helpers import ROOT

SET = ('NNODES', 'NODE_RANK', 'MASTER_ADDR', 'PORT', 'GPUS', 'GPUS_PER_NODE', 'CPUS_PER_TASK')


@pytest.fixture
def launch(tmp_path):
    """A function that runs a script with a launcher that prints its arguments, one a line."""
    for name in ('torchrun', 'srun'):
        (tmp_path / name).write_text(f'#!/bin/sh\nprintf "%s\\n" {name} "$@"\n')
        (tmp_path / name).chmod(0o755)
    clean = {k: v for k, v in os.environ.items() if k not in (*SET, 'SRUN_ARGS')}

    def run(script, *arguments, **variables):
        path = f'{tmp_path}{os.pathsep}{os.environ["PATH"]}'
        done = subprocess.run(
            [f'tools/{script}', *arguments],
            capture_output=True,
            text=True,
            cwd=ROOT,
            env=dict(clean, PATH=path, **variables),
        )
        assert (done.returncode == 0) == bool(done.stdout), done.stderr
        return done.stdout.splitlines()

    return run


TORCHRUN = ['torchrun', '--nnodes=1', '--node_rank=0', '--master_addr=127.0.0.1']
OPTIONS = ['--data', 'a folder', '--amp']


def test_training_on_one_machine(launch):
    assert launch('dist_train.sh', 'c.py', '8', *OPTIONS) == [
        *TORCHRUN,
        '--master_port=29500',
        '--nproc_per_node=8',
        'tools/train.py',
        'c.py',
        '--launcher',
        'pytorch',
        *OPTIONS,
    ]


def test_testing_on_one_machine(launch):
    assert launch('dist_test.sh', 'c.py', 'c.pth', '4', *OPTIONS) == [
        *TORCHRUN,
        '--master_port=29500',
        '--nproc_per_node=4',
        'tools/test.py',
        'c.py',
        'c.pth',
        '--launcher',
        'pytorch',
        *OPTIONS,
    ]


@pytest.mark.parametrize('script, given', [('dist_train.sh', []), ('dist_test.sh', ['c.pth'])])
def test_several_machines(script, given, launch):
    machines = dict(NNODES='3', NODE_RANK='2', MASTER_ADDR='10.0.0.1', PORT='1234')
    assert launch(script, 'c.py', *given, '8', **machines)[1:6] == [
        '--nnodes=3',
        '--node_rank=2',
        '--master_addr=10.0.0.1',
        '--master_port=1234',
        '--nproc_per_node=8',
    ]


def slurm(partition, name, per_node, gpus, cpus):
    return [
        'srun',
        '-p',
        partition,
        f'--job-name={name}',
        f'--gres=gpu:{per_node}',
        f'--ntasks={gpus}',
        f'--ntasks-per-node={per_node}',
        f'--cpus-per-task={cpus}',
        '--kill-on-bad-exit=1',
    ]


def test_training_under_slurm(launch):
    given = ['part', 'name', 'c.py', 'run', *OPTIONS]
    command = ['python', '-u', 'tools/train.py', 'c.py', '--work-dir', 'run']
    expected = [*command, '--launcher', 'slurm', *OPTIONS]
    assert launch('slurm_train.sh', *given) == [*slurm('part', 'name', 8, 8, 5), *expected]
    variables = dict(GPUS='16', GPUS_PER_NODE='4', CPUS_PER_TASK='9', SRUN_ARGS='--qos a')
    assert launch('slurm_train.sh', *given, **variables) == [
        *slurm('part', 'name', 4, 16, 9),
        '--qos',
        'a',
        *expected,
    ]


def test_testing_under_slurm(launch):
    given = ['part', 'name', 'c.py', 'c.pth', *OPTIONS]
    command = ['python', '-u', 'tools/test.py', 'c.py', 'c.pth']
    expected = [*command, '--launcher', 'slurm', *OPTIONS]
    assert launch('slurm_test.sh', *given) == [*slurm('part', 'name', 8, 8, 5), *expected]
    variables = dict(GPUS='16', GPUS_PER_NODE='4', CPUS_PER_TASK='9', SRUN_ARGS='--qos a')
    assert launch('slurm_test.sh', *given, **variables) == [
        *slurm('part', 'name', 4, 16, 9),
        '--qos',
        'a',
        *expected,
    ]


@pytest.mark.parametrize(
    'script, least',
    [('dist_train.sh', 2), ('dist_test.sh', 3), ('slurm_train.sh', 4), ('slurm_test.sh', 4)],
)
def test_too_few_arguments_start_nothing(script, least, launch):
    assert launch(script, *'abcd'[: least - 1]) == []
    assert launch(script, *'abcd'[:least]) != []
