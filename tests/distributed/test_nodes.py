"""Several machines, with one work dir or each with its own disk; here each is a process."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from mmengine.registry import init_default_scope

from fastervit_mm.config.host import build_skeleton
from fastervit_mm.data.drawn_shapes import write_shapes
from tests.distributed import on_nodes
from tests.distributed.on_nodes import on_a_machine_of_its_own
from tests.distributed.start import (
    finish,
    free_port,
    in_processes,
    start,
    torchrun_command,
)
from tests.helpers import ROOT, few
from tests.tasks.folders import SHAPES, coco_content, config, write_coco


@pytest.fixture(scope='module')
def mine(tmp_path_factory) -> Path:
    """Ten images of two classes that fit no config."""
    root = tmp_path_factory.mktemp('mine')
    write_coco(root / 'labels.json', coco_content(10, ('cat', 'dog')), root / 'photos')
    return root


@pytest.fixture(scope='module')
def checkpoint(tmp_path_factory) -> Path:
    """Of the same detector with other classes."""
    cfg = config(SHAPES, tmp_path_factory.mktemp('from'))
    init_default_scope('mmdet')
    state = {name: torch.zeros(v.shape) for name, v in build_skeleton(cfg).state_dict().items()}
    path = Path(cfg.work_dir, 'weights.pth')
    torch.save(dict(state_dict=state, meta={}), path)
    return path


def test_each_disk_gets_what_its_machine_reads(mine, checkpoint, tmp_path):
    found = in_processes(2, on_a_machine_of_its_own, on_nodes.prepare, tmp_path, mine, checkpoint)
    for rank, machine in enumerate(found):
        assert machine['writer'] == rank and machine['lines'] == found[0]['lines']
        for file in (machine['ann_file'], machine['load_from']):
            assert Path(file).is_file() and Path(file).is_relative_to(tmp_path / str(rank))
    assert len(json.loads(Path(found[1]['ann_file']).read_text())['images']) == 8


def test_a_shared_disk_is_written_by_one(mine, checkpoint, tmp_path):
    (tmp_path / '0').mkdir()
    (tmp_path / '1').symlink_to(tmp_path / '0', target_is_directory=True)
    found = in_processes(2, on_a_machine_of_its_own, on_nodes.prepare, tmp_path, mine, checkpoint)
    assert [machine['writer'] for machine in found] == [0, 0]
    assert found[0]['ann_file'] == found[1]['ann_file'] and found[0]['lines'] == found[1]['lines']
    assert all(Path(machine['load_from']).is_file() for machine in found)
    assert not list((tmp_path / '0/run').glob('.*'))  # the mark is gone


def test_other_photographs_on_another_machine_are_one_line(checkpoint, tmp_path):
    for rank, count in enumerate((10, 12)):
        folder = tmp_path / f'data/{rank}'
        write_coco(folder / 'labels.json', coco_content(count, ('cat', 'dog')), folder / 'photos')
    found = in_processes(
        2, on_a_machine_of_its_own, on_nodes.prepare, tmp_path, tmp_path / 'data', checkpoint
    )
    assert found[0].startswith('ArgumentError: what is used of --data') and '\n' not in found[0]
    assert '10 images' in found[0] and '12 images' in found[0]
    assert found[1] == 'SystemExit: 1'


def test_machines_go_on_from_the_same_checkpoint_or_not_at_all(tmp_path):
    """Checkpoints are on the disk of the first machine; the line says to copy them."""
    in_processes(2, on_a_machine_of_its_own, on_nodes.first_run, tmp_path)
    assert not (tmp_path / '1/run/last_checkpoint').exists()
    said, left = in_processes(2, on_a_machine_of_its_own, on_nodes.resume, tmp_path)
    assert said.startswith('ArgumentError: the checkpoint to start from is') and 'iter_10' in said
    assert 'each needs the same files in the same places' in said and left == 'SystemExit: 1'
    shutil.copytree(tmp_path / '0/run', tmp_path / '1/run', dirs_exist_ok=True)
    last = tmp_path / '1/run/last_checkpoint'
    last.write_text(last.read_text().replace(str(tmp_path / '0'), str(tmp_path / '1')))
    assert in_processes(2, on_a_machine_of_its_own, on_nodes.resume, tmp_path) == [10, 10]


def test_torchrun_without_launcher_is_one_line(mine, tmp_path):
    """Each process would train alone, into the same folder."""
    options = ['--data', mine, '--work-dir', tmp_path / 'run']
    done = finish(start(torchrun_command(ROOT / 'tools/train.py', SHAPES, *options)))
    assert done.returncode == 1 and not (tmp_path / 'run').exists()
    lines = [line for line in done.stderr.splitlines() if line.startswith('error: ')]
    assert len(lines) == 1 and lines[0].endswith('add --launcher pytorch')


@pytest.fixture(scope='module')
def renamed(tmp_path_factory) -> Path:
    """Six drawn scenes without a validation split, whose three classes have other names."""
    root = tmp_path_factory.mktemp('renamed')
    write_shapes(root, train=6, val=1, size=64)
    content = json.loads((root / 'coco/annotations/instances_train2017.json').read_text())
    for category, name in zip(content['categories'], ('one', 'two', 'three'), strict=True):
        category['name'] = name
    (root / 'coco/labels.json').write_text(json.dumps(content))
    shutil.rmtree(root / 'coco/annotations')
    return root / 'coco'


@pytest.mark.long
@pytest.mark.parametrize('shared', [True, False])
def test_two_groups_of_torchrun_train_together(shared, renamed, checkpoint, tmp_path):
    """By tools/train.py, on a folder that does not fit, from a checkpoint of other classes."""
    port, started = free_port(), []
    for rank in range(2):
        where = ('--nnodes', 2, '--node_rank', rank, '--master_addr', '127.0.0.1')
        work_dir = tmp_path / ('run' if shared else f'run_{rank}')
        options = ['--data', renamed, '--from', checkpoint, '--work-dir', work_dir, '--epochs', 1]
        command = torchrun_command(
            *(ROOT / 'tools/train.py', SHAPES, '--launcher', 'pytorch', *options),
            *('--cfg-options', *few()),
            processes=1,
            options=(*where, '--master_port', port),
        )
        started.append(start(command))
    for one in started:
        done = finish(one)
        assert done.returncode == 0, done.stderr[-3000:]
    folders = [tmp_path / 'run'] if shared else [tmp_path / 'run_0', tmp_path / 'run_1']
    assert all(list((folder / 'data').glob('*.json')) for folder in folders)
    assert (folders[0] / 'epoch_1.pth').is_file()
    assert shared or not (folders[1] / 'epoch_1.pth').exists()
