"""What a wheel carries and needs, and the folder by which mim finds configs and tools."""

import email
import importlib.util
import os
import subprocess
import sys
import zipfile

import pytest

from fastervit_mm.version import __version__
from tests.helpers import ROOT

spec = importlib.util.spec_from_file_location('setup_file', ROOT / 'setup.py')
setup_file = importlib.util.module_from_spec(spec)
spec.loader.exec_module(setup_file)

NO_WORKERS = ('num_workers=0', 'persistent_workers=False')
NEEDS = ['torch>=2.4', 'timm>=1.0.9', 'numpy']
EXTRAS = {
    'maintained': [
        'onedl-mmengine>=0.10.12',
        'onedl-mmcv>=2.3.6',
        'onedl-mmdetection>=3.5.1',
        'onedl-mmsegmentation>=1.4.2',
        'addict',
        'yapf',
        'openmim>=0.3.9',
        'setuptools<82',
    ],
    'original': [
        'mmengine>=0.10.7',
        'mmcv-lite==2.1.0',
        'mmdet==3.3.0',
        'mmsegmentation==1.2.2',
        'opencv-python<4.12',
        'ftfy',
        'regex',
        'openmim>=0.3.9',
        'setuptools<82',
    ],
}


def listed() -> list[str]:
    """The project's files, as git knows them."""
    names = subprocess.run(
        ['git', 'ls-files', '-co', '--exclude-standard'],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    return [name for name in names if (ROOT / name).is_file()]


@pytest.fixture(scope='module')
def wheel(tmp_path_factory) -> zipfile.ZipFile:
    """A wheel built from a copy of the project."""
    folder = tmp_path_factory.mktemp('wheel')
    copy = folder / 'source'
    for name in listed():
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        (copy / name).write_bytes((ROOT / name).read_bytes())
    options = ('-q', '--no-deps', '--no-build-isolation', '-w', folder)
    subprocess.run([sys.executable, '-m', 'pip', 'wheel', *options, '.'], cwd=copy, check=True)
    (path,) = folder.glob('*.whl')
    return zipfile.ZipFile(path)


def test_a_wheel_carries_package_configs_tools_and_index(wheel):
    package = {n for n in listed() if n.startswith('fastervit_mm/') and n.endswith('.py')}
    carried = {n for n in listed() if n.split('/')[0] in ('configs', 'tools', 'model-index.yml')}
    names = {n for n in wheel.namelist() if '.dist-info/' not in n}
    assert names == package | {f'fastervit_mm/.mim/{n}' for n in carried}
    path = 'configs/detection/cascade_fastervit_2_3x.py'
    assert wheel.read(f'fastervit_mm/.mim/{path}') == (ROOT / path).read_bytes()


def metadata(wheel: zipfile.ZipFile) -> email.message.Message:
    (name,) = (n for n in wheel.namelist() if n.endswith('.dist-info/METADATA'))
    return email.message_from_bytes(wheel.read(name))


def test_what_a_wheel_says_of_itself(wheel):
    about = metadata(wheel)
    assert about['Name'].replace('-', '_') == 'fastervit_mm' and about['Version'] == __version__
    assert about['Requires-Python'] == '>=3.10'
    assert 'Apache-2.0' in (about['License'], about['License-Expression'])
    assert about['Description-Content-Type'] == 'text/markdown'
    assert about.get_payload(decode=True).decode().strip() == (
        (ROOT / 'README.md').read_text(encoding='utf-8').strip()
    )
    assert about['Summary'] == (
        'FasterViT backbones for dense prediction in the OpenMMLab libraries'
    )


def names_of(needs, extra: str) -> set[str]:
    return {r.name for r in needs if r.marker and r.marker.evaluate({'extra': extra})}


def test_what_a_wheel_needs(wheel):
    from packaging.requirements import Requirement

    about = metadata(wheel)
    needs = [Requirement(text) for text in about.get_all('Requires-Dist')]
    always = {str(r) for r in needs if r.marker is None}
    assert always == {str(Requirement(text)) for text in NEEDS}
    assert {*EXTRAS, 'tests', 'lint'} <= set(about.get_all('Provides-Extra'))
    for extra, texts in EXTRAS.items():
        wanted = {(r.name, str(r.specifier)) for r in map(Requirement, texts)}
        found = {
            (r.name, str(r.specifier))
            for r in needs
            if r.marker and r.marker.evaluate({'extra': extra})
        }
        assert found == wanted, extra
    assert {'pytest', 'hypothesis'} <= names_of(needs, 'tests')
    assert {'ruff', 'import-linter', 'mypy', 'pre-commit'} <= names_of(needs, 'lint')


# -- the folder .mim --------------------------------------------------------------------------


@pytest.fixture
def project(monkeypatch, tmp_path):
    """A project with configs, tools, index and a package."""
    for name in ('configs/_base_/a.py', 'configs/__pycache__/a.pyc', 'tools/train.py'):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    (tmp_path / 'model-index.yml').write_text('Import: []\n')
    (tmp_path / 'fastervit_mm').mkdir()
    monkeypatch.setattr(setup_file, 'ROOT', tmp_path)
    return tmp_path


def run_setup(monkeypatch, *commands: str) -> None:
    monkeypatch.setattr(sys, 'argv', ['setup.py', *commands])
    setup_file.add_mim_folder()


@pytest.mark.parametrize('command', ['develop', 'editable_wheel'])
def test_an_editable_installation_links(project, monkeypatch, command):
    run_setup(monkeypatch, command)
    folder = project / 'fastervit_mm' / '.mim'
    assert {p.name: os.readlink(p) for p in folder.iterdir()} == {
        name: f'../../{name}' for name in ('configs', 'tools', 'model-index.yml')
    }
    assert (folder / 'tools' / 'train.py').read_text() == 'tools/train.py'


@pytest.mark.parametrize('command', ['bdist_wheel', 'build', 'sdist', 'install'])
def test_anything_else_that_is_built_copies(project, monkeypatch, command):
    run_setup(monkeypatch, 'editable_wheel')
    run_setup(monkeypatch, command)  # instead of the links
    folder = project / 'fastervit_mm' / '.mim'
    files = {str(p.relative_to(folder)) for p in folder.rglob('*') if p.is_file()}
    assert files == {'configs/_base_/a.py', 'tools/train.py', 'model-index.yml'}
    assert not any(p.is_symlink() for p in folder.rglob('*'))
    assert (folder / 'model-index.yml').read_text() == 'Import: []\n'


def test_a_question_leaves_everything_as_it_is(project, monkeypatch):
    run_setup(monkeypatch, 'egg_info')
    assert list((project / 'fastervit_mm').iterdir()) == []


def test_a_source_package_keeps_the_folder_it_carries(project, monkeypatch):
    run_setup(monkeypatch, 'sdist')
    (project / 'configs').rename(project / 'away')
    (project / 'tools' / 'train.py').write_text('other')
    run_setup(monkeypatch, 'bdist_wheel')
    assert (project / 'fastervit_mm/.mim/tools/train.py').read_text() == 'tools/train.py'


def test_what_is_not_there_is_not_carried(project, monkeypatch):
    (project / 'model-index.yml').unlink()
    run_setup(monkeypatch, 'bdist_wheel')
    names = {p.name for p in (project / 'fastervit_mm' / '.mim').iterdir()}
    assert names == {'configs', 'tools'}


def test_the_version_is_read_without_an_import(project):
    (project / 'fastervit_mm' / 'version.py').write_text("a = 1\n__version__ = '1.2.3'\n")
    assert setup_file.version() == '1.2.3'


# -- an empty environment ---------------------------------------------------------------------


@pytest.mark.long
def test_a_wheel_in_an_empty_environment_trains_by_mim(wheel, shapes, tmp_path):
    """No compiler is on the path, and mim is what ``fastervit_mm[maintained]`` brings."""
    python = tmp_path / 'env' / 'bin' / 'python'
    here = dict(
        os.environ, PATH=f'{python.parent}{os.pathsep}{tmp_path}', CUDA_VISIBLE_DEVICES='-1'
    )
    here.pop('PYTHONPATH', None)

    def run(*words) -> str:
        done = subprocess.run(
            [*map(str, words)], env=here, cwd=tmp_path, capture_output=True, text=True
        )
        assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
        return done.stdout + done.stderr

    run(sys.executable, '-m', 'venv', tmp_path / 'env')
    pins = ROOT / 'requirements' / 'maintained.txt'
    run(python, '-m', 'pip', 'install', '-q', '-c', pins, f'{wheel.filename}[maintained]')
    assert not list(tmp_path.glob('env/lib/python*/site-packages/mmcv/_ext*'))
    few = [f'{split}_dataloader.{o}' for split in ('train', 'val') for o in NO_WORKERS]
    output = run(
        *(python.parent / 'mim', 'train', 'fastervit_mm', 'cascade_fastervit_shapes.py'),
        *('--gpus', 0, '--data', shapes / 'coco', '--work-dir', tmp_path / 'run', '--epochs', 1),
        *('--cfg-options', 'train_dataloader.batch_size=2', *few),
    )
    assert 'coco/bbox_mAP' in output and (tmp_path / 'run' / 'epoch_1.pth').is_file()
