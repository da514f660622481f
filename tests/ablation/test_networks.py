"""The ablation's networks see what they are said to see, and are of the size they are said to be."""

import pytest
import torch

from fastervit_mm.ablation.networks import NETWORKS, Segmentor, multiply_adds, parameters
from fastervit_mm.ablation.scenes import MARK, OTHER_SIDE, REACH, STRIDE, TRAINED_SIDE
from fastervit_mm.network.hierarchical_attention import CarrierTokens


@pytest.mark.parametrize('name', NETWORKS)
def test_only_carrier_tokens_bring_the_mark_to_the_shape(name):
    network = NETWORKS[name]
    torch.manual_seed(0)
    model = Segmentor(network, 3).eval()
    for side in (TRAINED_SIDE, OTHER_SIDE):
        image = torch.rand(1, 3, side, side)
        changed = image.clone()
        changed[..., -2 - MARK :, -2 - MARK :] = -1
        with torch.no_grad():
            moved = (model(image) - model(changed)).abs()[..., : REACH // STRIDE, : REACH // STRIDE]
        if network.ct_size:
            # not added to the map, they start all but unseen
            assert moved.max() > (1e-5 if network.propagates else 0)
        else:
            assert moved.max() == 0
        assert model(image).shape == (1, 3, side // STRIDE, side // STRIDE)


def test_networks_to_compare_differ_in_what_their_row_says():
    sizes = {name: parameters(Segmentor(network, 3)) for name, network in NETWORKS.items()}
    with_carriers = {sizes[name] for name, n in NETWORKS.items() if n.ct_size and not n.swin}
    assert len(with_carriers) == 1
    assert sizes['w7'] == sizes['w14'] < sizes['w7_deep']
    assert sizes['w7_deep'] == pytest.approx(with_carriers.pop(), rel=0.01)


def test_multiply_adds_of_a_network_counted_by_hand():
    cells, dim = 28 * 28, 32
    stem = 56 * 56 * 27 * 16 + cells * 9 * 16 * dim
    # qkv, proj, both layers of the MLP; scores and values of 49 tokens each
    block = cells * (12 * dim * dim + 2 * 49 * dim)
    tables = 49 * (2 * 512 + 512 * dim) + 169 * (2 * 512 + 512 * 2)
    expected = stem + 2 * (block + tables) + cells * dim * 3
    assert multiply_adds(Segmentor(NETWORKS['w7'], 3)) == expected


def test_pooling_is_changed_in_place():
    model = Segmentor(NETWORKS['w7_c2'], 3)
    model.use_pooling('stretched')
    pooling = [m.pooling for m in model.modules() if isinstance(m, CarrierTokens)]
    assert pooling == ['stretched']
