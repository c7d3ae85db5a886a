"""Change detection on a scene of 1024 x 1024 px, five bands: fit and apply, and apply against a plain loop over pixels.

The loop does what the text of the method says: cut out each pixel's neighbourhood, project it, compare two distances. It
runs on 64 x 64 px of the same scene, and is compared by the pixel.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench._bench import interleaved
from utils.science import change


def loop(model: change.ChangeModel, difference: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Changed pixels before the erosion, one by one."""
    padded = np.pad(difference, ((0, 0), (1, 2), (1, 2)), mode="edge")
    _, rows, cols = difference.shape
    out = np.zeros((rows, cols), bool)
    for row in range(rows):
        for col in range(cols):
            vector = padded[:, row : row + change.BLOCK_PX, col : col + change.BLOCK_PX].ravel()
            place = model.components @ (vector - model.mean)
            apart = ((place - model.centres) ** 2).sum(axis=1)
            out[row, col] = apart[1] < apart[0]
    return out


def figures() -> list[dict[str, Any]]:
    """Seconds of fit and apply, and how many times faster than the loop a pixel is."""
    rng = np.random.default_rng(0)
    scene = np.abs(rng.normal(0, 0.01, (5, 1024, 1024)))
    scene[:, 300:600, 300:700] += 0.1
    model = change.fit([scene[:, :512]], ("B04", "B03", "B02", "B08", "B12"), 1)
    part = scene[:, 280:344, 280:344]
    if not (loop(model, part) == (model.score(part) > 0)).all():
        raise ValueError("the loop and the filter disagree")
    apply_s, loop_s, ratio = interleaved(lambda: model.apply(scene, erode=False), lambda: loop(model, part), 3)
    fit_s, _, _ = interleaved(lambda: change.fit([scene[:, :512]], model.bands, 1), lambda: None, 3)
    faster = ratio * scene[0].size / part[0].size
    return [
        {"name": "change_fit", "value": fit_s, "unit": "s", "limit": None, "better": "lower"},
        {"name": "change_apply_1024", "value": apply_s, "unit": "s", "limit": 2.0, "better": "lower"},
        {"name": "change_loop_64", "value": loop_s, "unit": "s", "limit": None, "better": "lower"},
        {"name": "change_against_loop", "value": faster, "unit": "times", "limit": 50.0, "better": "higher"},
    ]
