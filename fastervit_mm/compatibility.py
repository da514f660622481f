"""What differs between versions of the packages below us, and which versions are refused.

What a version decides is decided here:

| what differs | in | met by |
| --- | --- | --- |
| names of the OpenMMLab packages; what they import as is the same | both lines | `LINES` |
| a run's iterator makes its loader (and draws a random number) at the first batch, not at once |
  onedl-mmengine 0.10.12, not mmengine 0.10.7 | `start_loader` |
| a module's hook before loading has a public name | torch 2.5, not 2.4 | `call_before_loading` |
| safe loading of files has known holes | torch below 2.10 | `unsound_loading` |

What differs where one way serves all versions, so that nothing is decided:

| what differs | in | where |
| --- | --- | --- |
| safe loading builds bytes by itself | torch 2.5, not 2.4 | `weights/safe_loading.py` |
| compiling with any size keeps numbers that pick modules | torch 2.5, not 2.4 | `network/backbone.py` |
| operations are counted in inference mode too | torch 2.11, not 2.5 | `benchmark/timing.py` |
| networks build on the device 'meta', without memory | timm 1.0.31, not 1.0.9 |
  `models/timm_features.py` |
| encodings of DINO's reference boxes are wide | onedl-mmdetection, not mmdet | `models/dino.py` |

Only the standard library is imported here: this runs before anything else, over whatever is installed.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import Any, NamedTuple


class Package(NamedTuple):
    """A package that we stand on.

    Args:
        name: as pip knows it.
        module: as it is imported.
        first: the oldest version that works.
    """

    name: str
    module: str
    first: str


PYTHON = (3, 10)
ALWAYS = (Package('torch', 'torch', '2.4'), Package('timm', 'timm', '1.0.9'))
LINES = {
    'maintained': (
        Package('onedl-mmengine', 'mmengine', '0.10.12'),
        Package('onedl-mmcv', 'mmcv', '2.3.6'),
        Package('onedl-mmdetection', 'mmdet', '3.5.1'),
        Package('onedl-mmsegmentation', 'mmseg', '1.4.2'),
    ),
    'original': (  # mmcv 2, mmdet 3 and mmsegmentation 1 are the first that stand on mmengine
        Package('mmengine', 'mmengine', '0.10.7'),
        Package('mmcv', 'mmcv', '2.0'),
        Package('mmcv-lite', 'mmcv', '2.0'),
        Package('mmdet', 'mmdet', '3.0'),
        Package('mmsegmentation', 'mmseg', '1.0'),
    ),
}
PACKAGES = (*ALWAYS, *LINES['maintained'], *LINES['original'])
NEEDED = ('torch', 'timm', 'mmengine')  # by the import of this package; the rest may be missing
MMCV_TOO_NEW = '2.2'  # mmdet and mmsegmentation of the original line refuse it themselves
BOTH_WAYS = 'pip install "fastervit_mm[maintained]" or pip install "fastervit_mm[original]"'
SOUND_TORCH = '2.10'  # safe loading of older ones has known holes (CVE-2025-32434 below 2.6 is one)


def release(text: str) -> tuple[int, ...]:
    """The numbers of a version: (2, 4, 0) for 2.4.0a0+git1234."""
    match = re.match(r'\d+(\.\d+)*', text)
    return tuple(map(int, match[0].split('.'))) if match else ()


def packages_of(module: str) -> list[str]:
    """Names of the packages, of every line, that are imported as ``module``."""
    return [p.name for line in LINES.values() for p in line if p.module == module]


def installed() -> dict[str, str]:
    """Name -> version of the packages here that are installed."""
    found = {}
    for package in PACKAGES:
        try:
            found[package.name] = version(package.name)
        except PackageNotFoundError:
            continue
    return found


def _both_lines(found: Mapping[str, str]) -> Iterator[str]:
    """Packages of one line that are installed over those of the other."""
    names = [p.name for line in LINES.values() for p in line if p.name in found]
    for package in LINES['maintained']:
        rivals = [n for n in packages_of(package.module) if n in found]
        if package.name in rivals and len(rivals) > 1:
            listed = ' and '.join(f'{name} {found[name]}' for name in rivals)
            yield (
                f'{listed} are installed over each other, both as {package.module}: '
                f'pip uninstall -y {" ".join(names)}, then {BOTH_WAYS}'
            )


def _too_old(found: Mapping[str, str]) -> Iterator[str]:
    for package in PACKAGES:
        name, first = package.name, package.first
        if name in found and release(found[name]) < release(first):
            # pip takes the torch that a torchvision was built for only if it is asked for both
            more = ' torchvision' if name == 'torch' else ''
            yield (
                f'fastervit_mm needs {name} {first} or newer, found {name} {found[name]}: '
                f'pip install "{name}>={first}"{more}'
            )


def _too_new(found: Mapping[str, str]) -> Iterator[str]:
    """An mmcv that the mmdet or mmsegmentation of the original line does not import with."""
    for host in ('mmdet', 'mmsegmentation'):
        for name in ('mmcv', 'mmcv-lite'):
            if host in found and name in found and release(found[name]) >= release(MMCV_TOO_NEW):
                yield (
                    f'{host} {found[host]} needs {name} 2.0 to 2.1, found {name} {found[name]}: '
                    f'pip uninstall -y {name}, then pip install mmcv-lite==2.1.0'
                )


def _missing() -> Iterator[str]:
    for module in NEEDED:
        if find_spec(module) is None:
            allowed = ' or '.join(f'{p.name} {p.first}' for p in PACKAGES if p.module == module)
            yield (
                f'fastervit_mm needs {allowed} or newer, found none: {BOTH_WAYS}, '
                'never both in one environment'
            )


def problems(found: Mapping[str, str]) -> Iterator[str]:
    """Why nothing can work here, one line each.

    Args:
        found: what `installed` gives.
    """
    if sys.version_info[:2] < PYTHON:
        wanted, this = '.'.join(map(str, PYTHON)), sys.version.split()[0]
        yield (
            f'fastervit_mm needs Python {wanted} or newer, this is Python {this}: '
            f'python{wanted} -m venv .venv makes an environment of that one'
        )
    yield from _both_lines(found)
    yield from _too_old(found)
    yield from _too_new(found)
    yield from _missing()


def check_versions() -> None:
    """Refuse what cannot work, before it fails with some other error.

    Raises:
        ImportError: a package is missing, too old or too new, or both lines are installed.
    """
    line = next(problems(installed()), None)
    if line is not None:
        raise ImportError(line)


def start_loader(batches: Any) -> None:
    """Make the loader of a run's iterator now, where mmengine makes it at the first batch.

    Args:
        batches: ``dataloader_iterator`` of an `IterBasedTrainLoop`.
    """
    start = getattr(batches, '_ensure_iterator', None)
    if start is not None:
        start()


def call_before_loading(module: Any, hook: Callable[..., None]) -> None:
    """Have ``hook`` called before weights are loaded into a module.

    Args:
        module: of PyTorch.
        hook: gets the module, and what its ``load_state_dict`` passes on.
    """
    if hasattr(module, 'register_load_state_dict_pre_hook'):
        module.register_load_state_dict_pre_hook(hook)
    else:
        module._register_load_state_dict_pre_hook(hook, with_module=True)


def unsound_loading(torch_version: str) -> str | None:
    """What speaks against loading files of strangers with that torch; None if nothing does."""
    if release(torch_version) >= release(SOUND_TORCH):
        return None
    return (
        f'safe loading of torch {torch_version} has known holes: files of strangers need '
        f'torch {SOUND_TORCH} or newer'
    )
