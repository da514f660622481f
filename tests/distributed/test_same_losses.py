"""Two and four processes learn what one learns from the same batches."""

import pytest

from fastervit_mm.data.drawn_shapes import write_shapes
from tests.distributed import runs
from tests.distributed.start import in_processes

CLOSE = 1e-5


@pytest.fixture(scope='session')
def sixteen(tmp_path_factory):
    """Sixteen training scenes and seven of validation, of 64 px."""
    root = tmp_path_factory.mktemp('sixteen')
    write_shapes(root, train=16, val=7, size=64)
    return root


def trained(count, kind, data, work_dir, **options):
    """The losses and end weights of ``count`` processes, which agree on them."""
    found = in_processes(count, runs.train, kind, data, work_dir, **options)
    for other in found[1:]:
        assert other['losses'] == found[0]['losses']
        assert largest_difference(other['weights'], found[0]['weights']) == 0
    return found[0]


def largest_difference(weights, other):
    assert weights.keys() == other.keys()
    return max((weights[n].double() - other[n].double()).abs().max().item() for n in weights)


@pytest.mark.parametrize(
    'kind, counts, accumulate',
    [
        ('segmentor', (2, 4), 2),
        pytest.param('segmentor', (2, 4), 1, marks=pytest.mark.long),
        pytest.param('detector', (2, 4), 1, marks=pytest.mark.long),
        pytest.param('detector', (2, 4), 2, marks=pytest.mark.long),
    ],
)
def test_losses_and_weights_are_those_of_one_process(kind, counts, accumulate, sixteen, tmp_path):
    """With clipped gradients, over five steps; ``accumulate`` batches a step."""
    options = dict(accumulate=accumulate)
    alone = trained(1, kind, sixteen, tmp_path / '1', **options)
    assert len(alone['losses']) == 5 * accumulate
    assert len({round(loss, 4) for loss in alone['losses']}) > 1  # it learns, or sees other images
    for count in counts:
        together = trained(count, kind, sixteen, tmp_path / str(count), **options)
        assert together['losses'] == pytest.approx(alone['losses'], rel=0, abs=CLOSE)
        assert largest_difference(together['weights'], alone['weights']) < CLOSE
