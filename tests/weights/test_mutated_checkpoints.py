"""A damaged or forged checkpoint is loaded as it was, or refused with one line: nothing else."""

import json
import subprocess
import sys
import zipfile

import pytest
import torch

from fastervit_mm.errors import FileError
from fastervit_mm.weights.published import MOST_EXPANDED, check_finite
from fastervit_mm.weights.safe_loading import load_file
from tests.helpers import ROOT

MOST_MEMORY = 100  # MiB that a file of some kB may take


@pytest.fixture(scope='module')
def found(tmp_path_factory):
    """(seed, kind, what came of it, memory in MiB, seconds) of 60 mutants, in one process."""
    folder = tmp_path_factory.mktemp('mutants')
    command = [sys.executable, '-m', 'tests.weights.mutants', str(folder), '0', '60']
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]  # a crash
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(lines) == 63
    return lines


def test_whole_ones_are_loaded(found):
    assert [line[1:3] for line in found[:3]] == [
        ['zip', 'loaded the same'],
        ['legacy', 'loaded the same'],
        ['safetensors', 'loaded the same'],
    ]


def test_mutants_are_loaded_or_refused_with_one_line(found):
    assert [line for line in found if 'FAILED' in line[2] or '\n' in line[2]] == []
    refused = [line for line in found[3:] if line[2].startswith('refused')]
    assert 30 < len(refused) < 60
    assert len({line[1] for line in found}) > 12  # of many kinds


def test_memory_does_not_explode(found):
    assert [line for line in found if line[3] > MOST_MEMORY] == []


def test_pytorchs_archives_are_loaded_as_they_were(found):
    """They have checksums, which the older format and safetensors have not."""
    came = [line for line in found if line[1].startswith('zip ') and line[2].startswith('loaded')]
    assert all(line[2] == 'loaded the same' for line in came)


@pytest.fixture
def stored(tmp_path):
    torch.save(
        dict(state_dict=dict(a=torch.arange(4000.0)), meta=dict(epoch=3)), tmp_path / 'a.pth'
    )
    return tmp_path / 'a.pth'


@pytest.mark.parametrize('piece', [torch.arange(500.0, 503).numpy().tobytes(), b'epoch'])
@pytest.mark.parametrize('bit', range(0, 8, 3))
def test_one_bit_of_a_number_or_a_name(piece, bit, stored):
    """``torch.load`` takes it as it comes."""
    content = bytearray(stored.read_bytes())
    content[content.index(piece)] ^= 1 << bit
    stored.write_bytes(content)
    with pytest.raises(FileError, match=r'its record a/data(\.pkl|/0) is damaged .*checksum'):
        load_file(stored)


def test_checksums_that_were_not_written_are_not_missed(tmp_path):
    set_crc32_options = getattr(torch.serialization, 'set_crc32_options', None)
    if set_crc32_options is None:
        pytest.skip('torch before 2.6 always writes them')
    set_crc32_options(False)
    try:
        torch.save(dict(a=torch.ones(3)), tmp_path / 'a.pth')
    finally:
        set_crc32_options(True)
    assert load_file(tmp_path / 'a.pth')['a'].tolist() == [1, 1, 1]


def test_an_archive_that_unfolds(stored):
    """A few kB that would become gigabytes."""
    with zipfile.ZipFile(stored) as archive:
        records = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(stored, 'w', zipfile.ZIP_DEFLATED) as archive:
        for name, content in records.items():
            archive.writestr(name, content)
    with pytest.raises(FileError, match='it holds compressed records'):
        load_file(stored)


def test_entries_that_hold_less_than_they_state():
    check_finite(dict(a=torch.ones(1).expand(MOST_EXPANDED)))  # a buffer that repeats itself
    with pytest.raises(
        FileError, match='states 268435457 numbers for entries up to a, and holds fewer'
    ):
        check_finite(dict(a=torch.ones(1).expand(MOST_EXPANDED + 1)))
    half = torch.ones(1).expand(MOST_EXPANDED // 2 + 1)  # few bytes each, and all of them too many
    with pytest.raises(FileError, match='numbers for entries up to b, and holds fewer'):
        check_finite(dict(a=half, b=half))
    with pytest.raises(FileError, match='values in a that are not finite'):
        check_finite(dict(a=torch.tensor([float('nan')]).expand(MOST_EXPANDED)))
    with pytest.raises(FileError, match='holds a as a tensor that is not dense'):
        check_finite(dict(a=torch.eye(3).to_sparse()))
