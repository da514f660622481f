"""What several tests share: where things are, small networks, running a tool as a user would."""

import io
import os
import runpy
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch
from mmengine.logging import MessageHub, MMLogger
from mmengine.registry import DefaultScope
from mmengine.visualization import Visualizer

from tests.stand_in_weights import tensor

ROOT = Path(__file__).resolve().parent.parent
FIXTURES = Path(__file__).resolve().parent / 'fixtures'

# a folder with coco_tiny and ade_samples; real photographs are not part of the project
PHOTOGRAPHS = Path(os.environ.get('FASTERVIT_MM_TEST_DATA', ROOT.parent / 'shared' / 'data'))

SMALL = dict(dim=16, in_dim=8, depths=(1, 1, 2, 1), num_heads=(1, 1, 2, 4))


def published_tensor(name: str, shape: list[int]) -> torch.Tensor:
    """Deterministic stand-in for the entry ``name`` of a published file."""
    alias = name.replace('.to_global_feature.pos.', '.pos_embed.')
    return torch.from_numpy(np.array(tensor(alias, shape)))


def few(batch: int = 2) -> list[str]:
    """Options for a run of seconds without loader workers."""
    loaders = ('train_dataloader', 'val_dataloader', 'test_dataloader')
    return [
        f'train_dataloader.batch_size={batch}',
        'default_hooks.logger.interval=1',
        *(f'{loader}.num_workers=0' for loader in loaders),
        *(f'{loader}.persistent_workers=False' for loader in loaders),
    ]


def run_tool(tool: str, *arguments, expect: int = 0) -> str:
    """Run a tool from the project's root, as a user would; its output."""
    command = [sys.executable, f'tools/{tool}'] if tool.endswith('.py') else [f'tools/{tool}']
    path = f'{Path(sys.executable).parent}{os.pathsep}{os.environ["PATH"]}'
    done = subprocess.run(
        [*command, *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=dict(os.environ, PATH=path, CUDA_VISIBLE_DEVICES='-1'),
    )
    output = done.stdout + done.stderr
    assert done.returncode == expect, output[-4000:]
    return output


def forget_earlier_runs() -> None:
    """Loggers, message hubs and visualizers that an earlier run in this process has left.

    mmengine names them by the second of their start: a run would write into another's files.
    """
    for kind in (MMLogger, MessageHub, DefaultScope, *_kinds_of(Visualizer)):
        kind._instance_dict.clear()


def _kinds_of(kind: type) -> list[type]:
    return [kind, *(k for below in kind.__subclasses__() for k in _kinds_of(below))]


@contextmanager
def _quick_config_texts() -> Iterator[None]:
    """Laying out the config's text, seven times, is most of a short run: leave it as it comes."""
    with ExitStack() as patches:
        for module in ('yapf.yapflib.yapf_api', 'mmengine.config.config'):  # newer, older mmengine
            plain = patch(f'{module}.FormatCode', lambda text, **_: (text, False), create=True)
            patches.enter_context(plain)
        yield


def call_tool(tool: str, *arguments, expect: int = 0) -> str:
    """`run_tool` in this process, where a process of its own would prove nothing: seconds less."""
    path, output, status = ROOT / 'tools' / tool, io.StringIO(), 0
    argv, folder = sys.argv, os.getcwd()
    forget_earlier_runs()
    try:
        sys.argv = [str(path), *map(str, arguments)]
        os.chdir(ROOT)
        with (
            redirect_stdout(output),
            redirect_stderr(output),
            _quick_config_texts(),
        ):
            try:
                runpy.run_path(str(path), run_name='__main__')
            except SystemExit as end:
                status = end.code or 0
                if isinstance(status, str):  # the interpreter prints it and leaves with 1
                    print(status)
                    status = 1
    finally:
        sys.argv = argv
        os.chdir(folder)
        forget_earlier_runs()
    assert status == expect, output.getvalue()[-4000:]
    return output.getvalue()
