"""Where a file comes from, and what safe loading lets in."""

import argparse
import os
import pickle
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer

from fastervit_mm import VARIANTS
from fastervit_mm.errors import FileError
from fastervit_mm.variants import WEIGHTS_URL
from fastervit_mm.weights.download import cache_path, fetch
from fastervit_mm.weights.safe_loading import load_file
from tests.logged import logged

ELSEWHERE = 'https://example.org/models/a.pth'


class Attribute:
    """Pickles as ``getattr(owner, name)``."""

    def __init__(self, owner, name: str) -> None:
        self.owner, self.name = owner, name

    def __reduce__(self):
        return getattr, (self.owner, self.name)


class Called:
    """Pickles as ``function(*arguments)``."""

    def __init__(self, function, *arguments) -> None:
        self.function, self.arguments = function, arguments

    def __reduce__(self):
        return self.function, self.arguments


def refused(content, path: Path) -> str:
    torch.save(content, path)
    with pytest.raises(FileError) as caught:
        load_file(path)
    return str(caught.value)


@pytest.mark.parametrize(
    'owner, name',
    [
        (HistoryBuffer, '__init__'),
        (HistoryBuffer, '_set_default_statistics'),
        (HistoryBuffer, '__globals__'),
        (argparse.Namespace, '__init__'),
        (np.ndarray, 'tofile'),
    ],
)
def test_only_public_statistics_of_a_history_may_be_asked_for(owner, name, tmp_path):
    told = refused(dict(a=Attribute(owner, name)), tmp_path / 'a.pth')
    assert 'it holds the class builtins.getattr, which safe loading refuses' in told


def test_a_historys_statistics_come_back(tmp_path):
    buffer = HistoryBuffer([1.0, 2.0, 6.0], [1, 1, 1])
    torch.save(dict(loss=buffer, mean=Attribute(HistoryBuffer, 'mean')), tmp_path / 'a.pth')
    loaded = load_file(tmp_path / 'a.pth')
    assert loaded['loss'].mean() == 3 and loaded['loss'].current() == 6
    assert loaded['mean'] is HistoryBuffer.mean


@pytest.mark.parametrize(
    'function, name',
    [
        (os.system, 'posix.system'),
        (eval, 'builtins.eval'),
        (exec, 'builtins.exec'),
        (pickle.loads, '_pickle.loads'),
        (np.fromfile, 'numpy.fromfile'),
    ],
)
def test_nothing_else_is_called(function, name, tmp_path):
    ran = tmp_path / 'ran'
    told = refused(dict(a=Called(function, f'touch {ran}')), tmp_path / 'a.pth')
    assert 'safe loading refuses' in told and name.split('.')[-1] in told
    assert not ran.exists()


def test_what_published_files_hold_comes_back(tmp_path):
    content = dict(
        args=argparse.Namespace(lr=0.005, amp=True),
        state_dict={'a': torch.arange(3)},
        array=np.arange(4, dtype=np.float32),
        numbers=[np.float64(2.5), np.int64(3), np.float32(0.5), np.int32(7)],
    )
    torch.save(content, tmp_path / 'a.pth')
    loaded = load_file(str(tmp_path / 'a.pth'))
    assert loaded['args'] == content['args'] and loaded['state_dict']['a'].tolist() == [0, 1, 2]
    assert loaded['array'].tolist() == [0, 1, 2, 3] and loaded['array'].dtype == np.float32
    assert loaded['numbers'] == [2.5, 3, 0.5, 7]


def test_a_missing_file_and_a_broken_one(tmp_path):
    with pytest.raises(FileError) as caught:
        load_file(tmp_path / 'a.pth')
    assert str(caught.value) == f'checkpoint {tmp_path / "a.pth"} does not exist'
    with pytest.raises(FileError):
        load_file(tmp_path)
    (tmp_path / 'b.pth').write_bytes(b'not a checkpoint')
    with pytest.raises(FileError) as caught:
        load_file(tmp_path / 'b.pth')
    told = str(caught.value)
    assert told.startswith(f'checkpoint {tmp_path / "b.pth"} cannot be loaded (UnpicklingError): ')
    assert told.endswith('; is it a complete PyTorch checkpoint?') and '\n' not in told
    (tmp_path / 'c.pth').write_bytes(b'')
    with pytest.raises(FileError, match=r'cannot be loaded \(EOFError\): \S+'):
        load_file(tmp_path / 'c.pth')


def test_an_error_without_words_is_named_by_its_kind(tmp_path, monkeypatch):
    def fail(*_, **__):
        raise RuntimeError

    monkeypatch.setattr(torch, 'load', fail)
    (tmp_path / 'a.pth').touch()
    expected = r'cannot be loaded \(RuntimeError\): RuntimeError\(\); is it'
    with pytest.raises(FileError, match=expected):
        load_file(tmp_path / 'a.pth')


