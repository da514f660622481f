"""What the package writes to the log, wherever it is called from."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from mmengine.logging import MMLogger


class _Keeping(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


@contextmanager
def logged() -> Iterator[list[str]]:
    """The lines that mmengine's current logger gets meanwhile; they go nowhere else."""
    logger, keeping = MMLogger.get_instance('logged', logger_name='logged'), _Keeping()
    logger.handlers[:] = [keeping]
    try:
        yield keeping.lines
    finally:
        MMLogger._instance_dict.pop('logged', None)
