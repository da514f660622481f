"""Training and evaluation: which parts are frozen, which BatchNorms stay still, what is recomputed."""

import pytest
import torch
from torch import nn

from fastervit_mm import FasterViT
from tests.helpers import SMALL


def in_evaluation(model: FasterViT) -> set[str]:
    """Parts, as 'patch_embed', 'levels.0' or 'norm0', all of whose modules are in evaluation mode.

    A part that is in both modes has a name of its own.
    """
    parts = {'patch_embed': model.patch_embed}
    parts |= {f'levels.{i}': level for i, level in enumerate(model.levels)}
    parts |= {f'norm{i}': getattr(model, f'norm{i}') for i in model.out_indices}
    found = set()
    for name, part in parts.items():
        modes = {m.training for m in part.modules()}
        if modes == {False}:
            found.add(name)
        elif modes == {True, False}:
            found.add(f'{name} in part')
    return found


def without_gradients(model: FasterViT) -> set[str]:
    names = {n: p.requires_grad for n, p in model.named_parameters()}
    parts = {'.'.join(n.split('.')[: 1 + n.startswith('levels')]) for n in names}
    return {p for p in parts if not any(g for n, g in names.items() if n.startswith(f'{p}.'))}


@pytest.mark.parametrize(
    'frozen, expected',
    [
        (-1, []),
        (0, ['patch_embed']),
        (1, ['patch_embed', 'levels.0', 'norm0']),
        (2, ['patch_embed', 'levels.0', 'levels.1', 'norm0']),
        (3, ['patch_embed', 'levels.0', 'levels.1', 'levels.2', 'norm0', 'norm2']),
        (
            4,
            [
                'patch_embed',
                'levels.0',
                'levels.1',
                'levels.2',
                'levels.3',
                'norm0',
                'norm2',
                'norm3',
            ],
        ),
    ],
)
def test_frozen_parts_have_no_gradients_and_stay_in_evaluation(frozen, expected):
    """Stage 1 is not emitted and has no output norm."""
    model = FasterViT(SMALL, frozen_stages=frozen, out_indices=(0, 2, 3))
    for stage in range(3):
        # as built, then turned to training, and again after an evaluation
        assert in_evaluation(model) == set(expected) == without_gradients(model), stage
        assert model.training
        if stage == 1:
            assert model.eval() is model and not any(m.training for m in model.modules())
        assert model.train() is model


def test_a_frozen_step_between_stages_belongs_to_the_stage_before_it():
    model = FasterViT(SMALL, frozen_stages=2).train()
    assert not any(p.requires_grad for p in model.levels[1].downsample.parameters())
    assert all(p.requires_grad for p in model.levels[2].parameters())


@pytest.mark.parametrize('norm_eval', [False, True])
def test_batch_norms_train_unless_norm_eval(norm_eval):
    model = FasterViT(SMALL, norm_eval=norm_eval, out_norm='bn').train()
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    others = [m for m in model.modules() if not isinstance(m, nn.BatchNorm2d)]
    assert len(norms) == 2 + 2 * 2 + 4  # stem, one block in each of stages 0 and 1, output norms
    assert {m.training for m in norms} == {not norm_eval}
    assert {m.training for m in others} == {True}
    # their scale and shift are trained all the same
    assert all(p.requires_grad for m in norms for p in m.parameters())
    assert not any(m.training for m in model.train(False).modules())
    assert not any(m.training for m in model.eval().modules())


def test_batch_norms_statistics_move_only_without_norm_eval():
    torch.manual_seed(0)
    for norm_eval in (False, True):
        model = FasterViT(SMALL, norm_eval=norm_eval).train()
        model(torch.randn(2, 3, 64, 64))
        counts = {int(v) for k, v in model.state_dict().items() if 'num_batches' in k}
        assert counts == {0 if norm_eval else 1}


def calls(model: FasterViT, backward: bool = True) -> list[int]:
    """How often each block computes in a forward pass and, with it, in its backward."""
    blocks = [block for level in model.levels for block in level.blocks]
    counts = [0] * len(blocks)

    def counting(i):
        def count(module, inputs):
            counts[i] += 1

        return count

    hooks = [b.register_forward_pre_hook(counting(i)) for i, b in enumerate(blocks)]
    maps = model(torch.randn(2, 3, 64, 64, requires_grad=torch.is_grad_enabled()))
    if backward:
        sum(m.square().sum() for m in maps).backward()
    for hook in hooks:
        hook.remove()
    return counts


def test_checkpointing_computes_every_block_again_in_training_alone():
    torch.manual_seed(0)
    deep = dict(SMALL, depths=(2, 1, 2, 1))
    model = FasterViT(deep, with_cp=True).train()
    assert calls(model) == [2] * 6
    with torch.no_grad():
        assert calls(model, backward=False) == [1] * 6
    assert calls(model.eval()) == [1] * 6
    assert calls(FasterViT(deep).train()) == [1] * 6
    # a frozen block has nothing to train
    frozen = FasterViT(deep, with_cp=True, frozen_stages=1).train()
    assert calls(frozen) == [1, 1, 2, 2, 2, 2]


def test_checkpointing_moves_statistics_once_and_leaves_the_momentum():
    torch.manual_seed(0)
    model = FasterViT(SMALL, with_cp=True).train()
    calls(model)
    counts = {k: int(v) for k, v in model.state_dict().items() if 'num_batches' in k}
    assert set(counts.values()) == {1} and len(counts) == 6
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    assert {m.momentum for m in norms} == {0.1}
    assert all(m.num_batches_tracked is m._buffers['num_batches_tracked'] for m in norms)


@pytest.mark.parametrize(
    'changes, too_small, enough',
    [
        # what is computed at stride 8, stage 1, is the coarsest that a BatchNorm sees
        ({}, (1, 8, 8), (1, 8, 9)),
        ({}, (1, 1, 1), (2, 1, 1)),
        (dict(out_indices=(0,)), (1, 4, 4), (1, 5, 4)),
        # a padded map has the pixels of a whole window
        (dict(pad_all_stages=True), (1, 4, 4), (1, 4, 5)),
        (dict(out_norm='bn'), (1, 32, 32), (1, 33, 32)),
        (dict(out_norm='bn', out_indices=(2,)), (1, 16, 16), (1, 16, 17)),
        (dict(frozen_stages=1), (1, 8, 8), (1, 9, 8)),
    ],
)
def test_one_value_per_channel_is_too_few_to_train_batch_norm(changes, too_small, enough):
    model = FasterViT(SMALL, **changes).train()
    with pytest.raises(ValueError):
        model(torch.randn(too_small[0], 3, *too_small[1:]))
    model(torch.randn(enough[0], 3, *enough[1:]))
    model.eval()(torch.randn(too_small[0], 3, *too_small[1:]))


@pytest.mark.parametrize('changes', [dict(norm_eval=True), dict(frozen_stages=2)])
def test_batch_norms_that_do_not_train_take_one_value(changes):
    FasterViT(SMALL, **changes).train()(torch.randn(1, 3, 1, 1))
