"""Versions that cannot work are refused at import with one line; what differs by version is met."""

import importlib
import importlib.metadata
import re
import subprocess
import sys

import pytest
import torch
from packaging.requirements import Requirement
from packaging.version import Version

import fastervit_mm
from fastervit_mm import compatibility
from fastervit_mm.compatibility import (
    ALWAYS,
    LINES,
    call_before_loading,
    check_versions,
    release,
    start_loader,
    unsound_loading,
)
from fastervit_mm.weights.entrances import guarded_loading
from tests.helpers import ROOT
from tests.test_packaging import EXTRAS, NEEDS

MAINTAINED = {
    'torch': '2.4.0+cu121',
    'timm': '1.0.9',
    'onedl-mmengine': '0.10.12',
    'onedl-mmcv': '2.3.6',
    'onedl-mmdetection': '3.5.1',
    'onedl-mmsegmentation': '1.4.2',
}
ORIGINAL = {
    'torch': '2.5.1',
    'timm': '1.0.31',
    'mmengine': '0.10.7',
    'mmcv-lite': '2.1.0',
    'mmdet': '3.3.0',
    'mmsegmentation': '1.2.2',
}
BOTH_WAYS = 'pip install "fastervit_mm[maintained]" or pip install "fastervit_mm[original]"'


@pytest.fixture
def environment(monkeypatch):
    """Makes the metadata say that these packages, and no others, are installed."""

    def install(packages: dict[str, str]) -> None:
        def version(name: str) -> str:
            if name not in packages:
                raise importlib.metadata.PackageNotFoundError(name)
            return packages[name]

        monkeypatch.setattr(compatibility, 'version', version)

    return install


def refusal() -> str:
    """The line with which ``import fastervit_mm`` ends."""
    with pytest.raises(ImportError) as caught:
        importlib.reload(fastervit_mm)
    return str(caught.value)


@pytest.mark.parametrize(
    'packages',
    [
        MAINTAINED,
        ORIGINAL,
        {**MAINTAINED, 'torch': '2.11.0'},
        {**MAINTAINED, 'torch': '2.4.0a0+git07cecf4'},  # of vendors' containers
        {**MAINTAINED, 'timm': '1.1.0.dev0'},
        {**ORIGINAL, 'mmcv': '2.1.0'},  # beside the one without operators
        {'torch': '2.4.0', 'timm': '1.0.9', 'mmengine': '0.10.7'},  # all that the backbone needs
        {'torch': '2.4.0', 'timm': '1.0.9', 'mmengine': '0.10.7', 'mmcv': '2.2.0'},  # no mmdet
        {},  # built without metadata, as some distributions do: what is importable is tried
    ],
)
def test_what_can_work_is_not_refused(packages, environment):
    environment(packages)
    check_versions()


@pytest.mark.parametrize(
    'change, line',
    [
        (
            {'torch': '2.3.1+cpu'},
            'fastervit_mm needs torch 2.4 or newer, found torch 2.3.1+cpu: '
            'pip install "torch>=2.4" torchvision',
        ),
        (
            {'timm': '0.9.16'},
            'fastervit_mm needs timm 1.0.9 or newer, found timm 0.9.16: pip install "timm>=1.0.9"',
        ),
        (
            {'onedl-mmengine': '0.10.9'},
            'fastervit_mm needs onedl-mmengine 0.10.12 or newer, found onedl-mmengine 0.10.9: '
            'pip install "onedl-mmengine>=0.10.12"',
        ),
        (
            {'onedl-mmcv': '2.3.2'},
            'fastervit_mm needs onedl-mmcv 2.3.6 or newer, found onedl-mmcv 2.3.2: '
            'pip install "onedl-mmcv>=2.3.6"',
        ),
        (
            {'mmcv': '2.1.0'},
            'onedl-mmcv 2.3.6 and mmcv 2.1.0 are installed over each other, both as mmcv: '
            'pip uninstall -y onedl-mmengine onedl-mmcv onedl-mmdetection onedl-mmsegmentation '
            f'mmcv, then {BOTH_WAYS}',
        ),
        (
            {'mmengine': '0.10.7', 'mmdet': '3.3.0', 'torch': '2.3.0'},  # one line is enough
            'onedl-mmengine 0.10.12 and mmengine 0.10.7 are installed over each other, both as '
            'mmengine: pip uninstall -y onedl-mmengine onedl-mmcv onedl-mmdetection '
            f'onedl-mmsegmentation mmengine mmdet, then {BOTH_WAYS}',
        ),
    ],
)
def test_what_cannot_work_on_the_maintained_line_is_refused(change, line, environment):
    environment({**MAINTAINED, **change})
    assert refusal() == line


