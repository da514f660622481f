"""A loss that is no number leaves the step out; three in a row end the run and name the images."""

import json
from types import SimpleNamespace

import pytest
import torch
from mmengine.model import BaseModel
from mmengine.optim import OptimWrapper, OptimWrapperDict
from mmengine.runner import Runner
from torch import nn
from torch.utils.data import Dataset

from fastervit_mm.errors import UserError
from fastervit_mm.training.finite_loss import FILE
from tests.helpers import forget_earlier_runs


class Images(Dataset):
    numbers: tuple = tuple(range(8))

    def __len__(self):
        return len(self.numbers)

    def __getitem__(self, index):
        i = self.numbers[index]
        return dict(
            inputs=torch.full((2, 4), float(i)),
            data_samples=SimpleNamespace(metainfo=dict(img_path=f'{i}.jpg')),
        )


class Net(BaseModel):
    """Its loss is no number for the images of ``bad``, and neither are its activations.

    For those of ``steep`` only its gradient is no number.
    """

    bad: tuple = ()
    steep: tuple = ()

    def __init__(self):
        super().__init__()
        self.norm, self.layer = nn.BatchNorm1d(4), nn.Linear(4, 1)

    def forward(self, inputs, data_samples, mode):
        numbers = inputs[:, 0, 0].tolist()
        x = torch.where(torch.tensor(bool(set(numbers) & set(self.bad))), torch.nan, 1.0)
        y = self.layer(self.norm(inputs.flatten(0, 1) * x + 0.1)).pow(2).mean()
        if set(numbers) & set(self.steep):
            y = y + (0 * y).sqrt()  # 0, whose slope is 0 times infinity
        return dict(loss=y)


in_order = dict(type='DefaultSampler', shuffle=False)


def collate(samples):
    return dict(
        inputs=torch.stack([s['inputs'] for s in samples]),
        data_samples=[s['data_samples'] for s in samples],
    )


@pytest.fixture
def trained(tmp_path, monkeypatch):
    """A function that trains on eight images, one by one; its runner."""
    monkeypatch.setattr('time.sleep', lambda seconds: None)

    def run(bad, accumulate=1, steep=(), images=range(8), clip=None):
        forget_earlier_runs()
        monkeypatch.setattr(Net, 'bad', bad)
        monkeypatch.setattr(Net, 'steep', steep)
        monkeypatch.setattr(Images, 'numbers', tuple(images))
        torch.manual_seed(0)
        loader = dict(batch_size=1, num_workers=0, collate_fn=collate, dataset=Images())
        wrapper = dict(
            optimizer=dict(type='SGD', lr=0.01), accumulative_counts=accumulate, clip_grad=clip
        )
        run.runner = Runner(
            Net(),
            str(tmp_path),
            train_dataloader=dict(**loader, sampler=in_order),
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


@pytest.mark.parametrize('bad', [(2,), (3,), (2, 3)])
def test_an_accumulated_step_is_left_out_as_a_whole(bad, trained):
    """Wherever in it the batch was: the steps before and after it are those of a run without it."""
    runner = trained(bad, accumulate=2)
    assert steps_left_out(runner) == 1
    found = runner.model.state_dict()
    without = trained((), accumulate=2, images=(0, 1, 4, 5, 6, 7)).model.state_dict()
    for name, value in without.items():
        assert torch.equal(found[name], value), name


def test_accumulated_steps_in_a_row_end_the_run(trained):
    """One bad batch in each."""
    with pytest.raises(UserError, match='3 times in a row, at last in iteration 6;'):
        trained((1, 2, 5), accumulate=2)


@pytest.mark.parametrize('clip', [None, dict(max_norm=1.0)])
@pytest.mark.parametrize('accumulate', [1, 2])
def test_a_gradient_that_is_no_number_leaves_the_step_out(clip, accumulate, trained):
    runner = trained((), accumulate, steep=(2,), clip=clip)
    assert steps_left_out(runner) == 1
    found = runner.model.state_dict()
    images = [i for i in range(8) if i // accumulate != 2 // accumulate]
    without = trained((), accumulate, images=images, clip=clip).model.state_dict()
    for name, value in without.items():
        assert torch.equal(found[name], value), name


class TwoOptimisers(Net):
    """Its two layers learn apart, each from its own loss."""

    def train_step(self, data, optim_wrapper):
        for wrapper in optim_wrapper.values():
            self.zero_grad()  # what the other's loss left
            losses = self(**data, mode='loss')
            wrapper.update_params(losses['loss'])
        return losses


@pytest.mark.parametrize('bad, steep', [((3,), ()), ((), (3,))])
def test_several_optimisers_are_guarded(bad, steep, tmp_path, monkeypatch):
    forget_earlier_runs()
    monkeypatch.setattr('time.sleep', lambda seconds: None)
    monkeypatch.setattr(Net, 'bad', bad)
    monkeypatch.setattr(Net, 'steep', steep)
    net = TwoOptimisers()
    wrappers = {
        name: OptimWrapper(torch.optim.SGD(part.parameters(), lr=0.01))
        for name, part in (('norm', net.norm), ('layer', net.layer))
    }
    runner = Runner(
        net,
        str(tmp_path),
        train_dataloader=dict(
            batch_size=1, num_workers=0, collate_fn=collate, dataset=Images(), sampler=in_order
        ),
        train_cfg=dict(by_epoch=True, max_epochs=1),
        optim_wrapper=OptimWrapperDict(**wrappers),
        default_hooks=dict(finite_loss=dict(type='fastervit_mm.FiniteLossHook'), checkpoint=None),
        default_scope='mmengine',
    )
    runner.train()
    forget_earlier_runs()
    assert steps_left_out(runner) == 2  # one of each
    assert all(value.isfinite().all() for value in net.state_dict().values())
