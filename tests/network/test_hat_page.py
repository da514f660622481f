"""docs/hat.md: its snippet runs and gives what the comments say, its table is what the layer counts."""

import re

import pytest
import torch

from fastervit_mm import HierarchicalAttention
from tests.helpers import ROOT

PAGE = (ROOT / 'docs' / 'hat.md').read_text(encoding='utf-8')


def test_the_snippet_gives_what_its_comments_say(capsys):
    snippet, _ = re.findall(r'^```python\n(.*?)^```', PAGE, re.M | re.S)
    names: dict = {}
    exec(snippet, names)
    shape, giga = re.search(r'# (\(.*\))\n.*# ([\d.]+): giga', snippet).groups()
    assert str(tuple(names['maps'].shape)) == shape == '(2, 96, 25, 17)'
    assert round(float(capsys.readouterr().out.splitlines()[0]), 2) == float(giga)
    assert names['network'][1].fused and names['network'][3].fused


@pytest.mark.parametrize('row', re.findall(r'^\| (\d+)×(\d+) \| (.*) \|$', PAGE, re.M))
def test_the_table_of_costs(row):
    height, width = int(row[0]), int(row[1])
    windows, whole, carriers, alone, everything = map(float, row[2].split(' | '))
    layer, pixels, dim = HierarchicalAttention(384, 1, 12), height * width, 384
    assert windows == -(-height // 7) * -(-width // 7)
    assert whole == round(layer.multiply_adds(height, width) / 1e9, 2)
    assert carriers == round(2 * (4 * windows) ** 2 * dim / 1e9, 2)
    linear = 12 * dim**2 * pixels
    assert alone == round((linear + 2 * pixels * 49 * dim) / 1e9, 2)
    assert everything == round((linear + 2 * pixels**2 * dim) / 1e9, 2)


def test_what_it_says_of_the_start():
    """Carriers' scores have no bias; those among pixels begin near 8, the middle of 0 .. 16."""
    torch.manual_seed(0)
    stage = HierarchicalAttention(96, 1, 3)
    grid = stage._window_grid(torch.device('cpu'))
    bias = stage.blocks[0].attn.pos_emb_funct(grid, 4)
    assert not bias[:, :4].any() and not bias[:, :, :4].any()
    assert (bias[:, 4:, 4:] - 8).abs().max() < 1
