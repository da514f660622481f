"""Pointing a segmentor's config at a folder in ADE20K's layout."""

from __future__ import annotations

from .base import Task


class SegmentationData(Task):
    """The data part of `segmentation.Segmentation`."""
