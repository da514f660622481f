"""A file of weights is there when it is whole, and never takes the place of what it is made of."""

import errno
import os

import pytest
import torch

from fastervit_mm.errors import ArgumentError, FileError
from fastervit_mm.weights import whole_writing
from fastervit_mm.weights.publishing import publish
from fastervit_mm.weights.whole_writing import check_other_file, save_whole
from tests.helpers import call_tool


@pytest.fixture
def full_disk(monkeypatch):
    """A disk that takes the first bytes of a file alone."""

    def save(content, file):
        file.write(b'half')
        raise OSError(errno.ENOSPC, 'No space left on device')

    monkeypatch.setattr(whole_writing.torch, 'save', save)


def test_it_is_there_when_it_is_whole(tmp_path):
    save_whole(dict(a=torch.ones(2)), tmp_path / 'a.pth')
    save_whole(dict(a=torch.zeros(2)), tmp_path / 'a.pth')
    assert torch.load(tmp_path / 'a.pth')['a'].tolist() == [0, 0]
    assert os.listdir(tmp_path) == ['a.pth']


def test_a_full_disk_leaves_what_was_there(tmp_path, full_disk):
    (tmp_path / 'a.pth').write_bytes(b'before')
    with pytest.raises(FileError, match='a.pth cannot be written .No space left'):
        save_whole(3, tmp_path / 'a.pth')
    assert (tmp_path / 'a.pth').read_bytes() == b'before' and os.listdir(tmp_path) == ['a.pth']


def test_what_is_no_file_is_not_replaced(tmp_path):
    os.mkfifo(tmp_path / 'pipe')
    for path in (tmp_path, tmp_path / 'pipe'):
        with pytest.raises(FileError, match='is no file; name another place'):
            save_whole(3, path)
    assert os.listdir(tmp_path) == ['pipe']


def test_a_converted_file_does_not_replace_the_released_one(tmp_path):
    path, link = tmp_path / 'released.pth', tmp_path / 'link.pth'
    torch.save(dict(model=dict(a=torch.ones(1))), path)
    link.symlink_to(path)
    before = path.read_bytes()
    for out in (path, link):
        said = call_tool('convert_dino_checkpoint.py', path, out, expect=1)
        assert 'is the file that is read: name another one' in said and 'Traceback' not in said
    assert path.read_bytes() == before
    check_other_file(path, tmp_path / 'another.pth')


def test_a_published_file_does_not_replace_what_it_is_made_of(tmp_path):
    path = tmp_path / 'mine.safetensors.part'
    torch.save(dict(state_dict=dict(a=torch.ones(1))), path)
    before = path.read_bytes()
    with pytest.raises(ArgumentError, match='is the file that is read'):
        publish(str(path), tmp_path / 'mine')
    assert path.read_bytes() == before
    again = path.rename(tmp_path / 'mine.pth')
    new, _ = publish(str(again), again)  # its name gets a hash
    assert again.read_bytes() == before and new != again
    assert sorted(os.listdir(tmp_path)) == sorted(['mine.pth', new.name])
