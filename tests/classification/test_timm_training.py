"""Fine-tuning to larger images and windows, as docs/imagenet.md has it: timm's functions, timm's script."""

import argparse
import csv
import os
import re
import shlex
import subprocess
import sys

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from timm.data import Mixup, create_dataset, create_loader, resolve_data_config
from timm.loss import SoftTargetCrossEntropy
from timm.optim import create_optimizer_v2
from timm.scheduler import create_scheduler_v2
from timm.utils import CheckpointSaver, ParseKwargs, dispatch_clip_grad

import fastervit_mm.timm_models  # noqa: F401  (timm finds our networks)
from fastervit_mm import VARIANTS
from fastervit_mm.models.classifier import FasterViTClassifier
from tests.helpers import ROOT, SMALL, call_tool

GUIDE = (ROOT / 'docs' / 'imagenet.md').read_text(encoding='utf-8')
SCRIPT = os.environ.get('FASTERVIT_MM_TIMM_TRAIN', '')
SIDES = (384, 512, 768)
NAMES = ('n01440764', 'n01443537')  # classes 0 and 1


def documented(program: str) -> list[str]:
    """The options of the guide's command for ``program``."""
    block = re.search(r'```bash\n(.*?)```', GUIDE, re.S)[1].replace('\\\n', ' ')
    (line,) = [line for line in block.splitlines() if line.startswith(f'python {program} ')]
    return shlex.split(line)[2:]


def windows_of_the_guide() -> dict[int, list[list[int]]]:
    """Side of the images -> windows of the two columns of the guide's table."""
    rows = re.findall(r'^\| (\d+) px \| (.*)$', GUIDE, re.M)
    parser = argparse.ArgumentParser()
    parser.add_argument('--model-kwargs', nargs='*', action=ParseKwargs)
    found = {}
    for side, cells in rows:
        given = [['--model-kwargs', text] for text in re.findall('`(.*?)`', cells)]
        found[int(side)] = [parser.parse_args(g).model_kwargs['window_size'] for g in given]
    return found


