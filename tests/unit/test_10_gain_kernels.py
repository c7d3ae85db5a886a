"""Compiled radiometry against the same float32 operations of numpy: not one bit apart."""

from __future__ import annotations

import numpy as np
import pytest

from utils.science.gain_kernels import add_channels, gain_channels


@pytest.mark.parametrize("first", [0, 3])
@pytest.mark.parametrize("shape", [(1, 1), (7, 48), (33, 5)])
def test_bits_of_numpy(shape: tuple[int, int], first: int) -> None:
    rng = np.random.default_rng([first, *shape])
    z = rng.normal(0, 2, (*shape, first + 4 + 1)).astype(np.float32)
    z.flat[::11] = -0.0
    scale, offset = rng.uniform(0.01, 0.5, 4).astype(np.float32), rng.uniform(-0.2, 0.3, 4).astype(np.float32)
    gain, added = 1 + rng.uniform(-0.02, 0.02), rng.normal(0, 1, 4).astype(np.float32)
    part = (..., slice(first, first + 4))
    wanted, summed = z.copy(), z.copy()
    wanted[part] = ((scale * z[part] + offset) * gain - offset) / scale
    summed[part] += added
    gained, moved = z.copy(), z.copy()
    gain_channels(gained, first, scale, offset, np.float32(gain))
    add_channels(moved, first, added)
    assert gained.dtype == np.float32 and gained.tobytes() == wanted.tobytes() != z.tobytes()
    assert moved.tobytes() == summed.tobytes() != z.tobytes()


def test_a_gain_of_one_is_nearly_nothing_and_of_two_doubles_reflectance() -> None:
    z = np.linspace(-3, 3, 24, dtype=np.float32).reshape(2, 3, 4)
    scale, offset = np.full(4, 0.1, np.float32), np.full(4, 0.25, np.float32)
    one, two = z.copy(), z.copy()
    gain_channels(one, 0, scale, offset, np.float32(1))
    gain_channels(two, 0, scale, offset, np.float32(2))
    assert np.allclose(one, z, atol=1e-6)
    assert np.allclose(scale * two + offset, 2 * (scale * z + offset), atol=1e-6)
