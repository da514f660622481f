"""The one reading of a folder of labelled images: what checking prints and training uses."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from .findings import Findings


@dataclass
class Reading:
    """What is in a folder."""

    folder: Path
    classes: tuple[str, ...]
    findings: list[Findings]
