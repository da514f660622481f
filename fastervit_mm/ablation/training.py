"""One training of the study, and what its network can do afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from ..report.scores import class_iou, label_confusion
from .networks import Segmentor
from .scenes import TASKS, Scenes

MEAN, STD = 127.0, 64.0  # of the pictures, roughly
BACKGROUND_WEIGHT = 0.2  # in the loss: shapes cover a few hundredths of a far scene


class Schedule(NamedTuple):
    """What all trainings of a study have in common.

    Attributes:
        steps: of the optimiser.
        batch: images of a step.
        rate: highest learning rate.
        images: training images, which are drawn once for a seed.
        held_out: images of each evaluation.
    """

    steps: int = 250
    batch: int = 16
    rate: float = 4e-3
    images: int = 1024
    held_out: int = 200


QUICK = Schedule(steps=3, batch=2, images=8, held_out=4)


def prepared(pictures: np.ndarray) -> Tensor:
    """(N, S, S, 3) uint8 -> (N, 3, S, S), about -2 to 2."""
    return (torch.from_numpy(pictures).permute(0, 3, 1, 2).float() - MEAN) / STD


def batches(scenes: Scenes, schedule: Schedule, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Images and labels of each step: shuffled, each batch turned and mirrored at random.

    Args:
        scenes: of training.
        schedule: of the study.
        seed: of order, turns and mirrors.
    """
    rng = np.random.default_rng(seed)
    order: list[int] = []
    for _ in range(schedule.steps):
        while len(order) < schedule.batch:
            order += rng.permutation(len(scenes.labels)).tolist()
        chosen, order = order[: schedule.batch], order[schedule.batch :]
        x = prepared(scenes.pictures[chosen])
        y = torch.from_numpy(scenes.labels[chosen]).long()
        turns, mirrored = int(rng.integers(4)), bool(rng.integers(2))
        x, y = x.rot90(turns, (-2, -1)), y.rot90(turns, (-2, -1))
        yield (x.flip(-1), y.flip(-1)) if mirrored else (x, y)


def train(model: Segmentor, scenes: Scenes, schedule: Schedule, seed: int) -> float:
    """Train by AdamW with a warm-up and a cosine; returns the mean loss of the last tenth.

    Args:
        model: is changed.
        scenes: of training.
        schedule: of the study.
        seed: of order, turns and mirrors.
    """
    model.train()
    optimiser = torch.optim.AdamW(model.parameters(), lr=schedule.rate, weight_decay=0.05)
    rates = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, schedule.rate, schedule.steps, pct_start=0.15, cycle_momentum=False
    )
    weight = torch.ones(model.head.out_channels)
    weight[0] = BACKGROUND_WEIGHT
    losses = []
    for x, y in batches(scenes, schedule, seed):
        loss = nn.functional.cross_entropy(model(x), y, weight)
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        rates.step()
        losses.append(loss.item())
    return float(np.mean(losses[-max(schedule.steps // 10, 1) :]))


def told_rightly(scores: np.ndarray, labels: np.ndarray) -> float:
    """Share of images whose one shape gets its class, whatever its outline gets; chance is 1/2.

    Args:
        scores: (N, classes, h, w) of the network, 0 the background.
        labels: (N, h, w); each image has one class but the background.
    """
    right = 0
    for score, label in zip(scores, labels, strict=True):
        inside = label > 0
        right += int(score[1:, inside].sum(1).argmax() + 1 == label[inside][0])
    return right / len(labels)


@torch.no_grad()
def evaluate(model: Segmentor, scenes: Scenes, task: str) -> dict[str, float]:
    """Mean IoU of all classes, and for far scenes the share of shapes told rightly.

    Args:
        model: trained.
        scenes: held out.
        task: one of `TASKS`.
    """
    model.eval()
    chunks = np.array_split(np.arange(len(scenes.labels)), -(-len(scenes.labels) // 20))
    scores = np.concatenate([model(prepared(scenes.pictures[i])).numpy() for i in chunks])
    confusion = label_confusion(scenes.labels, scores.argmax(1), len(TASKS[task]))
    found = dict(iou=float(np.nanmean(class_iou(confusion))))
    if task == 'far':
        found['told'] = told_rightly(scores, scenes.labels)
    return found
