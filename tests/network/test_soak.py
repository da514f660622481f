"""Nothing grows with the number of image sizes that one process has seen."""

import ctypes
import gc
import os
import random
import statistics
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import fastervit_mm
from fastervit_mm import FasterViT, fuse

TINY = dict(
    dim=8, in_dim=8, depths=(1, 1, 2, 1), num_heads=(1, 1, 1, 1), layer_scale=0.5,
    do_propagation=True, hat=(False, False, True, True),
)  # fmt: skip
STATUS = Path('/proc/self/statm')


def build(fused: bool) -> FasterViT:
    torch.manual_seed(0)
    backbone = FasterViT(TINY, window_size=2).eval()  # many window counts
    return fuse(backbone) if fused else backbone


def kept_by_size() -> dict[str, int]:
    """Live tensors and their bytes, and entries of lists, dicts and sets that we own."""
    gc.collect()
    tensors = [t for t in gc.get_objects() if type(t) in (torch.Tensor, torch.nn.Parameter)]
    memory = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors}
    return dict(tensors=len(tensors), bytes=sum(memory.values()), entries=entries_of_ours())


def entries_of_ours() -> int:
    """What our modules and the functions in them hold: tables by size would be there."""
    holders = [m for name, m in sys.modules.items() if name.startswith(fastervit_mm.__name__)]
    things = [thing for holder in holders for thing in vars(holder).values()]
    cached = sum(t.cache_info().currsize for t in things if hasattr(t, 'cache_info'))
    return cached + sum(len(t) for t in things if isinstance(t, (dict, list, set)))


def resident() -> int:
    """Bytes of this process's memory, without what the allocator merely has not given back."""
    ctypes.CDLL(None).malloc_trim(0)
    return int(STATUS.read_text().split()[1]) * os.sysconf('SC_PAGE_SIZE')


def soak(backbone: FasterViT, count: int, largest: int, after: Callable[[int], None]) -> None:
    """``count`` images of random sizes, 32 to ``largest`` px; ``after`` each one."""
    sides = random.Random(0)
    for i in range(count):
        size = sides.randint(32, largest), sides.randint(32, largest)
        with torch.inference_mode():
            maps = backbone(torch.zeros(1, 3, *size))
        assert maps[0].shape[-2:] == tuple(-(-side // 4) for side in size)
        del maps
        after(i)


@pytest.mark.parametrize('fused', [False, True])
def test_two_hundred_sizes_leave_no_tensors_and_no_entries(fused):
    backbone, seen = build(fused), {}
    own = {name: len(vars(m)) for name, m in backbone.named_modules()}

    def after(i: int) -> None:
        if i in (9, 199):
            seen[i] = kept_by_size()

    soak(backbone, 200, 160, after)
    # what other tests of this process have left may go meanwhile
    assert all(seen[199][kind] <= seen[9][kind] for kind in seen[9])
    assert own == {name: len(vars(m)) for name, m in backbone.named_modules()}


@pytest.mark.long
@pytest.mark.skipif(not STATUS.is_file(), reason='resident memory is read from /proc')
@pytest.mark.parametrize('fused', [False, True])
def test_two_thousand_sizes_in_flat_memory(fused):
    backbone, memory, seen = build(fused), [], {}

    def after(i: int) -> None:
        memory.append(resident())
        if i in (99, 1999):
            seen[i] = kept_by_size()

    soak(backbone, 2000, 512, after)
    early, late = statistics.median(memory[100:300]), statistics.median(memory[-200:])
    print(f'resident, MB: {early / 1e6:.0f} early, {late / 1e6:.0f} late')
    assert seen[99] == seen[1999]
    assert abs(late - early) < 0.05 * early
