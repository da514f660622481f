"""How mmcv finds our operators, where it has none of its own, and what the others say."""

import importlib
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

import pytest
import torch

import fastervit_mm
from fastervit_mm.errors import UserError
from fastervit_mm.operators import extension, finder, provide_operators
from tests.operators.cases import cases, difference, ours, run
from tests.operators.without import without_extension


def python(code: str, path, *arguments: str) -> subprocess.CompletedProcess:
    """Python in an environment whose mmcv is the one below ``path``."""
    return subprocess.run(
        [sys.executable, '-c', code, *arguments],
        env=without_extension(path),
        capture_output=True,
        text=True,
    )


def test_every_operator_that_mmcv_loads_is_there():
    """``load_ext`` asserts that they are when mmcv.ops is imported."""
    module = ours()
    for name in ('nms', 'roi_align_forward', 'ms_deform_attn_backward', 'psamask_forward', 'any'):
        assert callable(getattr(module, name)) and getattr(module, name).__name__ == name
    assert getattr(module, '__path__', None) is None and not hasattr(module, '__wrapped__')


@pytest.mark.parametrize(
    'name, users',
    [
        ('psamask_forward', "mmseg's PSANet"),
        ('line_nms_forward', "mmdet's CLRNet"),
        ('nms_rotated', 'no model of mmdet or mmseg'),
        ('sync_bn_forward_mean', "a config with MMSyncBN (SyncBN is PyTorch's own)"),
    ],
)
def test_an_operator_that_is_not_provided_says_who_uses_it_and_the_way_out(name, users):
    with pytest.raises(UserError) as caught:
        getattr(ours(), name)(1, two=2)
    assert str(caught.value) == (
        f'{name} is an operator of mmcv that only its compiled extension has ({users} uses it): '
        'FASTERVIT_MM_OPS=compiled make setup builds it, or see docs/operators.md'
    )


def sources(library: str) -> str:
    """All Python of a host library, its configs too."""
    folder = Path(find_spec(library).origin).parent
    return '\n'.join(p.read_text(errors='ignore') for p in folder.rglob('*.py'))


def test_the_users_are_those_of_the_host_libraries():
    """Found by the names, in mmdet's and mmseg's sources and configs, of what calls an operator."""
    provided = {function.__name__ for function in extension.PROVIDED}
    assert len(provided) == len(extension.PROVIDED) == 24
    words = set(re.findall(r'\w+', sources('mmdet') + sources('mmseg')))
    used, called = set(), set()
    for path in (Path(find_spec('mmcv').origin).parent / 'ops').glob('*.py'):
        source = path.read_text()
        missing = set(re.findall(r'ext_module\.(\w+)', source)) - provided
        called |= missing
        names = re.findall(r'^(?:class|def) (\w+)', source, re.M)
        names += re.findall(r"register_module\((?:name=)?'(\w+)'", source)
        # nn.SyncBatchNorm is PyTorch's; rotated boxes and NMS by strings of other libraries
        names = [n for n in names if n not in ('SyncBatchNorm', 'batched_nms', 'nms', 'soft_nms')]
        if not words.isdisjoint(names):
            used |= missing
    used -= {'get_compiler_version', 'get_compiling_cuda_version', 'nms_rotated', 'nms_quadri'}
    # mmdet has functions of its own by these names
    used -= {'bbox_overlaps', 'diff_iou_rotated_sort_vertices_forward'}
    assert used == set(extension.USERS) & called  # the original mmcv has no line_nms


def test_the_finder_comes_last_and_once():
    before = list(sys.meta_path)
    assert sum(isinstance(f, finder.OperatorFinder) for f in before) == 1
    provide_operators()
    importlib.reload(fastervit_mm)
    assert sys.meta_path == before
    ours_, others = finder.OperatorFinder(), ('mmcv', 'mmcv._ext2', 'x.mmcv._ext', '_ext')
    assert all(ours_.find_spec(name, None) is None for name in others)
    assert isinstance(ours_.find_spec('mmcv._ext', None).loader, finder.OperatorLoader)


FIND = """
import sys
import fastervit_mm
from fastervit_mm.operators import operators_in_use
assert 'mmcv' not in sys.modules and operators_in_use() is None  # until somebody asks for it
import mmcv.ops
print(type(sys.modules['mmcv._ext'].__loader__).__name__, operators_in_use())
"""

SHOW = """
import mmdet.models, mmseg.models
from mmcv.utils import collect_env
env = collect_env()
print(env['MMCV Compiler'], env['MMCV CUDA Compiler'], sep='|')
"""


def test_without_compiled_operators_ours_are_taken_and_said_once(tmp_path):
    done = python(FIND + SHOW, tmp_path)
    assert done.returncode == 0, done.stderr
    assert 'OperatorLoader torchvision' in done.stdout.splitlines()
    told = 'none: operators by torchvision (fastervit_mm)'
    assert done.stdout.splitlines()[-1] == f'{told}|{told}'
    said = (done.stdout + done.stderr).count('mmcv was installed without its compiled operators')
    assert said == 1


def test_compiled_operators_are_taken_where_they_are(tmp_path):
    environment = without_extension(tmp_path)
    # stands for the compiled one: an ordinary module at its place
    text = 'def __getattr__(name):\n    return len\n'
    (tmp_path / 'mmcv' / '_ext.py').write_text(text)
    done = subprocess.run(
        [sys.executable, '-c', FIND], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == 'SourceFileLoader compiled'
    assert 'compiled operators' not in done.stdout + done.stderr


def test_without_us_nothing_is_provided(tmp_path):
    done = python('import mmcv.ops', tmp_path)
    assert done.returncode == 1 and "No module named 'mmcv._ext'" in done.stderr


def test_a_filled_module_is_only_filled():
    module = ModuleType('anything')
    extension.fill(module)
    assert module.__name__ == 'anything' and module.nms.__doc__ == extension.boxes.nms.__doc__


LATE = """
import sys, warnings
try:
    import mmseg.models
except ImportError:
    pass
sys.modules.setdefault('mmseg.models', sys)
with warnings.catch_warnings(record=True) as seen:
    warnings.simplefilter('always')
    import fastervit_mm
print([str(w.message) for w in seen if 'imported before' in str(w.message)])
"""


def test_an_import_that_comes_too_late_is_said(tmp_path):
    done = python(LATE, tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == str(
        [
            'mmseg.models was imported before fastervit_mm and found no operators of mmcv: import '
            'fastervit_mm first (docs/operators.md)'
        ]
    )


@pytest.mark.parametrize(
    'case', [c for c in cases() if c.graded], ids=lambda c: f'{c.operator}: {c.name}'
)
def test_compiled_models_have_the_same_gradients(case):
    """Dynamo traced into operators that fill a buffer, and lost the gradients of it."""
    expected = run(case, ours())
    compiled = case._replace(call=torch.compile(case.call, backend='eager'))
    found = run(compiled, ours())
    assert difference(found.outputs, expected.outputs) == 0
    assert difference(found.gradients, expected.gradients) < 1e-6
