"""Whether mmcv has compiled operators here, and an mmcv that has none, whatever is installed."""

from __future__ import annotations

import os
from importlib.machinery import ExtensionFileLoader
from importlib.util import find_spec
from pathlib import Path

from tests.helpers import ROOT


def has_compiled() -> bool:
    """Whether the installed mmcv has operators of its own; ours are found otherwise."""
    spec = find_spec('mmcv._ext')
    return spec is not None and isinstance(spec.loader, ExtensionFileLoader)


def without_extension(folder: Path) -> dict[str, str]:
    """The environment of a process whose mmcv is links in ``folder`` to all but the extension."""
    package = folder / 'mmcv'
    package.mkdir(exist_ok=True)
    spec = find_spec('mmcv')
    assert spec is not None and spec.origin is not None
    for path in Path(spec.origin).parent.iterdir():
        if not path.name.startswith(('_ext', '__pycache__')) and not (package / path.name).exists():
            (package / path.name).symlink_to(path)
    return dict(os.environ, PYTHONPATH=os.pathsep.join((str(folder), str(ROOT))))
