"""The nearest good pixels of holes, found ring by ring around each."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit


@njit(cache=True, nogil=True)  # type: ignore[misc]
def nearest_good(good: Any, holes: Any, k: int, rings: int) -> Any:
    """The k nearest good pixels of every hole within a square of `rings` px around it.

    good     (H, W) bool; holes (n, 2) row and column, none of them good
    returns  solved (n,) bool: the k nearest certainly lie within the square; rows and cols (n, k) int32, the nearest
             first, of equal distances the smaller row, then column; distance2 (n, k) int64, px squared. Those of holes
             that are not solved mean nothing
    """
    height, width = good.shape
    count = len(holes)
    solved = np.zeros(count, np.bool_)
    rows, cols = np.zeros((count, k), np.int32), np.zeros((count, k), np.int32)
    far = np.int64(2) * (height + width) ** 2
    distance2 = np.full((count, k), far, np.int64)
    for n in range(count):
        r, c = holes[n]
        for ring in range(1, rings + 1):
            for i in range(max(r - ring, 0), min(r + ring, height - 1) + 1):
                step = 1 if abs(i - r) == ring else 2 * ring  # inner rows of a ring have two pixels
                for j in range(c - ring, c + ring + 1, step):
                    if j < 0 or j >= width or not good[i, j]:
                        continue
                    d = np.int64((i - r) ** 2 + (j - c) ** 2)
                    place = k
                    while place > 0 and (
                        d < distance2[n, place - 1]
                        or (
                            d == distance2[n, place - 1]
                            and (i < rows[n, place - 1] or (i == rows[n, place - 1] and j < cols[n, place - 1]))
                        )
                    ):
                        place -= 1
                    if place == k:
                        continue
                    for q in range(k - 1, place, -1):
                        distance2[n, q], rows[n, q], cols[n, q] = distance2[n, q - 1], rows[n, q - 1], cols[n, q - 1]
                    distance2[n, place], rows[n, place], cols[n, place] = d, i, j
            if distance2[n, k - 1] < (ring + 1) ** 2:
                solved[n] = True
                break
    return solved, rows, cols, distance2
