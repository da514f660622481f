"""A loss that is no number leaves the step out; three in a row end the run and name the images."""

import json
from types import SimpleNamespace

import pytest
import torch
from mmengine.model import BaseModel
from mmengine.runner import Runner
from torch import nn
from torch.utils.data import Dataset

from fastervit_mm.errors import UserError
from fastervit_mm.training.finite_loss import FILE
from tests.helpers import forget_earlier_runs


class Images(Dataset):
    def __len__(self):
        return 8

    def __getitem__(self, i):
        return dict(
            inputs=torch.full((2, 4), float(i)),
            data_samples=SimpleNamespace(metainfo=dict(img_path=f'{i}.jpg')),
        )


class Net(BaseModel):
    """Its loss is no number for the images of ``bad``, and neither are its activations."""

    bad: tuple = ()

    def __init__(self):
        super().__init__()
        self.norm, self.layer = nn.BatchNorm1d(4), nn.Linear(4, 1)

    def forward(self, inputs, data_samples, mode):
        numbers = inputs[:, 0, 0].tolist()
        x = torch.where(torch.tensor(bool(set(numbers) & set(self.bad))), torch.nan, 1.0)
        return dict(loss=self.layer(self.norm(inputs.flatten(0, 1) * x + 0.1)).pow(2).mean())


def collate(samples):
    return dict(
        inputs=torch.stack([s['inputs'] for s in samples]),
        data_samples=[s['data_samples'] for s in samples],
    )


@pytest.fixture
def trained(tmp_path, monkeypatch):
    """A function that trains on eight images, one by one; its runner."""
    monkeypatch.setattr('time.sleep', lambda seconds: None)

    def run(bad, accumulate=1):
        forget_earlier_runs()
        monkeypatch.setattr(Net, 'bad', bad)
        torch.manual_seed(0)
        loader = dict(batch_size=1, num_workers=0, collate_fn=collate, dataset=Images())
        wrapper = dict(optimizer=dict(type='SGD', lr=0.01), accumulative_counts=accumulate)
        run.runner = Runner(
            Net(),
            str(tmp_path),
            train_dataloader=dict(**loader, sampler=dict(type='DefaultSampler', shuffle=False)),
            train_cfg=dict(by_epoch=True, max_epochs=1),
            optim_wrapper=wrapper,
            default_hooks=dict(
                checkpoint=dict(type='CheckpointHook', interval=1, by_epoch=False),
                finite_loss=dict(type='fastervit_mm.FiniteLossHook'),
            ),
            default_scope='mmengine',
        )
        run.runner.train()
        return run.runner

    yield run
    forget_earlier_runs()


def steps_left_out(runner):
    return (
        runner.message_hub.get_info('steps_left_out')
        if 'steps_left_out' in (runner.message_hub.runtime_info)
        else 0
    )


@pytest.mark.parametrize('bad, count', [((), 0), ((3,), 1), ((0, 1, 3, 4, 6, 7), 6)])
def test_single_steps_are_left_out(bad, count, trained):
    runner = trained(bad)
    assert steps_left_out(runner) == count
    for name, value in runner.model.state_dict().items():
        assert value.isfinite().all(), name


def test_what_is_left_out_changes_nothing(trained):
    """Neither weights nor statistics of BatchNorm: as if the image had not been there."""
    with_it = trained((0,)).model.state_dict()
    assert int(with_it['norm.num_batches_tracked']) == 7
    without = trained(()).model.state_dict()
    assert not torch.equal(with_it['norm.running_mean'], without['norm.running_mean'])


def test_three_in_a_row_end_the_run(trained, tmp_path):
    with pytest.raises(UserError) as caught:
        trained((1, 3, 4, 5, 6))
    text = str(caught.value)
    assert 'not finite 3 times in a row, at last in iteration 6' in text and '\n' not in text
    assert json.loads((tmp_path / FILE).read_text()) == [['3.jpg'], ['4.jpg'], ['5.jpg']]
    # the checkpoints before it are there, and whole
    content = torch.load(tmp_path / 'iter_5.pth', weights_only=False)['state_dict']
    assert all(value.isfinite().all() for value in content.values())


def test_accumulated_batches_are_left_out_one_by_one(trained):
    runner = trained((2,), accumulate=2)
    assert steps_left_out(runner) == 1
    assert all(value.isfinite().all() for value in runner.model.state_dict().values())
