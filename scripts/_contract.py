"""The files of one preprocessed Sentinel-1 product, whatever engine made the pixels: same names, types, nodata, tags."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from scripts._context import Context
from utils.io import pictures, row_writer
from utils.science.grid import Grid
from utils.science.s1_run import Block
from utils.science.thumbnail import Thumbnail
from utils.workflow.files import atomic_json
from utils.workflow.stages import STAGES

BITS = {"layover": 1, "shadow": 2, "no_sample": 4, "no_height": 8, "border": 16, "no_value": 32}
_QUICKLOOK_PX = 600


@dataclass(frozen=True)
class Late:
    """What is known only after the last block: tags by name and polarisation, and facts for product.json."""

    tags: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)


class Rasters:
    """The contract's rasters of one product, written block by block; counts what they hold.

    Use as a context manager: the files get their names when the block ends without error.
    """

    def __init__(self, ctx: Context, item: Any, grid: Grid, pols: Sequence[str], tags: Mapping[str, str]) -> None:
        self._ctx, self._grid = ctx, grid
        self.folder: Path = ctx.layout.preprocessed("sentinel1", item.id)
        self._item, self._tags = item, tags
        self._stack = ExitStack()
        self._pixels = 0
        self._valid = dict.fromkeys(pols, 0)
        self._nonpositive = dict.fromkeys(pols, 0)
        self._bits = dict.fromkeys(BITS.values(), 0)
        self.thumbnails = {name: Thumbnail(grid.rows, grid.cols, _QUICKLOOK_PX) for name in pols}
        self._gamma0 = {name: self._open(f"gamma0_{name.lower()}", "float32", "m2/m2", name) for name in pols}
        self._mask = self._open("mask", "uint8", "bits")
        angle = ctx.conf.preprocess.incidence
        self._incidence = self._open("incidence", "float32", "degree") if angle else None

    def _open(self, name: str, dtype: str, units: str, band: str = "") -> row_writer.Writer:
        more = {"POLARISATION": band} if band else {}
        opened = row_writer.writer(
            self._item.output(self.folder / f"{name}.tif"), self._grid, 1, dtype, band_names=(band,) if band else (),
            nodata=float("nan") if dtype == "float32" else None,
            tags=self._ctx.tags(units, [self._item.id], **self._tags, **more), threads=self._ctx.conf.preprocess.threads,
        )  # fmt: skip
        return self._stack.enter_context(opened)

    def __enter__(self) -> Rasters:
        return self

    def __exit__(self, *error: Any) -> None:
        try:
            self._stack.__exit__(*error)
        finally:
            if error[0] is not None and self.folder.is_dir() and not any(self.folder.iterdir()):
                self.folder.rmdir()

    def add(self, block: Block) -> None:
        """Write some rows of all rasters."""
        row = block.window.row
        self._pixels += block.mask.size
        for name, values in block.gamma0.items():
            self._gamma0[name].write(values[None], row, 0)
            valid = np.isfinite(values)
            self._valid[name] += int(valid.sum())
            self._nonpositive[name] += int(np.count_nonzero(values[valid] <= 0))
            self.thumbnails[name].add(values, row)
        self._mask.write(block.mask[None], row, 0)
        for bit in self._bits:
            self._bits[bit] += int(np.count_nonzero(block.mask & bit))
        if self._incidence is not None and block.incidence_deg is not None:
            self._incidence.write(block.incidence_deg[None], row, 0)

    def check_complete(self) -> None:
        """Every row came once.

        raises  ValueError
        """
        if self._pixels != self._grid.rows * self._grid.cols:
            raise ValueError(f"the blocks hold {self._pixels} pixels, the grid {self._grid.rows * self._grid.cols}")

    @property
    def shares(self) -> dict[str, dict[str, float]]:
        """Shares of pixels without value and, among the others, of pixels at or below zero, by polarisation."""
        total = self._grid.rows * self._grid.cols
        return {
            name: {
                "nodata": round(1.0 - count / total, 6),
                "nonpositive": round(self._nonpositive[name] / count, 6) if count else 0.0,
            }
            for name, count in self._valid.items()
        }

    @property
    def mask_fraction(self) -> dict[str, float]:
        """Share of each mask bit."""
        return {f"bit{bit}": round(n / (self._grid.rows * self._grid.cols), 6) for bit, n in self._bits.items()}

    def tag(self, noise: Mapping[str, str], late: Mapping[str, Mapping[str, str]]) -> None:
        """Tags of the polarisations that are known only after the last block: what was done, not what was asked."""
        for name, out in self._gamma0.items():
            share = self.shares[name]
            out.set_tags(
                {
                    "NOISE_REMOVED": noise[name], "NODATA_FRACTION": str(share["nodata"]),
                    "NONPOSITIVE_FRACTION": str(share["nonpositive"]), **{tag: by[name] for tag, by in late.items()},
                }
            )  # fmt: skip


def write_s1(
    ctx: Context, item: Any, grid: Grid, pols: Sequence[str], blocks: Iterable[Block], tags: Mapping[str, Any],
    facts: Mapping[str, Any], noise_removed: Mapping[str, str], finish: Callable[[], Late] = Late,
) -> None:  # fmt: skip
    """Write gamma0_*.tif, mask.tif, incidence.tif where it is asked for, product.json and quicklook.png of one item.

    blocks  the rows of the grid, upwards or downwards, without gaps
    tags    of every raster; BACKEND among them
    facts   of product.json; noise_removed: polarisation -> yes, no_data, already, off
    finish  called after the last block
    """
    texts = {name: str(value) for name, value in tags.items()}
    with Rasters(ctx, item, grid, pols, texts) as rasters:
        for block in blocks:
            rasters.add(block)
        rasters.check_complete()
        if all(share["nodata"] == 1.0 for share in rasters.shares.values()):
            item.skip("outside: no pixel of the product falls on the area")
        late = finish()
        rasters.tag(noise_removed, late.tags)
    if ctx.conf.preprocess.quicklook:
        first, last = (rasters.thumbnails[name].mean() for name in (pols[0], pols[-1]))
        pictures.write_png(item.output(rasters.folder / "quicklook.png"), pictures.radar(first, last))
    without: Any = {**dict.fromkeys(STAGES["preprocess_s1"].without, True), "dem": {"path", "geoid_grid"}}
    settings = ctx.conf.preprocess.model_dump(mode="json", exclude=without)
    record = {
        **facts, **late.facts, "tags": texts, "noise_removed": dict(noise_removed), "shares": rasters.shares,
        "mask_fraction": rasters.mask_fraction, "grid": grid.to_dict(), "options": settings,
    }  # fmt: skip
    atomic_json(item.output(rasters.folder / "product.json"), record)
    item.data.update(shares=rasters.shares, noise_removed=dict(noise_removed))
