"""The model of a config, built by its host library: with its initialisation, where it is asked for."""

import pytest
import torch
from mmengine.config import Config
from mmengine.model import BaseModule
from mmengine.registry import DefaultScope
from torch import nn

from fastervit_mm.config.host import build_model
from fastervit_mm.errors import ArgumentError


class Unset(BaseModule):
    """A parameter that only ``init_weights`` sets."""

    def __init__(self, width):
        super().__init__()
        self.level = nn.Parameter(torch.full((width,), 9.0))

    def init_weights(self):
        nn.init.zeros_(self.level)


@pytest.fixture(params=['mmdet', 'mmseg'])
def cfg(request):
    """A config of each host library, whose registry holds the model for the test alone."""
    models = pytest.importorskip(f'{request.param}.registry').MODELS
    models.register_module(name='Unset', module=Unset)
    yield Config(dict(default_scope=request.param, model=dict(type='Unset', width=3)))
    models.module_dict.pop('Unset')


def test_weights_are_initialised(cfg):
    model = build_model(cfg)
    assert model.level.tolist() == [0, 0, 0] and model.level.device.type == 'cpu'
    assert DefaultScope.get_current_instance().scope_name == cfg.default_scope


def test_weights_are_left_alone(cfg):
    assert build_model(cfg, init=False).level.tolist() == [9, 9, 9]


@pytest.mark.parametrize('device', ['meta', torch.device('meta')])
def test_names_and_shapes_alone(cfg, device):
    level = build_model(cfg, device).level
    assert level.is_meta and level.shape == (3,)


@pytest.mark.parametrize('scope', ['mmfoo', None])
def test_other_hosts(scope):
    with pytest.raises(
        ArgumentError, match='^default_scope of the config is .*; allowed: mmdet, mm'
    ):
        build_model(Config(dict(default_scope=scope, model=dict(type='Unset'))))