def test_paths_are_taken_as_they_are(monkeypatch):
    monkeypatch.setenv('HOME', '/home/someone')
    for given, path in (
        ('weights/a.pth', 'weights/a.pth'),
        ('/weights/a.pth', '/weights/a.pth'),
        ('~/a.pth', '/home/someone/a.pth'),
        ('file:///weights/a.pth', '/weights/a.pth'),
    ):
        assert fetch(given) == Path(path)


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A folder for downloads, and the list of what was downloaded: files hold their URL."""
    fetched = []

    def download(url, path, *_, **__):
        fetched.append(url)
        Path(path).write_text(url)

    monkeypatch.setenv('TORCH_HOME', str(tmp_path))
    monkeypatch.setattr('fastervit_mm.weights.download._download_part', download)
    return tmp_path / 'hub' / 'checkpoints', fetched


@pytest.mark.parametrize('url', [ELSEWHERE, f'{ELSEWHERE}?download=1'])
def test_urls_go_to_the_hubs_folder_once(hub, url):
    folder, fetched = hub
    with logged() as lines:
        path = fetch(url)
        assert fetch(url) == path == cache_path(url) and folder in path.parents
    assert fetched == [url] and path.read_text() == url
    assert lines == [f'downloading {url} to {path}']


def test_a_file_that_is_there_is_not_fetched(hub):
    _, fetched = hub
    cache_path(ELSEWHERE).parent.mkdir(parents=True)
    cache_path(ELSEWHERE).write_text('mine')
    with logged() as lines:
        assert fetch(ELSEWHERE).read_text() == 'mine'
    assert not fetched and not lines


def test_the_weights_licence_is_said_with_their_download_alone(hub):
    with logged() as lines:
        fetch(WEIGHTS_URL + VARIANTS['fastervit_1'].weights)
    assert lines[0].startswith(f'downloading {WEIGHTS_URL}fastervit_1_224_1k.pth.tar to ')
    assert lines[1:] == [
        "NVIDIA's FasterViT weights are under their own non-commercial licence (NVIDIA Source "
        'Code License-NC), not under the Apache-2.0 licence of this package'
    ]


@pytest.fixture
def processes(monkeypatch):
    """Play a process of several: ``processes(main, meanwhile)``."""
    module = sys.modules[fetch.__module__]

    def play(main: bool, meanwhile=lambda: None) -> list[str]:
        met: list[str] = []

        def barrier() -> None:
            met.append('barrier')
            meanwhile()

        monkeypatch.setattr(module, 'is_main_process', lambda: main)
        monkeypatch.setattr(module, 'barrier', barrier)
        return met

    return play


def test_the_main_process_downloads_before_the_others_go_on(hub, processes):
    _, fetched = hub
    there = []
    met = processes(True, lambda: there.append(cache_path(ELSEWHERE).is_file()))
    with logged():
        fetch(ELSEWHERE)
    assert met == ['barrier'] and there == [True] and fetched == [ELSEWHERE]


def test_the_other_processes_wait_for_its_file(hub, processes):
    _, fetched = hub

    def arrives():
        cache_path(ELSEWHERE).parent.mkdir(parents=True)
        cache_path(ELSEWHERE).touch()

    met = processes(False, arrives)
    with logged():
        assert fetch(ELSEWHERE) == cache_path(ELSEWHERE)
    assert met == ['barrier'] and not fetched


def test_another_node_with_a_disk_of_its_own_downloads_after_waiting(hub, processes):
    _, fetched = hub
    before = []
    met = processes(False, lambda: before.extend(fetched))
    with logged():
        assert fetch(ELSEWHERE) == cache_path(ELSEWHERE)
    assert met == ['barrier'] and not before and fetched == [ELSEWHERE]


def test_without_a_connection_it_says_what_to_do(tmp_path, monkeypatch):
    def refuse(url, path):
        raise OSError('no route to host')

    monkeypatch.setenv('TORCH_HOME', str(tmp_path))
    monkeypatch.setattr('fastervit_mm.weights.download._download_part', refuse)
    path = cache_path(ELSEWHERE)
    with logged() as lines, pytest.raises(FileError) as caught:
        fetch(ELSEWHERE)
    assert str(caught.value) == (
        f'cannot download {ELSEWHERE} (no route to host); fetch it elsewhere and put it at {path}, '
        'or give its path as init_cfg.checkpoint '
        '(--cfg-options model.backbone.init_cfg.checkpoint=PATH; in timm '
        "pretrained_cfg_overlay=dict(file='PATH'), --pretrained-path PATH), or "
        'model.backbone.init_cfg=None to start from random weights'
    )
    assert len(lines) == 1 and path.parent.is_dir()
