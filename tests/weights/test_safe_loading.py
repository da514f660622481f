"""Safe loading allows some classes while it reads a file, and not a moment longer."""

import argparse
import pickle

import pytest
import torch
from torch.serialization import add_safe_globals, clear_safe_globals, get_safe_globals

from fastervit_mm.errors import FileError
from fastervit_mm.weights.safe_loading import allowed, load_file


@pytest.fixture(autouse=True)
def nothing_allowed():
    """A process that has allowed nothing; what was allowed before comes back."""
    before = list(get_safe_globals())
    clear_safe_globals()
    yield
    clear_safe_globals()
    add_safe_globals(before)


@pytest.fixture
def with_namespace(tmp_path):
    path = tmp_path / 'published.pth'
    torch.save(dict(args=argparse.Namespace(lr=0.5), weight=torch.ones(2)), path)
    return path


def test_what_loading_allows_is_forgotten(with_namespace):
    content = load_file(with_namespace)
    assert content['args'].lr == 0.5 and content['weight'].tolist() == [1, 1]
    assert list(get_safe_globals()) == []
    with pytest.raises(pickle.UnpicklingError, match='argparse.Namespace'):
        torch.load(with_namespace, weights_only=True)


def test_it_is_forgotten_after_an_error_too(tmp_path):
    (tmp_path / 'broken.pth').write_bytes(b'not a checkpoint')
    with pytest.raises(FileError, match='broken.pth cannot be loaded'):
        load_file(tmp_path / 'broken.pth')
    assert list(get_safe_globals()) == []


def test_what_the_program_itself_has_allowed_stays_allowed(with_namespace):
    add_safe_globals([argparse.Namespace])
    load_file(with_namespace)
    assert list(get_safe_globals()) == [argparse.Namespace]
    assert torch.load(with_namespace, weights_only=True)['args'].lr == 0.5


def test_inside_the_context_both_count():
    add_safe_globals([argparse.Namespace])
    with allowed([complex]):
        assert set(get_safe_globals()) == {argparse.Namespace, complex}
    assert list(get_safe_globals()) == [argparse.Namespace]


def test_a_bad_file_is_an_error_of_files_and_of_values(tmp_path):
    """So that callers of either kind go on catching it."""
    with pytest.raises(FileError, match='nothing.pth does not exist') as caught:
        load_file(tmp_path / 'nothing.pth')
    assert isinstance(caught.value, OSError) and isinstance(caught.value, ValueError)
    assert str(caught.value) == f'checkpoint {tmp_path / "nothing.pth"} does not exist'
