"""Safe loading allows some classes while it reads a file, and not a moment longer."""

import argparse
import pickle
import zipfile
from collections import Counter

import pytest
import torch
from torch.serialization import add_safe_globals, clear_safe_globals, get_safe_globals

from fastervit_mm.errors import FileError
from fastervit_mm.weights.safe_loading import MOST_UNFOLDED, allowed, load_file, with_arrays


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


def laughs(make, depth):
    """A few objects that hold each other 2**depth times."""
    value = make(1.0, 2.0)
    for _ in range(depth):
        value = make(value, value)
    return value


@pytest.mark.parametrize(
    'make',
    [lambda *v: list(v), lambda *v: v, lambda *v: dict(enumerate(v))],
    ids=['list', 'tuple', 'dict'],
)
def test_a_few_objects_that_would_be_many(make, tmp_path):
    """They cost nothing to load, and whatever printed or compared them later would never end."""
    torch.save(dict(meta=laughs(make, 10)), tmp_path / 'few.pth')
    assert load_file(tmp_path / 'few.pth')['meta'] == laughs(make, 10)
    torch.save(dict(meta=laughs(make, 60)), tmp_path / 'many.pth')
    with pytest.raises(FileError, match='a few objects in it hold each other very often'):
        load_file(tmp_path / 'many.pth')


def test_many_objects_are_no_few():
    assert len(with_arrays([1.0] * 2 * MOST_UNFOLDED)) == 2 * MOST_UNFOLDED


def test_what_is_shared_stays_shared_and_a_loop_ends(tmp_path):
    inner = [1]
    content = dict(a=inner, b=(inner, inner))
    content['itself'] = [content]
    torch.save(content, tmp_path / 'a.pth')
    found = load_file(tmp_path / 'a.pth')
    assert found['a'] is found['b'][0] is found['b'][1] and found['itself'][0] is found


def test_counts_stay_as_they_were(tmp_path):
    """Milestones of a schedule; a Counter's update adds."""
    counts = Counter({3: 2, 5: 1})
    torch.save(dict(counts=counts), tmp_path / 'a.pth')
    assert load_file(tmp_path / 'a.pth')['counts'] == counts


def with_pickle(path, pickled):
    """An archive of PyTorch's whose pickle is another one."""
    torch.save([], path)
    with zipfile.ZipFile(path) as archive:
        records = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, 'w') as archive:
        for name, content in records.items():
            archive.writestr(name, pickled if name.endswith('data.pkl') else content)


def test_deep_nesting_is_one_line(tmp_path):
    for depth in (101, 102, 100_000):
        with_pickle(tmp_path / 'deep.pth', b'\x80\x02' + b']' * depth + b'a' * (depth - 1) + b'.')
        if depth == 101:
            load_file(tmp_path / 'deep.pth')
            continue
        with pytest.raises(FileError, match='its objects are nested more than 100 deep'):
            load_file(tmp_path / 'deep.pth')


@pytest.mark.parametrize(
    'pickled', [b'\x80\x02cos\nsystem\n.', b'\x80\x02\xff.', b'\x80\x02', b'', b'0.']
)
def test_nobody_is_told_to_load_it_unsafely(pickled, tmp_path):
    """As PyTorch's own message does."""
    with_pickle(tmp_path / 'odd.pth', pickled)
    with pytest.raises(FileError) as caught:
        load_file(tmp_path / 'odd.pth')
    line = str(caught.value)
    assert 'odd.pth cannot be loaded' in line and '\n' not in line
    assert 'weights_only' not in line and 'likely succeed' not in line
