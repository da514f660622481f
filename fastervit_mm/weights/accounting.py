"""Loading a file's entries so that each is accounted for: loaded, left out with a reason, or an error."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from mmengine.logging import print_log
from torch import Tensor, nn

from ..errors import ArgumentError

Reason = Callable[[str], 'str | None']


def listed(names: list[str], most: int = 4) -> str:
    """The first of ``names``, and how many more there are."""
    more = f', … {len(names) - most} more' if len(names) > most else ''
    return ', '.join(names[:most]) + more


def by_reason(names: list[str], reason: Reason) -> tuple[dict[str, list[str]], list[str]]:
    """``names`` by what ``reason`` says of each, and those of which it says nothing."""
    explained: dict[str, list[str]] = {}
    rest = []
    for name in names:
        why = reason(name)
        if why is None:
            rest.append(name)
        else:
            explained.setdefault(why, []).append(name)
    return explained, rest


def load_accounted(
    model: nn.Module,
    entries: Mapping[str, Tensor],
    source: str,
    *,
    why_skipped: Reason,
    why_fresh: Reason,
    misfit: Callable[[], str],
    left_out: Mapping[str, list[str]] | None = None,
) -> None:
    """Load ``entries`` into ``model``; log every kind of entry that was left out on either side.

    Args:
        model: gets the weights.
        entries: under the names of its state dict.
        source: name of the file, for messages.
        why_skipped: why an entry is not for a model that does not have it; None: it should be.
        why_fresh: why an entry of the model's need not be in a file; None: it must be.
        misfit: what the entries should fit, for the error, such as "arch='fastervit_0'".
        left_out: by reason, entries of the file that ``entries`` lacks, for the log.

    Raises:
        ArgumentError: an entry is missing, unexpected or of another shape, and nothing explains
            it.
    """
    own = model.state_dict()
    reshaped = [
        f'{name} {tuple(value.shape)} for {tuple(own[name].shape)}'
        for name, value in entries.items()
        if name in own and value.shape != own[name].shape
    ]
    skipped, unexpected = by_reason([n for n in entries if n not in own], why_skipped)
    absent = [name for name in own if name not in entries]
    fresh, missing = by_reason(absent, why_fresh)
    problems = [
        f'{len(names)} {kind}: {listed(names)}'
        for kind, names in (
            ('missing', missing),
            ('unexpected', unexpected),
            ('of another shape', reshaped),
        )
        if names
    ]
    if problems:
        raise ArgumentError(f'{source} does not fit {misfit()}. Entries ' + '; '.join(problems))
    model.load_state_dict({name: entries[name] for name in own if name in entries}, strict=False)
    print_log(f'{source}: loaded {len(own) - len(absent)} entries', logger='current')
    skipped = {**(left_out or {}), **skipped}
    told = [(f'skipped {len(names)} entries ({why})', names) for why, names in skipped.items()]
    told += [
        (f'{len(names)} entries not in it start from scratch ({why})', names)
        for why, names in fresh.items()
    ]
    for what, names in told:
        print_log(f'{source}: {what}: {listed(names)}', logger='current')
