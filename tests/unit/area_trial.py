"""Do area intervals cover? Simulated scenes, a cheap predictor fitted on other scenes, the estimators of the project.

Four groups of scenes, none in two of them: the predictor is fitted on the first, its sigma on the second, the error model
(scale, correlation, common share) on the third; on the fourth the intervals are counted. The truth of a scene is the area
of dNBR >= 0.10 between S2(t0) as observed and the noise-free S2(t1), which neither predictor nor estimator sees but on
the test blocks of the estimators that need a reference there.

    python -m tests.unit.area_trial --scenes 100
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from utils.science import area, area_errors, indices, severity, synth_optical, synth_rasters
from utils.science import index_uncertainty as uncertainty
from utils.science.area_errors import AreaModel, Covariance
from utils.science.synth import SceneParams

BANDS = ("B04", "B08", "B12")
EDGE = 0.10
PIXEL_M2 = np.full((1, 1), 100.0)
Image = NDArray[np.float64]


@dataclass(frozen=True)
class Scene:
    """features (H, W, F); before, after (3, H, W) reflectance of BANDS; fires: their number."""

    features: Image
    before: Image
    after: Image
    fires: int

    @property
    def true(self) -> Image:
        """(H, W) true dNBR."""
        return _dnbr(self.before, self.after)


def _dnbr(before: Image, after: Image) -> Image:
    first, second = (indices.nbr(dict(zip(BANDS, image))) for image in (before, after))
    return indices.difference(first, second)


def scenes(seed: int, count: int, size_px: int) -> list[Scene]:
    """Seeded scenes with 0 to 4 fires and all confusers."""
    made = []
    at = [synth_optical.BANDS.index(band) for band in BANDS]
    for params in synth_rasters.scenes(SceneParams(seed, size_px, cloud_fraction=0.0, pad_px=16), count):
        one = synth_rasters.rasters(params)
        before, after = (np.asarray(image[at], np.float64) for image in (one.s2[0], one.clear_t1))
        made.append(Scene(_features(one.s1, before), before, after, params.fires))
    return made


def _features(radar: Sequence[NDArray[np.float32]], before: Image) -> Image:
    change = 10 * np.log10(np.maximum(radar[1], 1e-5) / np.maximum(radar[0], 1e-5))
    change -= np.median(change, axis=(1, 2), keepdims=True)
    ndvi, nbr = indices.ndvi(dict(zip(BANDS, before))), indices.nbr(dict(zip(BANDS, before)))
    smooth = [ndimage.uniform_filter(plane, size) for size in (7, 21) for plane in change]
    planes = [*before, ndvi, nbr, *smooth]
    planes += [plane * ndvi for plane in smooth] + [np.minimum(plane, 0) * ndvi for plane in smooth]
    return np.stack([np.ones_like(ndvi), *planes], axis=-1)


class Predictor:
    """Ridge regression of the change on the features; sigma from a table of squared errors by predicted dNBR and NBR(t0)."""

    def __init__(self, fitted_on: Sequence[Scene], sigma_from: Sequence[Scene], pixels: int = 4000) -> None:
        x, y = zip(*(_some(scene, pixels, number) for number, scene in enumerate(fitted_on)))
        stack, wanted = np.concatenate(x), np.concatenate(y)
        self._scale = stack.std(axis=0) + 1e-9
        scaled = stack / self._scale
        self._weights = np.linalg.solve(scaled.T @ scaled + 10.0 * np.eye(scaled.shape[1]), scaled.T @ wanted)
        places, squares = [], []
        for scene in sigma_from:
            image = self.image(scene)
            places.append(
                np.stack([_dnbr(scene.before, image).ravel(), indices.nbr(dict(zip(BANDS, scene.before))).ravel()])
            )
            squares.append(((image - scene.after) ** 2).reshape(3, -1))
        place, square = np.concatenate(places, axis=1), np.concatenate(squares, axis=1)
        self._cuts = [np.quantile(row, np.linspace(0, 1, 17)[1:-1]) for row in place]
        cell = self._cell(place)
        counts = np.maximum(np.bincount(cell, minlength=256), 1)
        self._table = np.stack([np.sqrt(np.bincount(cell, weights=row, minlength=256) / counts) for row in square])

    def _cell(self, place: Image) -> NDArray[np.int64]:
        first, second = (np.searchsorted(cuts, row) for cuts, row in zip(self._cuts, place))
        return np.asarray(first * 16 + second)

    def image(self, scene: Scene) -> Image:
        """(3, H, W) simulated reflectance of t1."""
        return scene.before + np.moveaxis((scene.features / self._scale) @ self._weights, -1, 0)

    def sigma(self, scene: Scene, image: Image) -> Image:
        """(3, H, W) its standard deviation."""
        nbr = indices.nbr(dict(zip(BANDS, scene.before)))
        cell = self._cell(np.stack([_dnbr(scene.before, image).ravel(), nbr.ravel()]))
        return np.maximum(self._table[:, cell].reshape(image.shape), 0.001)

    def difference(self, scene: Scene) -> tuple[Image, Image]:
        """Predicted dNBR and its sigma by the delta method, bands taken as independent."""
        image = self.image(scene)
        sigma = self.sigma(scene, image)
        spread = uncertainty.index_sigma("NBR", dict(zip(BANDS, image)), dict(zip(BANDS, sigma)))
        return _dnbr(scene.before, image), spread


def _some(scene: Scene, pixels: int, seed: int) -> tuple[Image, Image]:
    flat = scene.features.reshape(-1, scene.features.shape[-1])
    change = np.moveaxis(scene.after - scene.before, 0, -1).reshape(-1, 3)
    chosen = np.random.default_rng(seed).permutation(len(flat))[:pixels]
    return flat[chosen], change[chosen]


@dataclass(frozen=True)
class Outcome:
    """Of each kind of interval: scenes covered, scenes with an interval, mean width in ha; and the error model."""

    covered: dict[str, int]
    made: dict[str, int]
    width_ha: dict[str, float]
    model: AreaModel
    mean_true_ha: float
    mean_error_ha: dict[str, float]

    def lines(self) -> list[str]:
        """One line a kind."""
        head = [f"error model {self.model}", f"mean true area {self.mean_true_ha:.1f} ha"]
        return head + [
            f"{name:<34} covers {self.covered[name]:>3} of {self.made[name]:>3}, mean width {self.width_ha[name]:8.1f} ha, "
            f"mean |estimate - truth| {self.mean_error_ha[name]:7.1f} ha"
            for name in self.covered
        ]


def trial(
    seed: int, tested: int, size_px: int, block_px: int, share: float = 0.3, sets: tuple[int, int, int] = (20, 20, 20)
) -> Outcome:
    """Count how often each interval holds the true area."""
    everything = scenes(seed, sum(sets) + tested, size_px)
    a, b, c = sets
    predictor = Predictor(everything[:a], everything[a : a + b])
    pieces = []
    for number, scene in enumerate(everything[a + b : a + b + c]):
        change, spread = predictor.difference(scene)
        pieces.append((f"scene{number}", change, spread, scene.true))
    model = area_errors.fit(pieces, (EDGE,))
    rows: dict[str, list[tuple[float, area.Area]]] = {}
    for number, scene in enumerate(everything[a + b + c :]):
        change, spread = predictor.difference(scene)
        truth = float((scene.true >= EDGE).sum()) / 100
        found = {
            **_with_reference(change, spread, scene.true, block_px, share, number),
            **_without(change, spread, model),
        }
        for name, one in found.items():
            rows.setdefault(name, []).append((truth, one))
    ends = {name: [(t, one) for t, one in made if np.isfinite(one.low_ha)] for name, made in rows.items()}
    return Outcome(
        {name: sum(one.low_ha <= t <= one.high_ha for t, one in made) for name, made in ends.items()},
        {name: len(made) for name, made in ends.items()},
        {name: float(np.mean([one.high_ha - one.low_ha for _, one in made])) for name, made in ends.items()},
        model,
        float(np.mean([t for t, _ in rows["expected, errors as measured"]])),
        {name: float(np.mean([abs(one.ha - t) for t, one in made])) for name, made in ends.items()},
    )


def _without(change: Image, spread: Image, model: AreaModel) -> dict[str, area.Area]:
    """No reference in the scene: from sigma, with errors as measured and as if pixels were independent."""
    alone = replace(area_errors.assumed((EDGE,)), covariances=(Covariance(0.0, 0.0, 1.0, 1.0),) * 2)
    inside = replace(model, covariances=tuple(replace(one, common=0.0) for one in model.covariances))
    models = {"errors as measured": model, "independent pixels": alone, "without the common share": inside}
    models["nothing measured"] = area_errors.assumed((EDGE,))
    return {f"expected, {name}": area.expected(change, spread, PIXEL_M2, one)[1] for name, one in models.items()}


def _within(
    change: Image, spread: Image, true: Image, blocks: NDArray[np.int64], tested: NDArray[np.int64]
) -> area.Area:
    """Calibrated on blocks of the scene itself, as where a project has one scene only."""
    pieces: list[area_errors.Ground] = []
    for block in tested:
        rows, cols = (slice(axis.min(), axis.max() + 1) for axis in np.nonzero(blocks == block))
        pieces.append((str(block), change[rows, cols], spread[rows, cols], true[rows, cols]))
    return area.expected(change, spread, PIXEL_M2, area_errors.fit(pieces, (EDGE,), change.size))[1]


def _with_reference(
    change: Image, spread: Image, true: Image, block_px: int, share: float, number: int
) -> dict[str, area.Area]:
    """A reference on some blocks (or, for one of them, on single pixels of the whole scene)."""
    own, real = severity.burned(change, EDGE), severity.burned(true, EDGE)
    weights, total = area.map_shares(own, PIXEL_M2, 2)
    blocks = (
        np.indices(own.shape)[0] // block_px * (-(-own.shape[1] // block_px)) + np.indices(own.shape)[1] // block_px
    )
    count = int(blocks.max()) + 1
    tested = np.random.default_rng([7, number]).permutation(count)[: max(2, round(share * count))]
    counts = np.stack([severity.confusion(own, real, 2, blocks == block) for block in tested])
    near = severity.confusion(own, real, 2, area.one_a_cell(np.isin(blocks, tested), 16, number))
    wide = severity.confusion(own, real, 2, area.one_a_cell(np.ones(own.shape, bool), 16, number))
    made = {
        "stratified, sample of whole scene": lambda: area.stratified(wide, weights, total)[1],
        "stratified, sample of test blocks": lambda: area.stratified(near, weights, total)[1],
        "between test blocks": lambda: area.clustered(counts, weights, total)[1],
        "bootstrap of test blocks": lambda: area.bootstrap(counts, weights, total, 500, number)[1],
        "expected, calibrated on those blocks": lambda: _within(change, spread, true, blocks, tested),
    }
    found = {}
    for name, estimate in made.items():
        try:
            found[name] = estimate()
        except ValueError:
            found[name] = area.Area(float("nan"), float("nan"), float("nan"))
    return found


def main() -> None:
    """Print the coverage of every kind of interval."""
    parser = argparse.ArgumentParser(description="coverage of area intervals on simulated scenes")
    parser.add_argument("--scenes", type=int, default=100)
    parser.add_argument("--size", type=int, default=256, help="pixels")
    parser.add_argument("--block", type=int, default=32, help="side of a test block, pixels")
    parser.add_argument("--share", type=float, default=0.3, help="share of the blocks with reference")
    parser.add_argument("--seed", type=int, default=2026)
    chosen = parser.parse_args()
    for line in trial(chosen.seed, chosen.scenes, chosen.size, chosen.block, chosen.share).lines():
        print(line)


if __name__ == "__main__":
    main()
