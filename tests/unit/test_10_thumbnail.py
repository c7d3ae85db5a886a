"""Mean images of rasters that come in blocks."""

import numpy as np
import pytest

from utils.science.thumbnail import Thumbnail


def test_means_by_hand_with_holes() -> None:
    values = np.arange(30, dtype=np.float32).reshape(5, 6)
    values[0, 0] = values[4, 4] = values[4, 5] = np.nan
    small = Thumbnail(5, 6, max_px=3)
    small.add(values[:2], 0)
    small.add(values[2:], 2)
    assert small.factor == 2
    found = small.mean()
    assert found.shape == (3, 3)
    assert found[0, 0] == pytest.approx((1 + 6 + 7) / 3)
    assert found[1, 1] == pytest.approx((14 + 15 + 20 + 21) / 4)
    assert np.isnan(found[2, 2])


def test_grouping_of_rows_does_not_matter() -> None:
    values = np.random.default_rng(2).gamma(4.0, 0.05, (97, 61)).astype(np.float32)
    results = []
    for size in (97, 8, 13):
        small = Thumbnail(97, 61, max_px=20)
        for row in reversed(range(0, 97, size)):
            small.add(values[row : row + size], row)
        results.append(small.mean().tobytes())
    assert results[0] == results[1] == results[2]
