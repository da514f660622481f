"""The model index names every config; a built wheel carries configs, tools and index for mim."""

import subprocess
import sys
import zipfile

import yaml
from tests.helpers import ROOT


def test_the_index_names_every_config_once():
    index = yaml.safe_load((ROOT / 'model-index.yml').read_text())
    models = [
        model
        for path in index['Import']
        for model in yaml.safe_load((ROOT / path).read_text())['Models']
    ]
    configs = sorted(
        str(p.relative_to(ROOT))
        for p in (ROOT / 'configs').rglob('*.py')
        if '_base_' not in p.parts
    )
    assert sorted(model['Config'] for model in models) == configs
    assert all(model['Config'].endswith(f'/{model["Name"]}.py') for model in models)


def test_a_wheel_carries_configs_tools_and_index(tmp_path):
    copy = tmp_path / 'source'
    listed = subprocess.run(
        ['git', 'ls-files', '-co', '--exclude-standard'],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    for name in listed:
        if (ROOT / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            (copy / name).write_bytes((ROOT / name).read_bytes())
    subprocess.run(
        [
            sys.executable,
            '-m',
            'pip',
            'wheel',
            '-q',
            '--no-deps',
            '--no-build-isolation',
            '-w',
            tmp_path,
            '.',
        ],
        cwd=copy,
        check=True,
    )
    (wheel,) = tmp_path.glob('*.whl')
    names = zipfile.ZipFile(wheel).namelist()
    for path in (
        'configs/detection/cascade_fastervit_2_3x.py',
        'tools/train.py',
        'configs/_base_/models/dino.py',
        'tools/dist_train.sh',
        'model-index.yml',
        'configs/detection/cascade_metafile.yml',
    ):
        assert f'fastervit_mm/.mim/{path}' in names
    assert 'fastervit_mm/config/run_config.py' in names
    assert not [name for name in names if name.startswith('tests/')]


def test_the_readme_has_a_row_for_every_config_of_the_zoo():
    text = (ROOT / 'README.md').read_text()
    names = [p.stem for p in (ROOT / 'configs').rglob('*.py') if '_base_' not in p.parts]
    assert not [n for n in names if f'| `{n}` |' not in text and 'shapes' not in n]
