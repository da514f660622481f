"""docs/your_project.md: every block of Python on the page does what the page says.

A config is read as a user's file would be, its model built, trained for a step and asked for a
prediction; any other block is run as it stands.
"""

import importlib.util
import re
import runpy
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from fastervit_mm.config.host import build_model
from tests.batches import detection_batch, segmentation_batch
from tests.helpers import ROOT

PAGE = (ROOT / 'docs' / 'your_project.md').read_text(encoding='utf-8')
BLOCKS = re.findall(r'^```python\n(.*?)^```$', PAGE, re.M | re.S)
# by the file name in their first line
CONFIGS = {m[1]: block for block in BLOCKS if (m := re.match(r'# (\w+)\.py\n', block))}
SCRIPTS = [block for block in BLOCKS if not block.startswith('# ')]
HEADS = {
    'retinanet_fastervit_0': 'RetinaNet',
    'mask_rcnn_fastervit_0': 'MaskRCNN',
    'rtmdet_fastervit_0': 'RTMDet',
    'mask2former_instance_fastervit_0': 'Mask2Former',
    'mask2former_panoptic_fastervit_0': 'Mask2Former',
    'segformer_fastervit_0': 'EncoderDecoder',
    'mask2former_semantic_fastervit_0': 'EncoderDecoder',
}
RED = [(255 - 123.675) / 58.395, -116.28 / 57.12, -103.53 / 57.375]  # as the weights expect it


def hosts_configs(host: str) -> Path:
    spec = importlib.util.find_spec(host)
    folder = Path(spec.origin).parent / '.mim' / 'configs'
    if not folder.is_dir():
        pytest.skip(f'{host} was installed without its configs')
    return folder


def read(name: str, folder: Path) -> Config:
    """The config ``name`` of the page, as a file in ``folder``, where mmseg's configs are too."""
    (folder / 'configs').symlink_to(hosts_configs('mmseg'))
    hosts_configs('mmdet')
    path = folder / f'{name}.py'
    path.write_text(CONFIGS[name])
    return Config.fromfile(path)


def test_every_use_is_on_the_page():
    assert list(CONFIGS) == list(HEADS) and len(SCRIPTS) == 2
    assert len(BLOCKS) == len(CONFIGS) + len(SCRIPTS) == PAGE.count('```python')


def first_convolution(model: torch.nn.Module) -> torch.Tensor:
    return model.backbone.patch_embed.conv_down[0].weight


def slim(cfg: Config) -> None:
    """Small images, few regions and points, no weights to download; the network stays as it is."""
    model = cfg.model
    model.backbone.pop('init_cfg')
    model.data_preprocessor.pop('batch_augments', None)
    if 'size' in model.data_preprocessor:
        model.data_preprocessor.size = (64, 64)
    if 'roi_head' in model:
        model.train_cfg.rcnn.sampler.num = 8
        model.train_cfg.rpn_proposal.max_per_img = model.test_cfg.rpn.max_per_img = 20
    for settings in (model.train_cfg, model.get('decode_head', {}).get('train_cfg', {})):
        if 'num_points' in settings:
            settings.num_points = 64


@pytest.mark.parametrize('name', CONFIGS)
def test_a_training_step_and_a_prediction(name, tmp_path):
    torch.manual_seed(0)
    cfg = read(name, tmp_path)
    assert cfg.model.type == HEADS[name]
    assert cfg.model.backbone.init_cfg == dict(type='Pretrained')
    slim(cfg)
    panoptic = 'panoptic' in name
    masks = panoptic or 'instance' in name or 'mask_rcnn' in name
    model = build_model(cfg, init=False)
    if cfg.default_scope == 'mmdet':
        batch = detection_batch(masks=masks, stuff=panoptic)
    else:
        batch = segmentation_batch()
    check_step(model.train(), batch)
    with torch.no_grad():
        predictions = model.eval().test_step(batch)
    for found in predictions:
        height, width = found.ori_shape
        if cfg.default_scope == 'mmseg':
            assert found.pred_sem_seg.data.shape == (1, height, width)
            assert 0 <= found.pred_sem_seg.data.min() and found.pred_sem_seg.data.max() < 150
            continue
        boxes = found.pred_instances
        assert torch.isfinite(boxes.scores).all() and boxes.bboxes.shape == (len(boxes), 4)
        if masks:
            assert boxes.masks.shape == (len(boxes), height, width)
        if panoptic:
            assert found.pred_panoptic_seg.sem_seg.shape == (1, height, width)


def check_step(model: torch.nn.Module, batch: dict) -> None:
    """The loss of ``batch`` is finite, and its gradients reach the backbone's first convolution."""
    data = model.data_preprocessor(batch, True)
    loss, _ = model.parse_losses(model(**data, mode='loss'))
    loss.backward()
    gradient = first_convolution(model).grad
    assert torch.isfinite(loss) and torch.isfinite(gradient).all() and gradient.abs().sum() > 0
    model.zero_grad()


@pytest.mark.parametrize('name', CONFIGS)
def test_images_reach_the_backbone_as_its_weights_expect_them(name, tmp_path):
    """A red pixel, read as BGR."""
    settings = read(name, tmp_path).model.data_preprocessor
    red = torch.tensor([0.0, 0.0, 255.0])
    seen = red.flip(0) if settings.bgr_to_rgb else red
    assert ((seen - torch.tensor(settings.mean)) / torch.tensor(settings.std)).tolist() == (
        pytest.approx(RED)
    )


def run(block: str, folder: Path, monkeypatch) -> dict:
    """Run a block of the page as a script in ``folder``; what it leaves."""
    path = folder / 'script.py'
    path.write_text(block)
    monkeypatch.chdir(folder)
    torch.manual_seed(0)
    return runpy.run_path(str(path))


def test_pytorch_alone(tmp_path, monkeypatch, capsys):
    (block,) = (b for b in SCRIPTS if 'mmpretrain' not in b)
    assert len(block.split('\n\n')[1].splitlines()) <= 5
    left = run(block, tmp_path, monkeypatch)
    assert left['backbone'].patch_embed.conv_down[0].weight.grad.abs().sum() > 0
    sizes = [(2, 64, 51, 80), (2, 128, 26, 40), (2, 256, 13, 20), (2, 512, 7, 10)]
    assert capsys.readouterr().out == f'(64, 128, 256, 512) {sizes}\n'


def test_a_classifier_of_mmpretrain(tmp_path, monkeypatch, capsys):
    pytest.importorskip('mmpretrain', reason='mmpretrain is not installed (docs/your_project.md)')
    (block,) = (b for b in SCRIPTS if 'mmpretrain' in b)
    left = run(block, tmp_path, monkeypatch)
    moved = left['wrapper'].optimizer.state[first_convolution(left['model'])]['exp_avg']
    assert torch.isfinite(moved).all() and moved.abs().sum() > 0
    with torch.no_grad():
        found, _ = left['model'].test_step(left['batch'])
    assert found.pred_score.shape == (10,) and found.pred_score.sum().item() == pytest.approx(1)
    assert 'tensor(' in capsys.readouterr().out
