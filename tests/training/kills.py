"""Trainings that are killed at any moment, and go on until they are done.

    python -m tests.training.kills FOLDER KILLS INSIDE [SEED]

Imports once and forks a process for each start of `tools/train.py`, because imports take longer than
such a training. Every process but the finished ones ends by SIGKILL: at least INSIDE of them while they
save a checkpoint, the others at any moment. Prints counts as JSON.
"""

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

import torch

import fastervit_mm.training.hooks  # noqa: F401  (what a run imports is imported before it is forked)
from fastervit_mm.report.work_dir import find_checkpoint
from fastervit_mm.training.hooks import ResumableCheckpointHook
from tests.helpers import call_tool
from tests.training.toy_run import same_weights, write_config

EPOCHS = 5
SAVING = ('_save_checkpoint_with_step', '_save_best_checkpoint')


class Start:
    """A process that trains, and says when it begins and ends to save.

    Args:
        config: of the run.
        work_dir: of the run.
    """

    def __init__(self, config: Path, work_dir: Path) -> None:
        self.pipe, child_end = os.pipe()
        self.log = work_dir.with_suffix('.log')
        sys.stdout.flush()
        self.process = os.fork()
        if self.process == 0:
            os.close(self.pipe)
            _train(config, work_dir, child_end, self.log)
        os.close(child_end)

    def wait_for_save(self, number: int) -> bool:
        """Until the so-many-th save begins; False: the training ended before."""
        while number:
            mark = os.read(self.pipe, 1)
            if not mark:
                return False
            number -= mark == b'('
        return True

    def kill(self) -> tuple[bool, bool]:
        """Whether the process was killed, not ended before, and whether it was saving then."""
        os.kill(self.process, signal.SIGKILL)
        return self.end()

    def end(self) -> tuple[bool, bool]:
        """Wait for it; whether it was killed, and whether it was saving then."""
        status = os.waitpid(self.process, 0)[1]
        marks = b'('  # the save that was waited for has begun; others may have ended since
        while more := os.read(self.pipe, 1000):
            marks += more
        os.close(self.pipe)
        killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
        assert killed or status == 0, self.log.read_text()[-3000:]
        return killed, marks.count(b'(') > marks.count(b')')


def _train(config: Path, work_dir: Path, pipe: int, log: Path) -> None:
    """What a forked process does; it never comes back."""
    torch.set_num_threads(1)
    for name in SAVING:
        _announced(name, pipe)
    code = 1
    try:
        output = call_tool('train.py', config, '--work-dir', work_dir, '--resume')
        log.write_text(output)
        code = 0
    except BaseException as error:
        log.write_text(f'{type(error).__name__}: {error}')
    finally:
        os._exit(code)


def _announced(name: str, pipe: int) -> None:
    """Let a method of the hook write where it begins and ends."""
    method = getattr(ResumableCheckpointHook, name)

    def announced(*args, **kwargs):
        os.write(pipe, b'(')
        try:
            return method(*args, **kwargs)
        finally:
            os.write(pipe, b')')

    setattr(ResumableCheckpointHook, name, announced)


def step_of(name: str) -> int:
    """The epoch of 'epoch_4.pth'."""
    return int(name.removeprefix('epoch_').removesuffix('.pth'))


def check_whole(work_dir: Path) -> None:
    """Every file that has the name of a checkpoint can be loaded."""
    for path in work_dir.glob('*.pth'):
        torch.load(path, weights_only=False)


def main(folder: Path, kills: int, inside: int, seed: int = 0) -> dict[str, int]:
    """Kill and go on; the counts."""
    draw = random.Random(seed)
    config = write_config(folder, EPOCHS, width=20_000)
    whole = folder / 'whole'
    call_tool(
        'train.py', config, '--work-dir', whole
    )  # whatever it imports need not be imported again
    start = time.monotonic()
    Start(config, folder / 'timed').end()
    seconds = time.monotonic() - start
    done = dict(kills=0, inside=0, runs=0)
    while done['kills'] < kills or done['inside'] < inside:
        work_dir = folder / f'run{done["runs"]}'
        ended = False
        while not ended:
            process = Start(config, work_dir)
            enough = done['kills'] >= kills and done['inside'] >= inside
            saving = False
            if enough:
                ended = not process.end()[0]
                continue
            if done['inside'] < inside and draw.random() < 0.7:
                if process.wait_for_save(draw.randint(1, EPOCHS)):
                    time.sleep(draw.uniform(0, 0.03))  # a save takes about as long
                    saving = True
            else:
                time.sleep(draw.uniform(0, seconds))
            killed, in_save = process.kill()
            ended = not killed
            done['kills'] += killed
            done['inside'] += killed and saving and in_save
            check_whole(work_dir)
        done['runs'] += 1
        wanted, found = ({p.name: p for p in f.glob('*.pth*')} for f in (whole, work_dir))
        for name in wanted:
            assert same_weights(wanted[name], found[name]), found[name]
        # older ones may be left, where it was killed between a saving and a removal
        left = {name for name in found if name not in wanted}
        assert all(name[:5] == 'best_' or step_of(name) < EPOCHS - 1 for name in left), left
        assert find_checkpoint(work_dir).name == find_checkpoint(whole).name
    return done


if __name__ == '__main__':
    path, *numbers = sys.argv[1:]
    print(json.dumps(main(Path(path), *map(int, numbers))))
