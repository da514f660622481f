"""Our network against the published one: maps of four small networks, names of all eleven."""

import json

import numpy as np
import pytest
import torch

from fastervit_mm import VARIANTS, FasterViT
from fastervit_mm.weights.published import load_entries, recognise_variant, why_skipped
from tests.helpers import FIXTURES, published_tensor
from tests.stand_in_weights import image

CASES = json.loads((FIXTURES / 'cases.json').read_text())
STEPS = (4, 2, 1, 1)  # of the stored maps, every so many pixels are kept


@pytest.mark.parametrize('name', CASES)
def test_maps_and_logits_equal_the_published_networks(name):
    case = CASES[name]
    entries = {key: published_tensor(key, shape) for key, shape in case['keys'].items()}
    pooling = 'stretched' if name.endswith('stretched') else 'aligned'
    model = FasterViT(case['arch'], out_norm=None, carrier_pooling=pooling).eval()
    load_entries(model, entries, name)
    with torch.no_grad():
        maps = model(torch.from_numpy(image(name, 1, *case['res'])))
    stored = np.load(FIXTURES / f'{name}.npz')
    for i, (ours, step) in enumerate(zip(maps, STEPS, strict=True)):
        theirs = stored[f'stage{i}']
        error = np.abs(ours.numpy()[:, :, ::step, ::step] - theirs).max() / theirs.std()
        assert error < 1e-4, (i, error)
    norm = torch.nn.functional.batch_norm(
        maps[-1],
        entries['norm.running_mean'],
        entries['norm.running_var'],
        entries['norm.weight'],
        entries['norm.bias'],
    )
    logits = norm.mean((2, 3)) @ entries['head.weight'].t() + entries['head.bias']
    theirs = stored['logits']
    assert np.abs(logits.numpy() - theirs).max() / theirs.std() < 1e-4


@pytest.mark.parametrize('name', VARIANTS)
def test_names_shapes_and_parameter_count_equal_the_published_file(name, official_keys):
    published = official_keys[name]
    with torch.device('meta'):
        model = FasterViT(name, out_norm=None)
    own = {key: list(value.shape) for key, value in model.state_dict().items()}
    assert not [key for key in own if own[key] != published['keys'].get(key)]
    others = set(published['keys']) - set(own)
    assert not [key for key in others if why_skipped(key, built_stages=4) is None]
    channels, classes = model.out_channels[-1], 1000
    classifier = 2 * channels + classes * channels + classes
    assert sum(p.numel() for p in model.parameters()) + classifier == published['n_params']
    assert recognise_variant(published['keys']) == [name]
