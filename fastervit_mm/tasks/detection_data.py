"""Pointing a detector's config at a folder in COCO's layout."""

from __future__ import annotations

from .base import Task


class DetectionData(Task):
    """The data part of `detection.Detection`."""
