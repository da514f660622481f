"""A training of milliseconds by the real tools: its config, model, data and metric.

Augmentation, dropout, BatchNorm, shuffling and a best checkpoint: what a resumed run must take up.
"""

from contextlib import nullcontext
from pathlib import Path

import numpy as np
import torch
from mmengine.evaluator import BaseMetric
from mmengine.model import BaseModel
from mmengine.optim import OptimWrapper, OptimWrapperDict
from mmengine.registry import DATASETS, METRICS, MODELS, OPTIM_WRAPPER_CONSTRUCTORS
from torch import nn

from tests.helpers import ROOT

CONFIG = """
_base_ = '{base}'
custom_imports = dict(imports=['fastervit_mm', 'tests.training.toy_run'])
model = dict(type='TinyModel', width={width}, init_cfg={init_cfg})
train_dataloader = dict(
    batch_size=2,
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(type='TinyData', classes={classes}),
)
val_dataloader = dict(
    batch_size=2,
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(type='TinyData', classes={classes}),
)
test_dataloader = val_dataloader
val_evaluator = dict(type='TinyMetric')
test_evaluator = val_evaluator
train_cfg = dict(by_epoch=True, max_epochs={epochs}, val_interval=1)
val_cfg = dict()
test_cfg = dict()
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='AdamW', lr={rate}))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=4),
    dict(type='MultiStepLR', by_epoch=True, begin=0, end={epochs}, milestones={milestones}),
]
default_hooks = dict(
    checkpoint=dict(max_keep_ckpts=2, save_best='tiny/score', rule='greater'),
    logger=dict(interval=1),
)
randomness = dict(seed=3)
"""


def write_config(
    folder: Path,
    epochs: int = 3,
    *,
    classes: tuple[str, ...] = ('a', 'b'),
    rate: float = 0.01,
    width: int = 4,
    init_cfg: dict | None = None,
    name: str = 'toy_run.py',
) -> Path:
    """A config in ``folder``, whose milestone is in the middle of its epochs."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    text = CONFIG.format(
        base=ROOT / 'configs/_base_/runtime/det_runtime.py',
        epochs=epochs,
        milestones=[max(1, epochs // 2)],
        classes=classes,
        rate=rate,
        width=width,
        init_cfg=init_cfg,
    )
    path.write_text(text)
    return path


@DATASETS.register_module(force=True)
class TinyData(torch.utils.data.Dataset):
    """Eight vectors, with noise that differs each time; even ones are of the first class."""

    def __init__(self, classes):
        self.metainfo = dict(classes=tuple(classes))

    def __len__(self):
        return 8

    def __getitem__(self, i):
        vector = np.sin(np.arange(3) + i) + 0.1 * np.random.rand(3)
        return dict(inputs=torch.tensor(vector, dtype=torch.float32), labels=i % 2)


@MODELS.register_module(force=True)
class TinyModel(BaseModel):
    """Two layers with BatchNorm and dropout between them."""

    def __init__(self, width, init_cfg=None):
        super().__init__(init_cfg=init_cfg)
        self.first = nn.Linear(3, width)
        self.norm = nn.BatchNorm1d(width)
        self.drop = nn.Dropout(0.2)
        self.last = nn.Linear(width, 2)

    def forward(self, inputs, labels, mode='tensor'):
        scores = self.last(self.drop(self.norm(self.first(torch.stack(list(inputs))))))
        if mode == 'loss':
            return dict(loss=nn.functional.cross_entropy(scores, torch.as_tensor(labels)))
        return list(scores)


@METRICS.register_module(force=True)
class TinyMetric(BaseMetric):
    """A score that now rises and now falls."""

    default_prefix = 'tiny'

    def process(self, data_batch, data_samples):
        self.results += [float(sample[0]) for sample in data_samples]

    def compute_metrics(self, results):
        return dict(score=float(np.sin(1000 * np.sum(results))))


@OPTIM_WRAPPER_CONSTRUCTORS.register_module(force=True)
class TwoOptimizers:
    """One for each layer, both stepped by one loss."""

    def __init__(self, optim_wrapper_cfg, paramwise_cfg=None):
        pass

    def __call__(self, model):
        layers = dict(a=model.first, b=model.last)
        return Both(
            **{
                name: OptimWrapper(torch.optim.SGD(layer.parameters(), lr=0.1))
                for name, layer in layers.items()
            }
        )


class Both(OptimWrapperDict):
    """Steps both."""

    def update_params(self, loss, *args, **kwargs):
        loss.backward()
        for wrapper in self.optim_wrappers.values():
            wrapper.step()
            wrapper.zero_grad()

    def optim_context(self, model):
        return nullcontext()


def weights(checkpoint: Path) -> dict[str, torch.Tensor]:
    """Of a checkpoint."""
    return torch.load(checkpoint, weights_only=False)['state_dict']


def same_weights(one: Path, other: Path) -> bool:
    """Whether two checkpoints hold the same weights, bit for bit."""
    a, b = weights(one), weights(other)
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)