@pytest.mark.parametrize(
    'change, line',
    [
        (
            {'mmengine': '0.8.4'},
            'fastervit_mm needs mmengine 0.10.7 or newer, found mmengine 0.8.4: '
            'pip install "mmengine>=0.10.7"',
        ),
        (
            {'mmdet': '2.28.2'},
            'fastervit_mm needs mmdet 3.0 or newer, found mmdet 2.28.2: pip install "mmdet>=3.0"',
        ),
        (
            {'mmcv-lite': '2.2.0'},
            'mmdet 3.3.0 needs mmcv-lite 2.0 to 2.1, found mmcv-lite 2.2.0: '
            'pip uninstall -y mmcv-lite, then pip install mmcv-lite==2.1.0',
        ),
        (
            {'mmcv': '1.7.2'},
            'fastervit_mm needs mmcv 2.0 or newer, found mmcv 1.7.2: pip install "mmcv>=2.0"',
        ),
    ],
)
def test_what_cannot_work_on_the_original_line_is_refused(change, line, environment):
    environment({**ORIGINAL, **change})
    assert refusal() == line


@pytest.mark.parametrize(
    'module, line',
    [
        (
            'mmengine',
            'fastervit_mm needs onedl-mmengine 0.10.12 or mmengine 0.10.7 or newer, found none: '
            f'{BOTH_WAYS}, never both in one environment',
        ),
        (
            'timm',
            'fastervit_mm needs timm 1.0.9 or newer, found none: '
            f'{BOTH_WAYS}, never both in one environment',
        ),
    ],
)
def test_what_is_missing_is_named(module, line, environment, monkeypatch):
    environment({})
    monkeypatch.setitem(sys.modules, module, None)
    assert refusal() == line


def test_an_old_python_is_refused(monkeypatch):
    monkeypatch.setattr(sys, 'version_info', (3, 9, 18))
    monkeypatch.setattr(sys, 'version', '3.9.18 (main)')
    assert refusal() == (
        'fastervit_mm needs Python 3.10 or newer, this is Python 3.9.18: '
        'python3.10 -m venv .venv makes an environment of that one'
    )


def test_the_bounds_are_those_of_the_package():
    """Of the maintained line and of what both need; the original line's are pinned more closely."""
    named = {r.name: r.specifier for r in map(Requirement, [*NEEDS, *EXTRAS['maintained']])}
    for package in (*ALWAYS, *LINES['maintained']):
        assert str(named[package.name]) == f'>={package.first}'
    pinned = {r.name: r.specifier for r in map(Requirement, EXTRAS['original'])}
    for package in LINES['original']:
        if package.name != 'mmcv':  # in place of mmcv-lite, for those who build it
            (bound,) = pinned[package.name]
            assert Version(bound.version) >= Version(package.first)


def test_the_oldest_line_pins_the_bounds():
    pins = dict(
        re.findall(r'^([\w-]+)==(\S+)$', (ROOT / 'requirements/oldest.txt').read_text(), re.M)
    )
    for package in (*ALWAYS, *LINES['maintained']):
        assert Version(pins[package.name]) == Version(package.first)


def test_only_the_standard_library_is_imported_before_the_check():
    code = (
        'import importlib.util, sys; '
        f'spec = importlib.util.spec_from_file_location("c", {compatibility.__file__!r}); '
        'module = importlib.util.module_from_spec(spec); spec.loader.exec_module(module); '
        'module.check_versions(); '
        'print({"torch", "timm", "mmengine", "packaging", "numpy"} & set(sys.modules))'
    )
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    assert done.stdout.strip() == 'set()', done.stderr


@pytest.mark.parametrize(
    'text, numbers',
    [('2.4.0a0+git12', (2, 4, 0)), ('1.0.9', (1, 0, 9)), ('2.10', (2, 10)), ('unknown', ())],
)
def test_the_numbers_of_a_version(text, numbers):
    assert release(text) == numbers


@pytest.mark.parametrize(
    'version, sound', [('2.4.0+cpu', False), ('2.9.1', False), ('2.10.0', True)]
)
def test_an_old_torch_is_said_to_load_unsoundly(version, sound, monkeypatch, recwarn):
    monkeypatch.setattr(torch, '__version__', version)
    with guarded_loading():
        pass
    said = [str(w.message) for w in recwarn if 'known holes' in str(w.message)]
    assert said == [] if sound else said == [unsound_loading(version)]
    assert sound or said[0] == (
        f'safe loading of torch {version} has known holes: files of strangers need torch 2.10 or newer'
    )
    recwarn.clear()
    with guarded_loading(trust=True):  # the user has chosen
        pass
    assert not any('known holes' in str(w.message) for w in recwarn)


def test_a_loader_that_waits_is_started():
    class Waiting:
        started = 0

        def _ensure_iterator(self) -> None:
            self.started += 1

    waiting = Waiting()
    start_loader(waiting)
    assert waiting.started == 1
    start_loader(iter([]))  # of an mmengine that has started it


@pytest.mark.parametrize('public', [True, False])
def test_a_hook_before_loading_gets_its_module(public, monkeypatch):
    name, module, seen = 'register_load_state_dict_pre_hook', torch.nn.Linear(2, 2), []
    if public and not hasattr(module, name):
        pytest.skip('torch 2.4 has the private name alone')
    if not public:
        monkeypatch.delattr(torch.nn.Module, name, raising=False)
    call_before_loading(module, lambda *given: seen.append(given[:2]))
    weights = module.state_dict()
    module.load_state_dict(weights)
    ((first, loaded),) = seen
    assert first is module and set(loaded) == set(weights)
