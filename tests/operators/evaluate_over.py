"""``tools/test.py`` over our operators, where compiled ones are installed too.

python -m tests.operators.evaluate_over CONFIG CHECKPOINT [options of tools/test.py]
"""

import runpy
import sys
from pathlib import Path

from fastervit_mm.operators.finder import OperatorFinder

ROOT = Path(__file__).resolve().parent.parent.parent


def main() -> None:
    sys.meta_path.insert(0, OperatorFinder())  # asked before the one that finds mmcv's own
    sys.path.insert(0, str(ROOT / 'tools'))
    sys.argv[0] = str(ROOT / 'tools' / 'test.py')
    runpy.run_path(sys.argv[0], run_name='__main__')


if __name__ == '__main__':
    main()
