"""What `forward` leaves to PyTorch, and what it does not do."""

import pytest
import torch
from torch import nn

from fastervit_mm import FasterViT
from tests.helpers import SMALL


def test_forward_walks_over_no_modules(monkeypatch):
    model = FasterViT(SMALL).train()

    def refuse(*_, **__):
        raise AssertionError('forward walks over modules')

    for name in ('modules', 'named_modules', 'children', 'named_children'):
        monkeypatch.setattr(nn.Module, name, refuse)
    assert len(model(torch.zeros(2, 3, 64, 64))) == 4


def test_a_batch_too_small_for_batch_norm_is_pytorchs_error():
    image = torch.zeros(1, 3, 8, 8)  # 1x1 px at stride 8, where stage 1 has BatchNorm
    with pytest.raises(ValueError, match='Expected more than 1 value per channel when training'):
        FasterViT(SMALL).train()(image)
    for still in (dict(norm_eval=True), dict(frozen_stages=4)):
        assert FasterViT(SMALL, **still).train()(image)[1].shape == (1, 32, 1, 1)
    assert FasterViT(SMALL).eval()(image)[1].shape == (1, 32, 1, 1)
