"""Tables of positions: coordinates and offsets by hand, always computed in fp32."""

import math

import pytest
import torch
from torch import nn

from fastervit_mm.network.positions import PositionEmbedding, RelativePositionBias, token_grid
from fastervit_mm.network.windows import (
    averaging_matrix,
    carrier_kernel,
    from_windows,
    pad_to_windows,
    pool_carriers,
    window_coordinates,
    windows_along,
)

LARGEST = math.log2(9) / 3


def test_the_geometry_of_two_by_three_tokens_by_hand():
    grid = token_grid(2, 3)
    # rows (i - 1) / 1, columns (j - 1) / 1
    assert grid.coordinates.tolist() == [[-1, -1], [-1, 0], [-1, 1], [0, -1], [0, 0], [0, 1]]
    # row offsets -1 .. 1 become 8 · offset, column offsets -2 .. 2 become 4 · offset
    rows = [-LARGEST, 0, LARGEST]
    columns = [-LARGEST, -math.log2(5) / 3, 0, math.log2(5) / 3, LARGEST]
    expected = torch.tensor([[r, c] for r in rows for c in columns])
    assert torch.allclose(grid.offsets, expected, atol=1e-6)
    # query (1, 2) and key (0, 0): one row and two columns on, the last of 3 times 5 offsets
    assert grid.pair_index[5, 0] == 14 and grid.pair_index[0, 5] == 0
    assert (grid.pair_index.diagonal() == 7).all()
    assert grid.pair_index[0, 1] == 6 and grid.pair_index[3, 0] == 12


def test_the_released_detectors_unit_is_half_the_number_of_tokens():
    grid = token_grid(2, 6, unit='token_count')
    assert grid.coordinates[0].tolist() == [-1, -1]
    assert grid.coordinates[-1].tolist() == pytest.approx([-5 / 6, -1 / 6])
    assert token_grid(1, 1, unit='token_count').coordinates.tolist() == [[0, 0]]


def test_grids_stored_window_by_window():
    # 2 by 4 tokens as two windows of 2 by 2
    grid = token_grid(2, 4, window=2)
    order = [(0, 0), (0, 1), (1, 0), (1, 1), (0, 2), (0, 3), (1, 2), (1, 3)]
    assert grid.coordinates.tolist() == [[r - 1, (c - 2) / 2] for r, c in order]
    rows, columns = window_coordinates(1, 2, 2)
    assert list(zip(rows.tolist(), columns.tolist(), strict=True)) == order
    rows, columns = window_coordinates(2, 1, 2)
    assert rows.tolist() == [0, 0, 1, 1, 2, 2, 3, 3] and columns.tolist() == [0, 1, 0, 1] * 2


@pytest.fixture
def embedding() -> PositionEmbedding:
    torch.manual_seed(0)
    module = PositionEmbedding(6)
    for parameter in module.parameters():
        nn.init.normal_(parameter)
    return module


def test_a_position_embedding_is_its_mlp(embedding):
    grid = token_grid(3, 5)
    first, _, last = embedding.cpb_mlp
    assert first.weight.shape == (512, 2) and last.weight.shape == (6, 512) and last.bias is None
    assert torch.allclose(embedding(grid), embedding.cpb_mlp(grid.coordinates), atol=1e-4)


def test_tables_are_computed_in_fp32_whatever_the_model_is_in(embedding):
    grid = token_grid(20, 33)
    expected = embedding(grid)
    with torch.autocast('cpu', torch.bfloat16):
        table = embedding(grid)
    assert table.dtype == torch.float32 and torch.equal(table, expected)
    # in bf16 the weights are rounded, the arithmetic is not
    rounded = PositionEmbedding(6)
    rounded.load_state_dict({k: v.bfloat16() for k, v in embedding.state_dict().items()})
    table = embedding.bfloat16()(grid)
    assert table.dtype == torch.float32 and torch.equal(table, rounded(grid))


def test_tokens_in_front_of_the_grid_get_no_bias():
    torch.manual_seed(0)
    bias, grid = RelativePositionBias(3), token_grid(2, 2)
    table, more = bias(grid), bias(grid, 2)
    assert table.shape == (3, 4, 4) and more.shape == (3, 6, 6) and table.dtype == torch.float32
    assert torch.equal(more[:, 2:, 2:], table)
    assert not more[:, :2].any() and not more[:, :, :2].any()
    nn.init.constant_(bias.cpb_mlp[2].weight, 0)
    assert (bias(grid) == 8).all()  # 16 · sigmoid(0)


def test_windows_that_cover_a_side():
    assert [windows_along(side, 7) for side in (1, 7, 8, 14, 15)] == [1, 1, 2, 2, 3]


def test_padding_is_of_zeros_below_and_to_the_right():
    x = torch.ones(1, 1, 2, 5)
    padded = pad_to_windows(x, 3)
    assert padded.shape == (1, 1, 3, 6) and padded.sum() == 10
    assert torch.equal(padded[:, :, :2, :5], x)
    assert pad_to_windows(torch.ones(1, 1, 3, 6), 3).shape == (1, 1, 3, 6)


def test_windows_are_put_back_by_hand():
    # two windows of 2 by 2 beside each other, cropped to 2 by 3
    tokens = torch.tensor([[1, 2, 3, 4], [5, 6, 7, 8]])[..., None]
    assert from_windows(tokens, 2, 2, 3).tolist() == [[[[1, 2, 5], [3, 4, 7]]]]
    assert from_windows(tokens, 2, 4, 2).tolist() == [[[[1, 2], [3, 4], [5, 6], [7, 8]]]]


def test_a_carrier_averages_what_the_published_rule_averages_at_two_windows():
    assert [carrier_kernel(7, c) for c in (1, 2, 3, 7)] == [7, 5, 4, 1]
    assert carrier_kernel(14, 2) == 7 and carrier_kernel(12, 2) == 6


def test_averages_by_hand():
    matrix = averaging_matrix(5, torch.tensor([0, 3]), 2, torch.float64)
    assert matrix.dtype == torch.float64
    assert matrix.tolist() == [[0.5, 0.5, 0, 0, 0], [0, 0, 0, 0.5, 0.5]]


def test_pooling_of_one_by_two_windows_by_hand():
    """Windows of 2 px with one carrier each: the mean of a window; more beside them is ignored."""
    x = torch.tensor([[1.0, 2, 10, 20, 9], [3, 4, 30, 40, 9], [9, 9, 9, 9, 9]])[None, None]
    assert pool_carriers(x, 2, 1, 1, 2, 'aligned').tolist() == [[[[2.5, 25]]]]
    assert pool_carriers(x.bfloat16(), 2, 1, 1, 2, 'aligned').dtype == torch.bfloat16
