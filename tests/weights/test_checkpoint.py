"""Files in the published format load as they are; whatever does not fit is named."""

import argparse
import re
from types import SimpleNamespace

import pytest
import torch

from fastervit_mm import VARIANTS, FasterViT
from fastervit_mm.variants import WEIGHTS_URL
from fastervit_mm.weights.download import fetch
from fastervit_mm.weights.published import recognise_variant
from fastervit_mm.weights.safe_loading import load_file
from tests.helpers import SMALL, published_tensor


@pytest.fixture(scope='module')
def published_file(official_keys, tmp_path_factory):
    """FasterViT-0's file as published: nested, prefixed, with training leftovers."""
    entries = {
        f'module.{name}': published_tensor(name, shape)
        for name, shape in official_keys['fastervit_0']['keys'].items()
    }
    path = tmp_path_factory.mktemp('weights') / 'fastervit_0_224_1k.pth.tar'
    torch.save(
        dict(
            epoch=300,
            arch='faster_vit_0_224',
            state_dict=entries,
            args=argparse.Namespace(lr=0.005, amp=True),
            metric=82.1,
        ),
        path,
    )
    return path


def pretrained(path, **kwargs) -> FasterViT:
    model = FasterViT(init_cfg=dict(type='Pretrained', checkpoint=str(path)), **kwargs)
    model.init_weights()
    return model


def test_a_published_file_loads_and_every_entry_is_accounted_for(published_file, monkeypatch):
    lines = []
    monkeypatch.setattr(
        'fastervit_mm.weights.accounting.print_log', lambda text, **_: lines.append(text)
    )
    model = pretrained(published_file)
    entries = load_file(published_file)['state_dict']
    assert all(
        torch.equal(value, entries[f'module.{name}'])
        for name, value in model.state_dict().items()
        if not name.startswith('norm')
    )
    counts = [int(re.search(r': .*?(\d+) entries', line)[1]) for line in lines]
    assert len(counts) == 5  # loaded, derived, stored twice, classifier; norms start afresh
    assert sum(counts[:4]) == len(entries) and counts[4] == 8


def test_weights_load_in_init_weights_not_in_the_constructor(published_file):
    model = FasterViT(init_cfg=dict(type='Pretrained', checkpoint='/nowhere.pth'))
    with pytest.raises(OSError, match='checkpoint /nowhere.pth does not exist'):
        model.init_weights()


def test_another_window_fewer_stages_and_other_norms_load(published_file):
    model = pretrained(
        published_file, window_size=(7, 7, 10, 5), out_indices=(1, 2), out_norm='bn'
    ).eval()
    assert model(torch.randn(1, 3, 100, 100))[1].shape[-1] == 7


def test_a_whole_models_checkpoint_gives_its_backbone(published_file, tmp_path):
    model = pretrained(published_file)
    path = tmp_path / 'detector.pth'
    torch.save(
        dict(
            meta={},
            state_dict={f'backbone.{k}': v for k, v in model.state_dict().items()}
            | {'neck.weight': torch.zeros(3)},
        ),
        path,
    )
    for prefix in (None, 'backbone', 'backbone.'):
        other = FasterViT(init_cfg=dict(type='Pretrained', checkpoint=str(path), prefix=prefix))
        other.init_weights()
        assert all(torch.equal(v, model.state_dict()[k]) for k, v in other.state_dict().items())


def test_the_wrong_variant_is_named(official_keys, tmp_path):
    """FasterViT-2's names and shapes into FasterViT-3, without their memory."""
    path = tmp_path / 'two.pth'
    torch.save(
        dict(
            state_dict={
                name: torch.zeros(()).expand(shape)
                for name, shape in official_keys['fastervit_2']['keys'].items()
            }
        ),
        path,
    )
    with pytest.raises(
        ValueError,
        match=r"does not fit arch='fastervit_3'; it looks like "
        r'fastervit_2\. Entries \d+ missing: levels.*shape',
    ):
        pretrained(path, arch='fastervit_3')
    with pytest.raises(
        ValueError,
        match=r"does not fit arch='fastervit_2' with stage_types=\('conv', 'conv', 'window', "
        r"'window'\); it looks like fastervit_2\. Entries ",
    ):
        pretrained(path, arch='fastervit_2', stage_types=('conv', 'conv', 'window', 'window'))


@pytest.mark.parametrize(
    'change, expected',
    [
        (
            lambda e: e.pop('levels.2.blocks.0.hat_attn.qkv.weight'),
            '1 missing: levels.2.blocks.0.hat_attn.qkv.weight',
        ),
        (lambda e: e.update(extra=torch.zeros(1)), '1 unexpected: extra'),
        (
            lambda e: e.update({'patch_embed.conv_down.0.weight': torch.zeros(8, 4, 3, 3)}),
            r'1 of another shape: patch_embed.conv_down.0.weight \(8, 4, 3, 3\) for \(8, 3, 3, 3\)',
        ),
    ],
)
def test_anything_unexplained_raises_with_its_name(change, expected, tmp_path):
    entries = dict(FasterViT(SMALL).state_dict())
    change(entries)
    torch.save(entries, tmp_path / 'odd.pth')
    with pytest.raises(ValueError, match=expected):
        pretrained(tmp_path / 'odd.pth', arch=SMALL)


