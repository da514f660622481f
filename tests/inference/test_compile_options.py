"""What `compile_backbones` asks of torch.compile."""

import pytest
from torch import nn

from fastervit_mm import FasterViT
from fastervit_mm.errors import ArgumentError
from fastervit_mm.inference.compiling import compile_backbones
from tests.helpers import SMALL
from tests.logged import logged


@pytest.fixture
def asked(monkeypatch) -> list:
    asked = []

    def record(self, *arguments, **options):
        asked.append((self, arguments, options))

    monkeypatch.setattr(nn.Module, 'compile', record)
    return asked


@pytest.mark.parametrize(
    'options, expected',
    [
        ({}, dict(dynamic=True, fullgraph=True)),
        (dict(mode='max-autotune'), dict(dynamic=True, fullgraph=True, mode='max-autotune')),
        (dict(dynamic=False), dict(dynamic=False, fullgraph=True)),
        (dict(fullgraph=False, dynamic=None), dict(dynamic=None, fullgraph=False)),
    ],
)
def test_options_win_over_the_defaults(asked, options, expected):
    backbone = FasterViT(SMALL, out_indices=(0,))
    assert compile_backbones(backbone, **options) is backbone
    assert asked == [(backbone, (), expected)]


def test_every_backbone_and_nothing_else_is_compiled(asked):
    first, second = (FasterViT(SMALL, out_indices=(0,)) for _ in range(2))
    model = nn.ModuleDict({'a': nn.Sequential(first), 'neck': nn.ReLU(), 'b': second})
    with logged() as lines:
        assert compile_backbones(model) is model
    assert [module for module, *_ in asked] == [first, second]
    assert lines == ['compiling the backbone at its first image: minutes on a CPU']


def test_a_model_without_our_backbone_is_refused(asked):
    with pytest.raises(ArgumentError, match='^ReLU holds no'):
        compile_backbones(nn.ReLU())
    assert not asked
