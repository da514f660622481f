"""Names that have moved to `host` and `reading`; to be removed."""

from .host import build_model, check_host_library
from .reading import check_checkpoint, read_config

__all__ = ['build_model', 'check_checkpoint', 'check_host_library', 'read_config']
