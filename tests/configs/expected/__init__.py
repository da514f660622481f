"""What every config is to resolve to, written down as literals.

One block for each file of ``configs/_base_/`` (`models`, `data`, `runs`), each stated once; `detection`
and `segmentation` say of every config which blocks it joins and what it changes, as dotted path ->
value. A recipe that is changed on purpose is changed here too, so that nobody changes one by accident.
"""

from tests.configs.expected import data, detection, models, runs, segmentation

BASES = {**models.BLOCKS, **data.BLOCKS, **runs.BLOCKS}
EXPECTED = {**detection.CONFIGS, **segmentation.CONFIGS}
