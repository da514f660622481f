"""What a run uses of a folder: files that it can read, and the settings that read them."""

from __future__ import annotations

from typing import Any, NamedTuple


class UsedData(NamedTuple):
    """Settings for a config; small, so that one process can send them to the others.

    Attributes:
        classes: names.
        loaders: name of a loader -> settings of its innermost data set.
        transforms: type of a pipeline's transform -> settings of each one in the config.
        lines: what there is to say about it.
    """

    classes: tuple[str, ...]
    loaders: dict[str, dict[str, Any]]
    transforms: dict[str, dict[str, Any]]
    lines: list[str]
