"""Heights and pixels of the Sentinel-1 chain from arrays."""

from __future__ import annotations

import numpy as np

from utils.science import s1_chain, s1_run
from utils.science.border import BorderMask
from utils.science.grid import Window


class Ground:
    """Heights in an array; satisfies utils.science.s1_chain.Terrain."""

    def __init__(self, height: np.ndarray, missing: np.ndarray | None = None) -> None:
        self.height = height
        self.missing = np.zeros(height.shape, bool) if missing is None else missing

    def heights(self, window: Window) -> tuple[np.ndarray, np.ndarray]:
        return np.ascontiguousarray(self.height[window.slices]), self.missing[window.slices]


class Pixels:
    """Digital numbers of an image window; refuses to read outside of it."""

    def __init__(self, plan: s1_chain.Plan, dn: np.ndarray) -> None:
        assert plan.image_window is not None
        self.window, self.dn = plan.image_window, dn.astype(np.uint16)

    def __call__(self, part: Window) -> np.ndarray:
        here = part.relative_to(self.window)
        assert here.row >= 0 and here.row + here.rows <= self.window.rows
        assert (here.col, here.cols) == (0, self.window.cols)
        return self.dn[here.slices]


def run(
    plan: s1_chain.Plan, channels: dict[str, s1_chain.Channel], border: BorderMask | None = None, rows: int = 256
) -> s1_run.Block:
    """All rows of the area at once."""
    return s1_run.collect(s1_run.Run(plan, channels, border, rows), (plan.inner.rows, plan.inner.cols))
