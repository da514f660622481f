"""The moment in which a run takes up the checkpoint that it goes on from."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.dist import is_main_process

from ..config.run_folder import checkpoint_folder, forget_before
from ..errors import ODD, FileError, UserError
from .resuming import names_of
from .whole_files import note_start_point


@contextmanager
def taking_up(runner: Any, checkpoint: str, begun: Callable[[], None]) -> Iterator[None]:
    """Inside, a runner takes up a checkpoint; where that fails, it has not.

    Args:
        runner: of the run.
        checkpoint: path or URL.
        begun: called when it has.

    Raises:
        FileError: the checkpoint is not what the run can go on from; the line names it.
        ArgumentError: the config is not.
    """
    already = runner._has_loaded
    try:
        yield
    except UserError as error:
        runner._has_loaded = False
        if checkpoint in str(error):
            raise
        raise type(error)(f'{checkpoint}: {error}') from None
    except Exception as error:
        runner._has_loaded = False
        if not isinstance(error, ODD) and type(error) is not RuntimeError:  # such as no memory
            raise
        raise FileError(
            f'{checkpoint} cannot be resumed ({type(error).__name__}: {" ".join(str(error).split()):.200}); '
            'resume an earlier one, or start from its weights with --from'
        ) from error
    if runner._has_loaded and not already:
        begun()


def note_going_on(cfg: Config, checkpoint: str) -> None:
    """A run has taken up its checkpoint: what it has written counts, and it goes on from there again.

    Args:
        cfg: of the run.
        checkpoint: path or URL; one of another run is not noted.
    """
    if not is_main_process():
        return
    work_dir, folder, start = Path(cfg.work_dir), checkpoint_folder(cfg), Path(checkpoint)
    own = [place.resolve() for place in (work_dir, folder)]
    if start.exists() and start.resolve().parent in own:
        note_start_point(work_dir, start.resolve(), names_of(cfg))
    forget_before(work_dir)
