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


# of inductor, without which no training at several sizes on a CPU
KEPT = {'layout_optimization': False}


@pytest.mark.parametrize(
    'options, expected',
    [
        ({}, dict(dynamic=True, fullgraph=True, options=KEPT)),
        (
            dict(mode='reduce-overhead'),
            dict(dynamic=True, fullgraph=True, options={**KEPT, 'triton.cudagraphs': True}),
        ),
        (
            dict(options={'max_autotune': True}),
            dict(dynamic=True, fullgraph=True, options={**KEPT, 'max_autotune': True}),
        ),
        (
            dict(options={'layout_optimization': True}),
            dict(dynamic=True, fullgraph=True, options={'layout_optimization': True}),
        ),
        (dict(dynamic=False), dict(dynamic=False, fullgraph=True)),
        (dict(backend='aot_eager'), dict(dynamic=True, fullgraph=True, backend='aot_eager')),
        (dict(fullgraph=False, dynamic=None), dict(dynamic=None, fullgraph=False, options=KEPT)),
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
