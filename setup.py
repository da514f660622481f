"""Packaging, and the folder ``fastervit_mm/.mim`` by which ``mim`` finds configs and tools."""

import os
import re
import shutil
import sys
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).resolve().parent
MIM = ('openmim>=0.3.9', 'setuptools<82')  # it imports pkg_resources
MIM_CONTENT = ('configs', 'tools', 'model-index.yml')


def version() -> str:
    text = (ROOT / 'fastervit_mm' / 'version.py').read_text()
    return re.search(r"__version__ = ['\"]([^'\"]+)", text)[1]


def add_mim_folder() -> None:
    """Put configs, tools and the model index under ``fastervit_mm/.mim``.

    Links when the package is installed in editable mode, so that edits count; copies otherwise,
    so that a wheel holds them.
    """
    editable = 'develop' in sys.argv or 'editable_wheel' in sys.argv
    if not editable and not {'bdist_wheel', 'build', 'sdist', 'install'} & set(sys.argv):
        return
    folder = ROOT / 'fastervit_mm' / '.mim'
    if not (ROOT / 'configs').exists() and (folder / 'configs').exists():
        return  # unpacked from a source package, which carries the folder
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for name in MIM_CONTENT:
        source, target = ROOT / name, folder / name
        if not source.exists():
            continue
        if editable:
            target.symlink_to(os.path.relpath(source, folder))
        elif source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns('__pycache__'))
        else:
            shutil.copyfile(source, target)


if __name__ == '__main__':
    add_mim_folder()
    setup(
        name='fastervit_mm',
        version=version(),
        description='FasterViT backbones for dense prediction in the OpenMMLab libraries',
        long_description=(ROOT / 'README.md').read_text(encoding='utf-8'),
        long_description_content_type='text/markdown',
        license='Apache-2.0',
        python_requires='>=3.10',
        packages=find_packages(include=['fastervit_mm', 'fastervit_mm.*']),
        include_package_data=True,
        package_data={'fastervit_mm': ['.mim/**/*', '.mim/*']},
        install_requires=['torch>=2.4', 'timm>=1.0.9', 'numpy'],
        extras_require={
            'maintained': [
                'onedl-mmengine>=0.10.12',
                'onedl-mmcv>=2.3.6',
                'onedl-mmdetection>=3.5.1',
                'onedl-mmsegmentation>=1.4.2',
                'addict',
                'yapf',
                *MIM,
            ],
            'original': [
                'mmengine>=0.10.7',
                'mmcv-lite==2.1.0',
                'mmdet==3.3.0',
                'mmsegmentation==1.2.2',
                'opencv-python<4.12',
                'ftfy',
                'regex',
                *MIM,
            ],
            'tests': ['pytest', 'pytest-xdist', 'hypothesis', 'setuptools', 'wheel'],
            'lint': ['ruff', 'import-linter', 'mypy', 'types-PyYAML', 'types-tqdm', 'pre-commit'],
            'audit': ['mutmut>=3.8', 'pytest-cov'],
        },
        zip_safe=False,
    )
