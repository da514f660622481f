"""Focal losses against the formula of the paper, differentiated by PyTorch."""

import pytest
import torch
from mmcv.ops import sigmoid_focal_loss, softmax_focal_loss

from tests.operators.cases import ours, using


@pytest.fixture(autouse=True)
def our_operators():
    with using(ours()):
        yield


def rows(seed=0, scale=4.0):
    draw = torch.Generator().manual_seed(seed)
    logits = (torch.randn(12, 3, generator=draw) * scale).double()
    # class 3 is the background
    return logits.requires_grad_(), torch.tensor([0, 1, 2, 3] * 3)


def by_formula(logits, target, gamma, alpha, weight=None):
    """-α_t (1 - p_t)^γ log p_t of each logit's own yes-or-no question."""
    positive = torch.nn.functional.one_hot(target, 4)[:, :3].bool()
    p = logits.sigmoid()
    p_t = torch.where(positive, p, 1 - p)
    alpha_t = torch.where(positive, alpha, 1 - alpha)
    loss = -alpha_t * (1 - p_t) ** gamma * p_t.log()
    if weight is not None:  # of the row's class; the background has none
        loss = loss * torch.cat((weight, weight.new_ones(1)))[target][:, None]
    return loss


@pytest.mark.parametrize('gamma, alpha', [(2.0, 0.25), (0.0, 0.5), (1.5, 0.9)])
@pytest.mark.parametrize('weighted', [False, True])
def test_by_sigmoid(gamma, alpha, weighted):
    logits, target = rows()
    weight = torch.tensor([0.5, 2.0, 3.0], dtype=torch.float64) if weighted else None
    expected = by_formula(logits, target, gamma, alpha, weight)
    found = sigmoid_focal_loss(logits, target, gamma, alpha, weight, 'none')
    torch.testing.assert_close(found, expected)
    for reduction, total in (('sum', expected.sum()), ('mean', expected.sum() / 12)):
        found = sigmoid_focal_loss(logits, target, gamma, alpha, weight, reduction)
        torch.testing.assert_close(found, total)
        (mine,) = torch.autograd.grad(found, logits)
        (its,) = torch.autograd.grad(total, logits, retain_graph=True)
        torch.testing.assert_close(mine, its)


@pytest.mark.parametrize('gamma, alpha', [(2.0, 0.25), (1.5, 0.9)])
@pytest.mark.parametrize('weighted', [False, True])
def test_by_softmax(gamma, alpha, weighted):
    logits, target = rows()
    target = target.clamp(max=2)
    weight = torch.tensor([0.5, 2.0, 3.0], dtype=torch.float64) if weighted else None
    p = logits.softmax(1).gather(1, target[:, None])[:, 0]
    expected = -alpha * (1 - p) ** gamma * p.log()
    expected = expected if weight is None else expected * weight[target]
    found = softmax_focal_loss(logits, target, gamma, alpha, weight, 'none')
    torch.testing.assert_close(found, expected)
    found = softmax_focal_loss(logits, target, gamma, alpha, weight, 'sum')
    (mine,) = torch.autograd.grad(found, logits)
    (its,) = torch.autograd.grad(expected.sum(), logits)
    torch.testing.assert_close(mine, its)


def test_rows_without_a_class_cost_nothing_by_softmax():
    logits, target = rows()
    target = torch.where(target == 3, -1, target)
    found = softmax_focal_loss(logits, target, 2.0, 0.25, None, 'none')
    assert found[target < 0].eq(0).all() and found[target >= 0].gt(0).all()
    (grad,) = torch.autograd.grad(
        softmax_focal_loss(logits, target, 2.0, 0.25, None, 'sum'), logits
    )
    assert grad[target < 0].eq(0).all() and grad[target >= 0].ne(0).any(1).all()


@pytest.mark.parametrize('function', [sigmoid_focal_loss, softmax_focal_loss])
@pytest.mark.parametrize('gamma', [0.0, 0.5, 2.0])
def test_certain_answers_have_finite_losses_and_gradients(function, gamma):
    logits = torch.tensor([[200.0, -200, 0], [-200, 200, 0]], requires_grad=True)
    target = torch.tensor([0, 0])  # one as sure as can be, one as wrong
    found = function(logits, target, gamma, 0.25, None, 'sum')
    (grad,) = torch.autograd.grad(found, logits)
    assert found.isfinite() and grad.isfinite().all() and float(found.detach()) > 10


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_half_precision_is_taken(dtype):
    logits, target = rows(scale=1.0)
    half = logits.detach().to(dtype).requires_grad_()
    found = sigmoid_focal_loss(half, target, 2.0, 0.25, None, 'none')
    expected = by_formula(half.double(), target, 2.0, 0.25)
    assert found.dtype is dtype
    torch.testing.assert_close(found.double(), expected, rtol=2e-2, atol=1e-3)


def test_no_rows():
    found = sigmoid_focal_loss(
        torch.zeros(0, 3), torch.zeros(0, dtype=torch.long), 2.0, 0.25, None, 'sum'
    )
    assert found.item() == 0
