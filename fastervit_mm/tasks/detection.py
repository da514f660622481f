"""Detection: boxes and masks of objects, by mmdet."""

from __future__ import annotations

from typing import ClassVar

from .detection_data import DetectionData


class Detection(DetectionData):
    """The functions of a detector's config; its data in `detection_data`."""

    name: ClassVar[str] = 'detection'
    scope: ClassVar[str] = 'mmdet'
    layout: ClassVar[str] = 'COCO'
