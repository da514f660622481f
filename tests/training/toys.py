"""Stand-ins that are built in no time: a small model, and a runner that notes its config."""

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace

import matplotlib
import torch
from mmdet.registry import MODELS
from mmengine.model import BaseModule
from mmengine.registry import RUNNERS
from torch import nn


class ToyBackbone(BaseModule):
    """A convolution."""

    def __init__(self, channels, init_cfg=None):
        super().__init__()
        self.conv = nn.Conv2d(3, channels, 1)


class ToyNet(BaseModule):
    """A backbone, a neck of six parameters, and a head that depends on the classes.

    Attributes:
        devices: where each of them was built.
    """

    devices: list[str] = []  # noqa: RUF012

    def __init__(self, backbone, num_classes=3):
        super().__init__()
        self.backbone = MODELS.build(backbone)
        self.neck = nn.ParameterList(torch.zeros(2) for _ in range(6))
        self.head = nn.Linear(4, num_classes)
        self.devices.append(self.head.weight.device.type)


class NotingRunner:
    """What a tool builds from its config, and what it asks of it.

    Attributes:
        made: all of them.
        asked: names of the methods that were called.
        formulas: whether matplotlib would then take dollars for those.
        model: none, as of a runner that builds it later.
    """

    model = None

    made: list['NotingRunner'] = []  # noqa: RUF012

    @classmethod
    def from_cfg(cls, cfg):
        self = cls()
        self.cfg, self.asked, self.hooks = cfg, [], []
        self.test_evaluator = SimpleNamespace(metrics=['its own'])
        cls.made.append(self)
        return self

    def load_or_resume(self):
        self.asked.append('load_or_resume')

    def register_hook(self, hook, priority):
        self.hooks.append(hook)

    def train(self):
        self.asked.append('train')
        self.formulas = matplotlib.rcParams['text.parse_math']

    def test(self):
        self.asked.append('test')
        self.formulas = matplotlib.rcParams['text.parse_math']


@contextmanager
def registered() -> Iterator[None]:
    """The stand-ins, in the registries meanwhile."""
    kinds = {'ToyNet': ToyNet, 'ToyBackbone': ToyBackbone, 'ToySwin': ToyBackbone}
    for name, kind in kinds.items():
        MODELS.register_module(name=name, module=kind)
    RUNNERS.register_module(module=NotingRunner)
    ToyNet.devices.clear()
    NotingRunner.made.clear()
    try:
        yield
    finally:
        for name in kinds:
            MODELS.module_dict.pop(name)
        RUNNERS.module_dict.pop('NotingRunner')
