"""Detection and segmentation: the same functions twice, chosen once, by `task_of`."""

from __future__ import annotations

from mmengine.config import Config

from ..config.host import check_host_library
from .base import Task
from .detection import Detection
from .segmentation import Segmentation

TASKS: dict[str, Task] = {task.name: task for task in (Detection(), Segmentation())}


def task_of(cfg: Config) -> Task:
    """What ``cfg`` is for, by the host library that its ``default_scope`` names.

    Raises:
        ArgumentError: it names none of ours, or one that is not installed.
    """
    check_host_library(cfg)
    return next(task for task in TASKS.values() if task.scope == cfg.default_scope)
