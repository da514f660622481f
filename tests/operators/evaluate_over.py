"""``tools/test.py`` over our operators, where compiled ones are installed too.

python -m tests.operators.evaluate_over CONFIG CHECKPOINT [options of tools/test.py]
"""

import runpy
import sys
from pathlib import Path
from types import ModuleType

from fastervit_mm.operators.extension import fill

ROOT = Path(__file__).resolve().parent.parent.parent


def main() -> None:
    module = ModuleType('mmcv._ext')
    fill(module)
    sys.modules['mmcv._ext'] = module  # before mmcv looks for its own
    sys.path.insert(0, str(ROOT / 'tools'))
    sys.argv[0] = str(ROOT / 'tools' / 'test.py')
    runpy.run_path(sys.argv[0], run_name='__main__')


if __name__ == '__main__':
    main()
