"""Every config builds, its parts fit together, and the backbone resolves from other projects."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope

from tests.configs.expected.backbones import FASTERVIT, WEIGHTS
from tests.configs.resolved import CONFIGS, NAMES, read
from tests.helpers import ROOT
from tests.operators.without import has_compiled


def build(cfg: Config):
    """The model of ``cfg`` without memory for its weights."""
    init_default_scope(cfg.default_scope)
    if cfg.default_scope == 'mmdet':
        from mmdet.registry import MODELS
    else:
        from mmseg.registry import MODELS
    # Swin computes on what it builds, so it cannot be built without memory
    device = 'cpu' if 'Swin' in cfg.model.backbone.type else 'meta'
    with torch.device(device):
        return MODELS.build(cfg.model)


def emitted_channels(backbone) -> list[int]:
    if hasattr(backbone, 'out_channels'):
        return list(backbone.out_channels)
    if hasattr(backbone, 'num_features'):  # Swin
        return list(backbone.num_features)
    return [backbone.feat_dim // 2**i for i in (3, 2, 1, 0)]  # ResNeXt


def test_config_names_are_unique():
    stems = [name.rpartition('/')[2] for name in NAMES]
    assert len(set(stems)) == len(stems) > 0


@pytest.mark.parametrize('name', NAMES)
def test_config_builds_and_its_channels_fit_the_backbone(name):
    cfg = read(name)
    model = build(cfg)
    channels = emitted_channels(model.backbone)
    for part_name in ('neck', 'decode_head', 'auxiliary_head', 'panoptic_head'):
        part = cfg.model.get(part_name)
        if part is None:
            continue
        expected = channels
        if 'in_index' in part:
            index = part.in_index
            expected = channels[index] if isinstance(index, int) else [channels[i] for i in index]
        assert part.in_channels == expected, part_name
    assert cfg.auto_scale_lr.base_batch_size > 0
    lines = (CONFIGS / f'{name}.py').read_text().splitlines()
    assert 'batch' in ' '.join(line for line in lines if line[:1] == '#')


@pytest.mark.parametrize('name', [name for name in NAMES if 'shapes' not in name])
def test_a_child_differs_in_a_handful_of_lines(name):
    assert len((CONFIGS / f'{name}.py').read_text().splitlines()) <= 35


@pytest.mark.parametrize('name', NAMES)
def test_published_weights_belong_to_the_arch(name):
    from fastervit_mm import VARIANTS
    from fastervit_mm.variants import WEIGHTS_URL
    from fastervit_mm.weights.published import checkpoint_of

    backbone = read(name).model.backbone
    if 'FasterViT' in backbone.type and backbone.get('init_cfg'):
        assert backbone.init_cfg == dict(type='Pretrained')
        file = FASTERVIT[backbone.arch][1]
        assert checkpoint_of(backbone.arch, backbone.init_cfg) == WEIGHTS + file
        assert WEIGHTS_URL == WEIGHTS and VARIANTS[backbone.arch].weights == file


# without compiled operators the host's models need ours first (docs/operators.md)
FIRST = '' if has_compiled() else 'import fastervit_mm\n'


def run_python(code: str, cwd: Path = ROOT) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, cwd=cwd)


@pytest.mark.parametrize('host', ['mmdet', 'mmseg'])
def test_the_backbone_resolves_by_name_alone(host, tmp_path):
    """In another project: no custom_imports, the host's default scope."""
    code = (
        f'{FIRST}'
        f'from mmengine.registry import init_default_scope, DefaultScope\n'
        f'from {host}.registry import MODELS\n'
        f'init_default_scope("{host}")\n'
        'model = MODELS.build(dict(type="fastervit_mm.FasterViT", arch="fastervit_0"))\n'
        'print(model.out_channels, DefaultScope.get_current_instance().scope_name)'
    )
    done = run_python(code, tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == f'(64, 128, 256, 512) {host}'


def test_import_is_light_and_silent(tmp_path):
    code = (
        'import sys, warnings\n'
        'import mmengine.runner, timm, torch\n'
        'before = set(sys.modules)\n'
        'warnings.simplefilter("error")\n'
        'import fastervit_mm\n'
        'heavy = {name.split(".")[0] for name in set(sys.modules) - before}\n'
        'heavy &= {"mmcv", "mmdet", "mmseg", "cv2", "pycocotools", "matplotlib"}\n'
        'assert not heavy, heavy'
    )
    done = run_python(code, tmp_path)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize('missing', ['mmdet', 'mmseg'])
def test_either_host_library_may_be_missing(missing, tmp_path):
    other = {'mmdet': 'mmseg', 'mmseg': 'mmdet'}[missing]
    code = (
        f'import sys; sys.modules["{missing}"] = None\n'
        f'{FIRST}'
        f'from {other}.registry import MODELS\n'
        'print(MODELS.build(dict(type="fastervit_mm.FasterViT")).out_strides)'
    )
    done = run_python(code, tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == '(4, 8, 16, 32)'


def test_without_mmengine_the_error_names_both_lines(tmp_path):
    done = run_python('import sys; sys.modules["mmengine"] = None\nimport fastervit_mm', tmp_path)
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert 'fastervit_mm[maintained]' in last and 'fastervit_mm[original]' in last
