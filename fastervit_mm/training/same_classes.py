"""Whether a checkpoint is of the classes that it is used for; it knows them by name."""

from __future__ import annotations

from itertools import zip_longest
from typing import Any

from mmengine.hooks import Hook
from mmengine.runner import Runner

from ..data.text import printable
from ..errors import ArgumentError
from ..weights.publishing import class_names


def other_classes(checkpoint: dict[str, Any], dataset: Any) -> tuple[str, str] | None:
    """The classes of a checkpoint and those of data, in words; None: they are the same.

    Args:
        checkpoint: may name none, which fits all.
        dataset: the same.
    """
    metainfo = getattr(dataset, 'metainfo', None) or {}
    old, new = class_names(checkpoint), tuple(metainfo.get('classes') or ())
    both = list(zip_longest(map(_plain, old), map(_plain, new)))
    if not old or not new or all(one == other for one, other in both):
        return None
    number = next(i for i, (one, other) in enumerate(both, start=1) if one != other)
    return _listed(old), f'{_listed(new)} (number {number} is the first that differs)'


def _plain(name: str) -> str:
    """A name without its case and the spaces at its ends, in which versions of libraries differ."""
    return name.strip(' ').casefold()


def _listed(names: tuple[str, ...]) -> str:
    """How many classes there are, and the first of them."""
    first = ', '.join(map(printable, names[:5]))
    return f'the {len(names)} classes {first}{" …" * (len(names) > 5)}'


class TestedClassesHook(Hook):
    """A model is evaluated on its own classes: with others the metrics would say nothing."""

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Called before the weights are taken over.

        Args:
            runner: that tests.
            checkpoint: of the model; one that names no classes fits all.

        Raises:
            ArgumentError: the classes of the data are others, or in another order.
        """
        others = other_classes(checkpoint, runner.test_dataloader.dataset)
        if others is not None:
            raise ArgumentError(
                f'the model in {runner._load_from} has {others[0]}, the config evaluates {others[1]}; '
                'use the config of the run that the checkpoint is of, which lies in its work dir'
            )
