"""What importing gives: the public names, registries that find us, errors, and help where it fails."""

import importlib
import json
import pkgutil
import subprocess
import sys

import pytest

import fastervit_mm
from fastervit_mm.errors import ArgumentError, FileError, UserError, exit_on_user_error
from fastervit_mm.registry import HOOKS, MODELS, OPTIM_WRAPPER_CONSTRUCTORS

# from mmengine's registries, without an import of ours: as a config of mmdet or mmseg does
LOOK_UP = """
import json
from mmengine import registry
found = [
    registry.MODELS.get('fastervit_mm.FasterViT'),
    registry.MODELS.get('fastervit_mm.TimmFeatures'),
    registry.HOOKS.get('fastervit_mm.ResumableCheckpointHook'),
    registry.HOOKS.get('fastervit_mm.FasterInferenceHook'),
    registry.OPTIM_WRAPPER_CONSTRUCTORS.get('fastervit_mm.LayerDecayOptimWrapperConstructor'),
]
import sys
assert not {'mmdet', 'mmseg'} & set(sys.modules)
print(json.dumps([kind and kind.__name__ for kind in found]))
"""


def test_mmengine_finds_every_module_by_its_name():
    done = subprocess.run([sys.executable, '-c', LOOK_UP], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == [
        'FasterViT',
        'TimmFeatures',
        'ResumableCheckpointHook',
        'FasterInferenceHook',
        'LayerDecayOptimWrapperConstructor',
    ]


def test_our_registries_are_children_of_mmengines():
    from mmengine import registry

    for ours, parent, name in (
        (MODELS, registry.MODELS, 'model'),
        (HOOKS, registry.HOOKS, 'hook'),
        (
            OPTIM_WRAPPER_CONSTRUCTORS,
            registry.OPTIM_WRAPPER_CONSTRUCTORS,
            'optimizer wrapper constructor',
        ),
    ):
        assert ours.scope == 'fastervit_mm' and ours.parent is parent and ours.name == name
        assert parent.children['fastervit_mm'] is ours


def test_the_public_names():
    assert sorted(fastervit_mm.__all__) == sorted(
        ['HOOKS', 'MODELS', 'VARIANTS', 'FasterViT', 'HierarchicalAttention', 'Variant']
        + ['__version__', 'fuse']
    )
    assert all(hasattr(fastervit_mm, name) for name in fastervit_mm.__all__)
    assert fastervit_mm.MODELS is MODELS and fastervit_mm.HOOKS is HOOKS
    assert fastervit_mm.__version__.count('.') == 2


def test_every_name_that_a_room_offers_is_there():
    rooms = [m.name for m in pkgutil.iter_modules(fastervit_mm.__path__) if m.ispkg]
    modules = [importlib.import_module(f'fastervit_mm.{room}') for room in rooms]
    offered = {module: getattr(module, '__all__', []) for module in modules}
    assert {'Predictor', 'frames_of'} <= {name for names in offered.values() for name in names}
    for module, names in offered.items():
        assert [name for name in names if not hasattr(module, name)] == []


def test_errors_are_what_python_calls_them_too():
    assert issubclass(ArgumentError, (UserError, ValueError)) and issubclass(
        ArgumentError, ValueError
    )
    assert issubclass(FileError, UserError) and issubclass(FileError, OSError)
    # what a file holds is a value: those who catch ValueError for it still do
    assert issubclass(FileError, ValueError) and not issubclass(ArgumentError, OSError)
    assert not issubclass(UserError, (ValueError, OSError))


@pytest.mark.parametrize(
    'error', [ArgumentError('x is 3'), FileError('x is 3'), UserError('x is 3')]
)
def test_an_error_of_the_users_becomes_one_line_and_status_1(error):
    def main():
        raise error

    with pytest.raises(SystemExit) as caught:
        exit_on_user_error(main)
    # the interpreter prints a text to stderr and leaves with 1
    assert caught.value.code == 'error: x is 3'


@pytest.mark.parametrize('kind', [ValueError, OSError, KeyError, ZeroDivisionError])
def test_a_defect_keeps_its_traceback(kind):
    def main():
        raise kind('x')

    with pytest.raises(kind):
        exit_on_user_error(main)


def test_main_is_called_once():
    called = []
    assert exit_on_user_error(lambda: called.append(1)) is None and called == [1]


def test_a_script_of_somebody_elses_is_run_as_python_does(tmp_path, capsys, monkeypatch):
    from fastervit_mm import run

    script = tmp_path / 'theirs.py'
    script.write_text('import sys, beside; print(__name__, sys.argv[1:], sys.path[0], beside.here)')
    (tmp_path / 'beside.py').write_text('here = 1')
    monkeypatch.setattr(sys, 'path', ['', *sys.path])
    monkeypatch.setattr(sys, 'argv', ['run', str(script), 'a', '--b'])
    run.main()
    assert capsys.readouterr().out == f"__main__ ['a', '--b'] {tmp_path} 1\n"
    monkeypatch.setattr(sys, 'argv', ['run', 'none.py'])
    with pytest.raises(FileError, match='none.py is not there; give the path of a Python script'):
        run.main()
    monkeypatch.setattr(sys, 'argv', ['run'])
    run.main()
    assert 'python -m fastervit_mm.run SCRIPT' in capsys.readouterr().out
