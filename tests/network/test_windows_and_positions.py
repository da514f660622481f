"""The small pure functions: windows, carrier positions, coordinates."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fastervit_mm.network.positions import RelativePositionBias, centred, log_offsets, token_grid
from fastervit_mm.network.windows import (
    averaging_matrix,
    carrier_positions,
    from_windows,
    pad_to_windows,
    pool_carriers,
    to_windows,
)


@given(st.integers(1, 20), st.integers(1, 20), st.integers(1, 8))
def test_windows_come_back_as_they_were(height, width, window):
    x = torch.arange(2 * 3 * height * width).float().reshape(2, 3, height, width)
    padded = pad_to_windows(x, window)
    assert padded.shape[-2] % window == padded.shape[-1] % window == 0
    rows, columns = (side // window for side in padded.shape[-2:])
    tokens = to_windows(padded, window, rows, columns)
    more = torch.nn.functional.pad(padded, (0, 2, 0, 1), value=-1)
    assert torch.equal(to_windows(more, window, rows, columns), tokens)
    assert tokens.shape == (2 * padded[0, 0].numel() // window**2, window**2, 3)
    assert torch.equal(from_windows(tokens, window, height, width), x)


def test_a_window_holds_its_own_pixels_in_raster_order():
    x = torch.arange(24).reshape(1, 1, 4, 6)
    assert to_windows(x, 2, 2, 3)[1].flatten().tolist() == [2, 3, 8, 9]


@pytest.mark.parametrize(
    'side, window, ct_size, rule, starts, kernel',
    [
        (14, 7, 2, 'aligned', [0, 3, 6, 9], 5),
        (14, 7, 2, 'stretched', [0, 3, 6, 9], 5),
        (7, 7, 2, 'aligned', [0, 2], 5),  # -0.75 and 2.75 held inside
        (21, 7, 2, 'aligned', [0, 3, 6, 10, 13, 16], 5),
        (84, 7, 2, 'stretched', [3 * i for i in range(24)], 15),
        (14, 7, 1, 'aligned', [0, 7], 7),
        (14, 7, 3, 'aligned', [0, 2, 4, 6, 8, 10], 4),
    ],
)
def test_carrier_positions(side, window, ct_size, rule, starts, kernel):
    start, size = carrier_positions(side, window, ct_size, rule)
    assert (start.tolist(), size) == (starts, kernel)


@given(st.integers(1, 40), st.integers(1, 48), st.data())
def test_aligned_carriers_stay_on_their_own_window(windows, window, data):
    ct_size = data.draw(st.integers(1, window))
    start, kernel = carrier_positions(windows * window, window, ct_size, 'aligned')
    centre = start + kernel / 2
    assert torch.equal(
        (centre / window).floor().long(), torch.arange(windows).repeat_interleave(ct_size)
    )
    assert start.min() >= 0 and start.max() + kernel <= windows * window


def test_both_rules_agree_at_two_windows():
    for window in range(2, 50):
        stretched, aligned = (
            carrier_positions(2 * window, window, 2, rule) for rule in ('stretched', 'aligned')
        )
        assert torch.equal(stretched[0], aligned[0]) and stretched[1] == aligned[1]


def test_pooling_is_average_pooling_where_that_exists():
    x = torch.randn(2, 3, 14, 14)
    expected = torch.nn.functional.avg_pool2d(x, 5, stride=3)
    assert torch.allclose(pool_carriers(x, 7, 2, 2, 2, 'aligned'), expected, atol=1e-6)
    more = torch.nn.functional.pad(x, (0, 6, 0, 6), value=9)
    assert torch.allclose(pool_carriers(more, 7, 2, 2, 2, 'aligned'), expected, atol=1e-6)
    rows = averaging_matrix(21, *carrier_positions(21, 7, 2, 'aligned'), torch.float32)
    assert torch.allclose(rows.sum(1), torch.ones(6))


@pytest.mark.parametrize(
    'side, expected',
    [
        (7, [-1, -2 / 3, -1 / 3, 0, 1 / 3, 2 / 3, 1]),
        (4, [-1, -0.5, 0, 0.5]),
        (1, [0]),
        (2, [-1, 0]),
    ],
)
def test_coordinates(side, expected):
    assert torch.allclose(centred(torch.arange(side), side), torch.tensor(expected).float())


def test_log_offsets_are_odd_and_finite_down_to_one_token():
    assert log_offsets(1).tolist() == [0]
    offsets = log_offsets(7)
    assert torch.allclose(offsets, -offsets.flip(0)) and offsets[6] == 0
    assert offsets[-1] == pytest.approx(torch.log2(torch.tensor(9.0)).item() / 3)


def test_token_count_unit_divides_by_half_the_tokens():
    grid = token_grid(14, 14, unit='token_count')
    assert grid.coordinates[0].tolist() == [-1, -1]
    assert grid.coordinates[-1].tolist() == pytest.approx([(13 - 98) / 98] * 2)


@given(st.integers(1, 6), st.integers(1, 6))
def test_bias_reads_the_offset_of_query_minus_key(height, width):
    torch.manual_seed(0)
    bias = RelativePositionBias(2)
    grid = token_grid(height, width)
    table = (16 * bias.evaluate(grid.offsets).sigmoid()).reshape(2 * height - 1, 2 * width - 1, 2)
    full = bias(grid).reshape(2, height, width, height, width)
    for a in ((0, 0), (height - 1, 0), (height // 2, width - 1)):
        for b in ((0, width - 1), (height - 1, width // 2)):
            expected = table[a[0] - b[0] + height - 1, a[1] - b[1] + width - 1]
            assert torch.allclose(full[(slice(None), *a, *b)], expected)


def test_window_order_is_a_reordering_of_raster_order():
    raster, by_window = token_grid(4, 6), token_grid(4, 6, window=2)
    order = to_windows(torch.arange(24).reshape(1, 1, 4, 6), 2, 2, 3).flatten()
    assert torch.equal(by_window.coordinates, raster.coordinates[order])
    assert torch.equal(by_window.pair_index, raster.pair_index[order][:, order])
