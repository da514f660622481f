"""DINO's decoder layers share one class head and one box head, as published."""

import json

import pytest
import torch

from fastervit_mm.config.host import build_model
from fastervit_mm.errors import ArgumentError
from tests.batches import detection_batch
from tests.configs.resolved import read
from tests.configs.test_training_steps import small
from tests.helpers import FIXTURES


def build(**settings):
    cfg = small(read('detection/dino_4scale_fastervit_0_12e'))
    cfg.model.update(settings)
    cfg.model.encoder.num_layers, cfg.model.decoder.num_layers = 1, 3
    torch.manual_seed(0)
    return build_model(cfg)


def heads(model):
    return [(b[:-1], b[-1]) for b in (model.bbox_head.cls_branches, model.bbox_head.reg_branches)]


def test_the_published_file_has_one_head_for_all_layers():
    keys = json.loads((FIXTURES / 'dino_official_keys.json').read_text())
    aliases = {
        (kind, layer): keys[f'transformer.decoder.{kind}.{layer}.{leaf}'][1]
        for kind, leaf in (('class_embed', 'bias'), ('bbox_embed', 'layers.0.bias'))
        for layer in range(6)
    }
    assert len(set(aliases.values())) == 2  # one of each kind


def test_layers_share_their_heads_and_the_encoder_has_its_own():
    for of_layers, of_encoder in heads(build()):
        assert len(of_layers) == 3 and len({id(h) for h in of_layers}) == 1
        assert of_encoder is not of_layers[0]
    for of_layers, _ in heads(build(share_heads=False)):
        assert len({id(h) for h in of_layers}) == 3


def test_a_shared_head_learns_from_every_layer():
    """Its gradient is the sum of those of heads of their own, where these start alike."""
    shared, apart = build(), build(share_heads=False)
    with torch.no_grad():
        for branches in (apart.bbox_head.cls_branches, apart.bbox_head.reg_branches):
            for i, branch in enumerate(branches):
                for n, p in enumerate(branch.parameters()):
                    p.copy_(torch.full_like(p, 0.01 * (n + 1) * (1 + (i == len(branches) - 1))))
    shared.load_state_dict(apart.state_dict())
    apart.load_state_dict(shared.state_dict())
    gradients = []
    for model in (shared, apart):
        model.train()
        batch = model.data_preprocessor(detection_batch(masks=False, stuff=False), True)
        torch.manual_seed(1)
        losses, _ = model.parse_losses(model(**batch, mode='loss'))
        losses.backward()
        gradients.append([b[:-1] for b in (model.bbox_head.cls_branches,)])
    (one,), (several,) = gradients
    total = sum(head.bias.grad for head in several)
    assert torch.allclose(one[0].bias.grad, total, rtol=1e-3, atol=1e-6)
    assert several[0].bias.grad.abs().max() < total.abs().max()


def test_a_checkpoint_of_separate_heads_is_refused():
    apart = build(share_heads=False)
    with torch.no_grad():
        apart.bbox_head.cls_branches[1].bias.add_(1)
    with pytest.raises(ArgumentError, match='cls_branches.1.bias differs .* model.share_heads=Fal'):
        build().load_state_dict(apart.state_dict())
    build(share_heads=False).load_state_dict(apart.state_dict())
    build().load_state_dict(build().state_dict())


def test_each_head_is_optimised_once():
    from mmengine.optim import build_optim_wrapper

    model, cfg = build(), read('detection/dino_4scale_fastervit_0_12e')
    wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    found = [id(p) for group in wrapper.optimizer.param_groups for p in group['params']]
    assert len(found) == len(set(found)) == len(list(model.parameters()))
