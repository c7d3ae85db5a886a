"""The files of one preprocessed Sentinel-1 product, whatever engine made the pixels: same names, types, nodata, tags."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scripts._context import Context
from utils.io import pictures, raster
from utils.science.grid import Grid
from utils.workflow.files import atomic_json

BITS = {"layover": 1, "shadow": 2, "no_sample": 4, "no_height": 8, "border": 16}
_QUICKLOOK_PX = 600


@dataclass(frozen=True)
class S1Block:
    """Full-width rows of the grid, from `row` on.

    gamma0         polarisation (VV, VH) -> (rows, cols) float32 linear power, NaN = no measurement
    mask           (rows, cols) uint8 of BITS
    incidence_deg  (rows, cols) float32 local incidence angle, NaN = none; None = not asked for
    """

    row: int
    gamma0: Mapping[str, NDArray[np.float32]]
    mask: NDArray[np.uint8]
    incidence_deg: NDArray[np.float32] | None = None


@dataclass
class _Counts:
    """Pixels counted over the blocks: nodata and non-positive by polarisation, set bits of the mask."""

    pixels: int = 0
    nodata: dict[str, int] = field(default_factory=dict)
    nonpositive: dict[str, int] = field(default_factory=dict)
    bits: dict[int, int] = field(default_factory=lambda: dict.fromkeys(BITS.values(), 0))

    def add(self, block: S1Block) -> None:
        self.pixels += block.mask.size
        for name, values in block.gamma0.items():
            self.nodata[name] = self.nodata.get(name, 0) + int(np.isnan(values).sum())
            self.nonpositive[name] = self.nonpositive.get(name, 0) + int((values <= 0).sum())
        for bit in self.bits:
            self.bits[bit] += int((block.mask & bit > 0).sum())

    def share(self, count: int) -> float:
        return round(count / self.pixels, 6)

    def shares(self) -> dict[str, dict[str, float]]:
        return {
            name: {"nodata": self.share(self.nodata[name]), "nonpositive": self.share(self.nonpositive[name])}
            for name in self.nodata
        }


def write_s1(
    ctx: Context,
    item: Any,
    grid: Grid,
    blocks: Callable[[], Iterable[S1Block]],
    tags: Mapping[str, Any],
    facts: Mapping[str, Any],
    noise_removed: Mapping[str, str],
) -> dict[str, dict[str, float]]:
    """Write gamma0_*.tif, mask.tif, incidence.tif where blocks hold it, product.json and quicklook.png of one item.

    blocks  called twice: the shares of nodata stand in the tags, which come before the pixels. It yields the rows of the
            grid from top to bottom, without gaps
    tags    of every raster; BACKEND among them
    facts   of product.json; noise_removed: polarisation -> yes, no_data, already, off
    returns polarisation -> shares of nodata and of non-positive values; they are recorded in the ledger too
    """
    counts, first = _Counts(), None
    for block in blocks():
        counts.add(block)
        first = first or block
    if first is None or counts.pixels != grid.rows * grid.cols:
        raise ValueError(f"the blocks hold {counts.pixels} pixels, the grid {grid.rows * grid.cols}")
    shares = counts.shares()
    if all(found["nodata"] == 1 for found in shares.values()):
        item.skip("outside: no pixel of the product falls on the area")
    thin = _write_rasters(ctx, item, grid, blocks, first, tags, shares, noise_removed)
    folder = ctx.layout.preprocessed("sentinel1", item.id)
    if ctx.conf.preprocess.quicklook:
        planes = [np.concatenate(rows) for rows in thin.values()]
        pictures.write_png(
            item.output(folder / "quicklook.png"), pictures.radar(planes[0], planes[-1]), max_px=_QUICKLOOK_PX
        )
    settings = ctx.conf.preprocess.model_dump(mode="json", exclude={"threads": True, "dem": {"path", "geoid_grid"}})
    record = {
        **facts, "tags": {name: str(value) for name, value in tags.items()}, "noise_removed": dict(noise_removed),
        "shares": shares, "mask_fraction": {f"bit{bit}": counts.share(n) for bit, n in counts.bits.items()},
        "grid": grid.to_dict(), "options": settings,
    }  # fmt: skip
    atomic_json(item.output(folder / "product.json"), record)
    item.data.update(shares=shares, noise_removed=dict(noise_removed))
    return shares


def _write_rasters(
    ctx: Context, item: Any, grid: Grid, blocks: Callable[[], Iterable[S1Block]], first: S1Block, tags: Mapping[str, Any],
    shares: Mapping[str, Mapping[str, float]], noise_removed: Mapping[str, str],
) -> dict[str, list[NDArray[np.float32]]]:  # fmt: skip
    """Rasters block by block; returns thinned rows by polarisation for the quicklook."""
    folder, nan = ctx.layout.preprocessed("sentinel1", item.id), float("nan")
    step = max(1, -(-max(grid.shape) // (2 * _QUICKLOOK_PX)))
    thin: dict[str, list[NDArray[np.float32]]] = {name: [] for name in first.gamma0}
    with ExitStack() as stack:

        def new(path: Path, dtype: str, names: tuple[str, ...], nodata: float | None, units: str, **more: Any) -> Any:
            all_tags = ctx.tags(units, [item.id], **tags, **more)
            return stack.enter_context(
                raster.writer(item.output(path), grid, 1, dtype, band_names=names, nodata=nodata, tags=all_tags)
            )

        outs = {
            name: new(
                folder / f"gamma0_{name.lower()}.tif", "float32", (name,), nan, "m2/m2", POLARISATION=name,
                NOISE_REMOVED=noise_removed[name], NODATA_FRACTION=shares[name]["nodata"],
                NONPOSITIVE_FRACTION=shares[name]["nonpositive"],
            )
            for name in first.gamma0
        }  # fmt: skip
        mask_out = new(folder / "mask.tif", "uint8", (), None, "bits")
        angle_out = None if first.incidence_deg is None else new(folder / "incidence.tif", "float32", (), nan, "degree")
        for block in blocks():
            for name, out in outs.items():
                out.write(block.gamma0[name][None], block.row, 0)
                thin[name].append(block.gamma0[name][-block.row % step :: step, ::step])
            mask_out.write(block.mask[None], block.row, 0)
            if angle_out is not None and block.incidence_deg is not None:
                angle_out.write(block.incidence_deg[None], block.row, 0)
    return thin
