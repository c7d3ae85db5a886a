"""One generated product as two slices of a pass, cut at a line, each with annotation and tables of its own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from utils.io.synth_plans import S1_PLANS
from utils.io.synth_products import A_BETA, SceneProducts
from utils.io.synth_s1 import GrdImage, write_grd
from utils.science import synth_sar as sar
from utils.science.synth_fields import generator


def whole_image(products: SceneProducts, key: str = "s1_t0") -> GrdImage:
    """The image that SceneProducts.write_s1 writes for a plan with both polarisations and all lines."""
    plan, track = S1_PLANS[key], products.track(S1_PLANS[key].identity.descending)
    grid, dn, noise = track.grid, {}, {}
    for row, pol in enumerate(plan.pols):
        noise[pol] = sar.noise_table(grid.lines, grid.samples, pol)
        beta0 = track.beta0[plan.date][row]
        grain = None
        if products.conf.speckle:
            grain = sar.speckle(generator(products.conf.seed, f"speckle {key} {pol}"), beta0.shape)
        eta = noise[pol].image(*beta0.shape) if products.conf.thermal_noise else np.float32(0) * beta0
        dn[pol] = sar.digital_numbers(beta0, eta, A_BETA, grain)
    start = np.ascontiguousarray(products.surface.coefficients[:3, 0, 0])
    return GrdImage(plan.identity, track.orbit, grid, dn, noise, A_BETA, not products.conf.thermal_noise, start)


def _cut_noise(table: sar.NoiseTable, first: int, lines: int) -> sar.NoiseTable:
    """The same noise for part of the lines: vectors at its first and last line are interpolated, as they are linear."""
    at = np.unique(
        np.concatenate([[first, first + lines - 1], table.lines[(table.lines > first) & (table.lines < first + lines)]])
    )
    place = np.interp(at, table.lines, np.arange(len(table.lines)))
    low = np.minimum(place.astype(int), len(table.lines) - 2)
    share = (place - low)[:, None]
    level = (1 - share) * table.range_lut[low] + share * table.range_lut[low + 1]
    along = np.unique(
        np.concatenate([at, table.azimuth_lines[(table.azimuth_lines > first) & (table.azimuth_lines < first + lines)]])
    )
    return replace(
        table, lines=at - first, range_lut=level, azimuth_lines=along - first,
        azimuth_lut=np.interp(along, table.azimuth_lines, table.azimuth_lut),
    )  # fmt: skip


def write_slices(products: SceneProducts, folder: Path, cut: int, overlap: int = 0) -> tuple[Path, Path, Path]:
    """The undivided product and its two slices: lines 0 .. cut + overlap - 1, and from line cut on."""
    image = whole_image(products)
    parts = []
    for number, first, last in ((1, 0, cut + overlap), (2, cut, image.grid.lines)):
        cut_dn = {pol: np.ascontiguousarray(dn[first:last]) for pol, dn in image.dn.items()}
        noise = {pol: _cut_noise(table, first, last - first) for pol, table in image.noise.items()}
        identity = replace(image.identity, slice_number=number, total_slices=2)
        grid = image.grid.crop_lines(first, last - first)
        parts.append(write_grd(folder, replace(image, identity=identity, grid=grid, dn=cut_dn, noise=noise)))
    return write_grd(folder / "whole", image), parts[0], parts[1]