@pytest.fixture(scope='module')
def images(tmp_path_factory):
    """ImageNet's layout: two classes, four images to train with and one to validate on in each."""
    root, random = tmp_path_factory.mktemp('imagenet'), np.random.default_rng(0)
    for split, each in (('train', 4), ('val', 1)):
        for name in NAMES:
            (root / split / name).mkdir(parents=True)
            for i in range(each):
                pixels = random.integers(0, 255, (50, 60, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(root / split / name / f'{i}.png')
    return root


@pytest.fixture(scope='module')
def published(tmp_path_factory):
    """A file of fastervit_0 as the published ones are, and what it holds."""
    torch.manual_seed(0)
    state = FasterViTClassifier('fastervit_0').state_dict()
    path = tmp_path_factory.mktemp('weights') / 'fastervit_0_224_1k.pth.tar'
    entries = {f'module.{name}': value for name, value in state.items()}
    entries['module.levels.2.blocks.0.pos_embed.relative_bias'] = torch.zeros(1, 49, 256)
    torch.save(dict(state_dict=entries, args=argparse.Namespace(lr=1.0)), path)
    return path, state


def test_the_guides_windows():
    """As many of them as at 224 px; the second column is what the published networks have."""
    found = windows_of_the_guide()
    assert tuple(found) == SIDES
    for side, (own, whole) in found.items():
        assert own == [7, 7, side // 32, side // 32]
        assert [side / 16 / own[2], side / 32 / own[3]] == [2, 1] == [224 / 16 / 7, 224 / 32 / 7]
        assert tuple(whole) == VARIANTS[f'fastervit_4_21k_{side}'].window_size
    options = ' '.join(documented('train.py'))
    assert '--img-size 384 --model-kwargs window_size=[7,7,12,12]' in options
    assert '--device-modules fastervit_mm.timm_models' in options


@pytest.mark.parametrize('side', SIDES)
@pytest.mark.parametrize('column', [0, 1])
def test_weights_of_224_px_are_those_of_larger_windows(side, column):
    """Every entry has its shape there; logits are numbers, and are not those of the small windows."""
    small = SMALL | dict(layer_scale=1e-5, do_propagation=True)
    if column == 1:
        small |= dict(hat=(False,) * 4, window_size=(7, 7, 14, 7))
    torch.manual_seed(0)
    source = FasterViTClassifier(small).eval()
    grown = FasterViTClassifier(small, window_size=windows_of_the_guide()[side][column]).eval()
    assert grown.load_state_dict(source.state_dict()) == ([], [])
    assert [level.window for level in grown.levels[2:]] == windows_of_the_guide()[side][column][2:]
    image = torch.randn(1, 3, side, side)
    with torch.no_grad():
        logits, before = grown(image), source(image)
    assert logits.shape == (1, 1000) and logits.isfinite().all()
    assert not torch.equal(logits, before)


@pytest.mark.parametrize('classes', [1000, 2])
def test_a_published_file_loads_into_other_windows(classes, published):
    """With its head where the classes are its own."""
    path, state = published
    model = timm.create_model(
        'fastervit_0',
        pretrained=True,
        pretrained_cfg_overlay=dict(file=str(path)),
        num_classes=classes,
        window_size=[7, 7, 12, 12],
    )
    own = model.state_dict()
    other = [name for name in own if not torch.equal(own[name], state[name])]
    assert other == ([] if classes == 1000 else ['head.weight', 'head.bias'])


def test_a_few_iterations_with_timms_functions(images, published, tmp_path, monkeypatch):
    """An epoch as timm's script does it; what it saves is evaluated by tools/validate_imagenet.py."""
    torch.manual_seed(0)
    windows = [7, 7, 2, 2]  # of 64 px, as 12 is of 384
    model = timm.create_model(
        'fastervit_0',
        pretrained=True,
        pretrained_cfg_overlay=dict(file=str(published[0])),
        drop_path_rate=0.2,
        window_size=windows,
    )
    model.set_grad_checkpointing()
    settings = resolve_data_config(dict(img_size=64), model=model)
    data = create_dataset('', root=str(images), split='train', is_training=True)
    loader = create_loader(
        data, settings['input_size'], batch_size=4, is_training=True,
        auto_augment='rand-m9-mstd0.5-inc1', re_prob=0.25, mean=settings['mean'], std=settings['std'],
        num_workers=0, persistent_workers=False, use_prefetcher=False,
    )  # fmt: skip
    mixup = Mixup(mixup_alpha=0.8, cutmix_alpha=1.0, label_smoothing=0.1, num_classes=1000)
    optimizer = create_optimizer_v2(model, 'adamw', lr=1e-3, weight_decay=1e-8, layer_decay=0.9)
    schedule, _ = create_scheduler_v2(optimizer, 'cosine', num_epochs=2, min_lr=1e-4)
    start = {name: value.clone() for name, value in model.named_parameters()}
    loss, losses = SoftTargetCrossEntropy(), []
    for batch, labels in loader:
        batch, labels = mixup(batch, labels)
        losses.append(loss(model(batch), labels))
        losses[-1].backward()
        dispatch_clip_grad(model.parameters(), 5.0)
        optimizer.step()
        optimizer.zero_grad()
    schedule.step(1)
    assert len(losses) == 2 and all(value.isfinite() for value in losses)
    assert not [name for name, value in model.named_parameters() if torch.equal(value, start[name])]
    assert max(group['lr'] for group in optimizer.param_groups) < 1e-3
    saver = CheckpointSaver(
        model, optimizer, args=argparse.Namespace(model='fastervit_0'), checkpoint_dir=str(tmp_path)
    )
    saver.save_checkpoint(0, metric=1.0)
    evaluate(images, tmp_path / 'model_best.pth.tar', windows, monkeypatch)


def evaluate(images, checkpoint, windows, monkeypatch):
    """As the guide's second command does it; the network that was measured is the one saved."""
    options = documented('tools/validate_imagenet.py')[1:]
    assert options[-2] == '--checkpoint' and options[:2] == ['--model', 'fastervit_2']
    small = ('--model', 'fastervit_0', '--img-size', 64, '--workers', 0, '--checkpoint', checkpoint)
    given = f'window_size={windows}'.replace(' ', '')
    create, measured = timm.create_model, []
    with monkeypatch.context() as patch:
        patch.setattr(
            timm, 'create_model', lambda *a, **k: measured.append(create(*a, **k)) or measured[0]
        )
        output = call_tool(
            'validate_imagenet.py', images, *options, *small, '--model-kwargs', given
        )
    assert 'img_size 64' in output and '2 images of ImageNet-1K' in output
    saved = torch.load(checkpoint, weights_only=False)['state_dict']
    own = measured[0].state_dict()
    assert set(own) == set(saved) and all(torch.equal(own[name], saved[name]) for name in own)
    assert [level.window for level in measured[0].levels[2:]] == windows[2:]


def run_script(images, published, tmp_path, *options, side):
    """The guide's command on the smallest network, one epoch; its output and where it wrote."""
    if not SCRIPT:
        pytest.skip("FASTERVIT_MM_TIMM_TRAIN does not name timm's train.py, which no package has")
    weights = tmp_path / 'hub' / 'checkpoints' / published[0].name
    weights.parent.mkdir(parents=True)
    weights.symlink_to(published[0])
    own = dict(data_dir=images, model='fastervit_0', img_size=side, epochs=1, warmup_epochs=0)
    own |= dict(batch_size=4, lr_base=1e-2, output=tmp_path, experiment='run', workers=0)
    arguments = [
        a for key, value in own.items() for a in (f'--{key.replace("_", "-")}', str(value))
    ]
    done = subprocess.run(
        [sys.executable, SCRIPT, *documented('train.py'), *arguments, '--device', 'cpu', *options],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=dict(os.environ, TORCH_HOME=str(tmp_path), PYTHONPATH=str(ROOT), OMP_NUM_THREADS='2'),
    )
    assert done.returncode == 0, done.stderr[-3000:]
    (row,) = csv.DictReader((tmp_path / 'run' / 'summary.csv').open())
    assert np.isfinite(float(row['train_loss'])) and np.isfinite(float(row['eval_loss']))
    return done.stdout + done.stderr, tmp_path / 'run' / 'model_best.pth.tar'


def test_timms_script(images, published, tmp_path, monkeypatch):
    windows = ('--model-kwargs', 'window_size=[7,7,2,2]')
    _, checkpoint = run_script(images, published, tmp_path, *windows, side=64)
    saved = torch.load(checkpoint, weights_only=False)['state_dict']
    start = published[1]
    name = 'levels.2.blocks.0.attn.qkv.weight'
    assert 0 < (saved[name] - start[name]).abs().max() < 0.1  # from there, and on
    assert saved['head.weight'].shape == (1000, 512)
    assert (saved['head.weight'] - start['head.weight']).abs().max() < 0.1
    evaluate(images, checkpoint, [7, 7, 2, 2], monkeypatch)


@pytest.mark.long
@pytest.mark.parametrize('side', SIDES)
def test_timms_script_at_the_sizes_of_the_guide(side, images, published, tmp_path):
    windows = str(windows_of_the_guide()[side][0]).replace(' ', '')
    small = ('--batch-size', '2', '--num-classes', '2')
    options = ('--model-kwargs', f'window_size={windows}', *small)
    run_script(images, published, tmp_path, *options, side=side)
