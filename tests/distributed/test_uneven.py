"""Seven images in two and four processes: metrics and kept predictions are those of one process."""

import json

import numpy as np
import pytest
from PIL import Image

from fastervit_mm.data.drawn_shapes import write_shapes
from tests.distributed import knowing
from tests.distributed.start import in_processes


@pytest.fixture(scope='module')
def seven(tmp_path_factory):
    root = tmp_path_factory.mktemp('seven')
    write_shapes(root, train=1, val=7, size=64)
    knowing.write_checkpoint(root)
    return root


def detections(work_dir) -> list:
    entries = json.loads((work_dir / 'kept.json').read_text())
    return sorted(entries, key=lambda e: (e['image_id'], e['score'], e['bbox']))


def label_maps(work_dir) -> dict:
    return {path.name: np.asarray(Image.open(path)) for path in (work_dir / 'kept').iterdir()}


@pytest.mark.parametrize('counts', [(2,), pytest.param((4,), marks=pytest.mark.long)])
@pytest.mark.parametrize('layout', ['coco', 'ade'])
def test_each_image_counts_once(layout, counts, seven, tmp_path):
    """By tools/test.py; the models make mistakes, so that a wrong share of images would show."""
    (alone,) = in_processes(1, knowing.tested, layout, seven, tmp_path / '1')
    for count in counts:
        found = in_processes(count, knowing.tested, layout, seven, tmp_path / str(count))
        assert found == [alone] * count
    names = ('coco/bbox_mAP', 'coco/segm_mAP') if layout == 'coco' else ('mIoU', 'mAcc')
    top = 1 if layout == 'coco' else 100
    assert all(0.05 * top < alone[name] < 0.95 * top for name in names), alone
    if layout == 'coco':
        kept = detections(tmp_path / '1')
        assert len({entry['image_id'] for entry in kept}) == 7
        assert all(detections(tmp_path / str(count)) == kept for count in counts)
        return
    maps = label_maps(tmp_path / '1')
    assert len(maps) == 7
    for count in counts:
        others = label_maps(tmp_path / str(count))
        assert others.keys() == maps.keys()
        assert all((others[name] == maps[name]).all() for name in maps)