def test_files_that_are_no_checkpoints(tmp_path):
    broken = tmp_path / 'broken.pth'
    broken.write_bytes(b'not a checkpoint')
    with pytest.raises(ValueError, match='broken.pth cannot be loaded'):
        pretrained(broken)
    empty = tmp_path / 'empty.pth'
    torch.save({}, empty)
    with pytest.raises(ValueError, match='holds no tensors'):
        pretrained(empty)
    unsafe = tmp_path / 'unsafe.pth'
    torch.save(dict(state_dict={}, hook=SimpleNamespace(a=1)), unsafe)
    with pytest.raises(ValueError, match='types.SimpleNamespace, which safe loading refuses'):
        pretrained(unsafe)
    with pytest.raises(ValueError, match='init_cfg is'):
        FasterViT(init_cfg=dict(type='Kaiming')).init_weights()


def test_urls_are_fetched_once_and_the_licence_is_named(tmp_path, monkeypatch):
    fetched, lines = [], []
    monkeypatch.setenv('TORCH_HOME', str(tmp_path))
    monkeypatch.setattr(
        'fastervit_mm.weights.download.print_log', lambda text, **_: lines.append(text)
    )

    def download(url, path):
        fetched.append(url)
        open(path, 'wb').close()

    monkeypatch.setattr('fastervit_mm.weights.download._download_part', download)
    url = WEIGHTS_URL + VARIANTS['fastervit_2'].weights
    assert (
        fetch(url)
        == fetch(url)
        == tmp_path / 'hub' / 'checkpoints' / ('fastervit_2_224_1k.pth.tar')
    )
    assert fetched == [url]
    assert sum('non-commercial' in line for line in lines) == 1


def test_a_failed_download_says_where_to_put_the_file(tmp_path, monkeypatch):
    def refuse(url, path):
        raise OSError('no route to host')

    monkeypatch.setenv('TORCH_HOME', str(tmp_path))
    monkeypatch.setattr('fastervit_mm.weights.download._download_part', refuse)
    with pytest.raises(OSError, match=r'no route to host.*put it at .*a\.pth') as caught:
        fetch('https://example.org/a.pth')
    assert '\n' not in str(caught.value)


def test_own_entries_fit_no_published_variant():
    assert recognise_variant({k: v.shape for k, v in FasterViT(SMALL).state_dict().items()}) == []


def test_output_norms_of_another_kind_start_afresh(tmp_path):
    """A BatchNorm's weight and bias would fit a LayerNorm by name and shape."""
    theirs = FasterViT(SMALL, out_norm='bn')
    torch.nn.init.constant_(theirs.norm1.weight, 7)
    torch.save(theirs.state_dict(), tmp_path / 'bn.pth')
    model = pretrained(tmp_path / 'bn.pth', arch=SMALL)
    assert torch.equal(model.norm1.weight, torch.ones(32))
    same = pretrained(tmp_path / 'bn.pth', arch=SMALL, out_norm='bn')
    assert torch.equal(same.norm1.weight, theirs.norm1.weight)


def histories_file(path, rename=None):
    """A checkpoint with mmengine's histories of logged values in it."""
    from mmengine.logging import HistoryBuffer

    buffer = HistoryBuffer()
    buffer.update(1.5)
    model = FasterViT(SMALL)
    torch.save(
        dict(
            state_dict={f'backbone.{k}': v for k, v in model.state_dict().items()},
            message_hub=dict(log_scalars=dict(loss=buffer)),
        ),
        path,
    )
    if rename:
        import zipfile

        with zipfile.ZipFile(path) as archive:
            parts = {i: archive.read(i) for i in archive.namelist()}
        with zipfile.ZipFile(path, 'w') as archive:
            for name, content in parts.items():
                archive.writestr(name, content.replace(*rename))


def test_checkpoints_of_training_load_safely(tmp_path):
    histories_file(tmp_path / 'epoch_1.pth')
    pretrained(tmp_path / 'epoch_1.pth', arch=SMALL)


def test_histories_written_by_the_other_numpy_load_safely(tmp_path):
    """Both lines: numpy 2 pickles its functions under numpy._core, numpy 1 under numpy.core."""
    import numpy as np

    old, new = b'numpy._core.multiarray', b'numpy.core.multiarray'
    rename = (old, new) if hasattr(np, '_core') and np.__version__[0] == '2' else (new, old)
    histories_file(tmp_path / 'epoch_1.pth', rename)
    pretrained(tmp_path / 'epoch_1.pth', arch=SMALL)


def test_getattr_of_anything_else_is_refused(tmp_path):
    class Evil:
        def __reduce__(self):
            return getattr, (argparse.Namespace, '__init__')

    torch.save(dict(state_dict={}, evil=Evil()), tmp_path / 'evil.pth')
    with pytest.raises(ValueError, match='safe loading refuses'):
        load_file(tmp_path / 'evil.pth')
