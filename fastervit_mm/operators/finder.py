"""How mmcv finds our operators: asked last for ``mmcv._ext``, so compiled ones come first.

mmcv imports ``mmcv._ext`` when ``mmcv.ops`` is imported, and asks only which names it has
(``mmcv.utils.ext_loader``). Nothing is imported here before that: not torch, not mmcv.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

EXTENSION = 'mmcv._ext'


class OperatorFinder(MetaPathFinder):
    """Finds ``mmcv._ext`` where no finder before it did."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """What to load for ``fullname``; None for anything but ``mmcv._ext``."""
        return ModuleSpec(fullname, OperatorLoader()) if fullname == EXTENSION else None


class OperatorLoader(Loader):
    """Fills an empty module with `extension`'s functions."""

    def exec_module(self, module: ModuleType) -> None:
        """Fill ``module``, and say once that these operators are not mmcv's."""
        from mmengine.logging import print_log

        from .extension import fill

        fill(module)
        print_log(
            'mmcv was installed without its compiled operators: torchvision and PyTorch stand in '
            'for them (fastervit_mm, docs/operators.md)',
            logger='current',
        )


def operators_in_use() -> str | None:
    """'torchvision' (ours) or 'compiled' (mmcv's own); None while nobody has asked for any."""
    extension = sys.modules.get(EXTENSION)
    if extension is None:
        return None
    return 'torchvision' if isinstance(extension.__loader__, OperatorLoader) else 'compiled'


def provide_operators() -> None:
    """Have `OperatorFinder` asked last of all finders; called when fastervit_mm is imported."""
    late = [name for name in ('mmdet.models', 'mmseg.models') if name in sys.modules]
    if late and EXTENSION not in sys.modules:  # they took placeholders for what they did not find
        warnings.warn(
            f'{late[0]} was imported before fastervit_mm and found no operators of mmcv: import '
            'fastervit_mm first (docs/operators.md)',
            stacklevel=2,
        )
    if not any(isinstance(finder, OperatorFinder) for finder in sys.meta_path):
        sys.meta_path.append(OperatorFinder())
