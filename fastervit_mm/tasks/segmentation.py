"""Segmentation: a class for each pixel, by mmseg."""

from __future__ import annotations

from typing import ClassVar

from .segmentation_data import SegmentationData


class Segmentation(SegmentationData):
    """The functions of a segmentor's config; its data in `segmentation_data`."""

    name: ClassVar[str] = 'segmentation'
    scope: ClassVar[str] = 'mmseg'
    layout: ClassVar[str] = 'ADE'
