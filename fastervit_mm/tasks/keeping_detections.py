"""A metric that keeps a detector's predictions; it imports mmdet."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mmdet.evaluation import DumpDetResults
from mmengine.config import Config

from .detection_truth import Truth
from .kept_detections import write_detections


class KeepDetections(DumpDetResults):
    """mmdet's ``DumpDetResults``, which writes COCO's results format instead of a pickle.

    Args:
        cfg: the whole config, which names the test data.
        path: file to write.
    """

    def __init__(self, cfg: Config, path: str) -> None:
        super().__init__(out_file_path=str(Path(path).with_suffix('.pkl')))  # it asks for one
        self.cfg, self.out_file_path = cfg, path

    def compute_metrics(self, results: list[dict[str, Any]]) -> dict[str, Any]:
        """Called in the main process, with the results of all."""
        write_detections(Path(self.out_file_path), Truth(self.cfg), results)
        return {}
