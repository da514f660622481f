"""Run a script of mmdet's or mmseg's own with mmcv's operators provided.

    python -m fastervit_mm.run SCRIPT [its arguments]

For those that import mmcv's operators before they read a config (docs/operators.md).
"""

import runpy
import sys
from pathlib import Path

from .errors import FileError, exit_on_user_error


def main() -> None:
    """Run the script that the command line names, as Python itself would."""
    if len(sys.argv) < 2 or sys.argv[1] in ('-h', '--help'):
        print(__doc__)
        return
    script = Path(sys.argv[1])
    if not script.is_file():
        raise FileError(f'{script} is not there; give the path of a Python script')
    sys.argv = sys.argv[1:]
    sys.path[0] = str(script.parent)
    runpy.run_path(str(script), run_name='__main__')


if __name__ == '__main__':
    exit_on_user_error(main)
