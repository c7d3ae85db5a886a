"""One Sentinel-1 product from digital numbers to gamma0 on the map, as arrays; files are the caller's business.

Order: calibrate and remove noise, flatten, filter speckle, all in radar geometry; then resample to the map.
The geometry (prepare) is shared by both polarisations.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from utils.science import calibrate, flatten, resample, speckle, visibility
from utils.science.calibrate import NoiseTables, VectorTable
from utils.science.flatten import AzimuthSpacing, RadarArea
from utils.science.geocode import ImageGeometry, ImagePosition, MapNodes, ellipsoid_cos_incidence, locate, make_nodes
from utils.science.grid import Grid, Window
from utils.science.resample import Resampling
from utils.science.speckle import FilterName

Float32Array = NDArray[np.float32]
FloatArray = NDArray[np.float64]
BitArray = NDArray[np.uint8]

# Radar cells (3 px), their interpolation, the speckle window and the resampling reach this far beyond the area.
_EXTRA_MARGIN_PX = 20
_NO_SAMPLE_FLAG, _BORDER_FLAG = 1, 2


@dataclass(frozen=True)
class Options:
    """What to do; see preprocess in the configuration."""

    flatten: bool = True
    azimuth_spacing: AzimuthSpacing = "ground"
    resampling: Resampling = "bilinear"
    speckle: FilterName = "lee_sigma"
    speckle_window: int = 7
    speckle_sigma: float = 0.9
    looks: float = 4.4
    incidence: bool = False


@dataclass(frozen=True)
class Prepared:
    """Geometry of one product over one area.

    position       image coordinates of the area's map pixels
    image_window   part of the image to read; None when the product misses the area
    area           radar cells of the flattening; None when it is switched off
    flat_factor    tan(incidence) on the ellipsoid, (rows, cols), used instead when flattening is off
    bits           (rows, cols) uint8 layover 1, shadow 2, missing height 8
    incidence_deg  (rows, cols) float32 local incidence angle, on request
    """

    position: ImagePosition
    image_window: Window | None
    area: RadarArea | None
    flat_factor: Float32Array | None
    bits: BitArray
    incidence_deg: Float32Array | None


@dataclass(frozen=True)
class Channel:
    """Pixels and tables of one polarisation over Prepared.image_window.

    noise_tables  None: subtract nothing
    """

    dn: NDArray[np.uint16]
    beta_table: VectorTable
    noise_tables: NoiseTables | None


@dataclass(frozen=True)
class Result:
    """Map rasters of one product: gamma0 per channel and the common mask."""

    gamma0: dict[str, Float32Array]
    mask: BitArray
    noise_missing_fraction: dict[str, float]


def coverage_share(nodes: MapNodes, geometry: ImageGeometry) -> float:
    """Share of the lattice nodes (at middle height) that fall into the image, 0..1."""
    middle = nodes.values[:, :, nodes.values.shape[2] // 2]
    line = middle[..., 0] / geometry.line_interval_s
    pixel = geometry.srgr.ground_range(np.nan_to_num(middle[..., 0]), middle[..., 1]) / geometry.range_spacing_m
    inside = (line >= 0) & (line <= geometry.lines - 1) & (pixel >= 0) & (pixel <= geometry.samples - 1)
    return float(np.mean(inside))


def margin_px(nodes: MapNodes, relief_m: float) -> int:
    """Map pixels around the area whose terrain can shift into it, shadow it or be needed by a filter.

    relief_m * max(tan, 1 / tan) of the incidence angle, and a fixed rest.
    raises  ValueError when the product does not see the area at all
    """
    cosine = nodes.values[..., 6]
    if np.all(np.isnan(cosine)):
        raise ValueError("the product does not see the area")
    tangents = [math.sqrt(1 / c**2 - 1) for c in (float(np.nanmin(cosine)), float(np.nanmax(cosine)))]
    reach_m = max(relief_m, 0.0) * max(*tangents, 1 / min(tangents))
    return math.ceil(reach_m / nodes.grid.dx) + _EXTRA_MARGIN_PX


def prepare(
    geometry: ImageGeometry,
    grid: Grid,
    inner: Window,
    height_m: Float32Array,
    missing: NDArray[np.bool_],
    options: Options,
) -> Prepared:
    """Solve the geometry of an area.

    grid      the area's grid grown by margin_px on every side; inner: the area within it
    height_m  (rows, cols) float32 ellipsoidal heights of the grown grid, complete
    missing   (rows, cols) bool, where height_m was filled in
    """
    nodes = make_nodes(geometry, grid, float(height_m.min()), float(height_m.max()))
    position = locate(nodes, geometry, height_m)
    seen = flatten.facets(
        nodes, geometry, height_m, position, azimuth_spacing=options.azimuth_spacing, incidence=options.incidence
    )
    cut = inner.slices
    area_position = ImagePosition(position.line[cut], position.pixel[cut], position.slant_step_m[cut])
    window = _image_window(area_position, geometry, speckle.radius_px(options.speckle, options.speckle_window) + 2)
    bits = visibility.layover_shadow(nodes, height_m)[cut]
    bits[missing[cut]] |= visibility.DEM_MISSING
    factor = None
    if not options.flatten:
        cosine = ellipsoid_cos_incidence(nodes, height_m)[cut]
        factor = np.sqrt(1 / cosine**2 - 1)
    area = flatten.radar_area(position, seen.ratio, window) if options.flatten and window else None
    local = None
    if seen.cos_incidence is not None:
        local = np.degrees(np.arccos(np.clip(seen.cos_incidence[cut], -1, 1)))
    return Prepared(area_position, window, area, factor, bits, local)


def _image_window(position: ImagePosition, geometry: ImageGeometry, margin: int) -> Window | None:
    """Image pixels that the map pixels need, with a margin, cut at the image."""
    line, pixel = position.line, position.pixel
    inside = (line > -1) & (line < geometry.lines) & (pixel > -1) & (pixel < geometry.samples)
    if not inside.any():
        return None
    top = max(int(np.floor(line[inside].min())) - margin, 0)
    left = max(int(np.floor(pixel[inside].min())) - margin, 0)
    bottom = min(int(np.floor(line[inside].max())) + margin + 2, geometry.lines)
    right = min(int(np.floor(pixel[inside].max())) + margin + 2, geometry.samples)
    return Window(top, left, bottom - top, right - left)


def process(
    prepared: Prepared,
    channels: dict[str, Channel],
    options: Options,
    border: NDArray[np.bool_] | None = None,
) -> Result:
    """gamma0 of every polarisation on the map, and the mask.

    channels  by polarisation; all over prepared.image_window
    border    border noise of the image window, True = not a measurement
    returns   gamma0 float32 linear power, NaN where mask has 2, 4 or 16 and where the area ratio is below 0.05;
              mask bits 1 layover, 2 shadow, 4 no sample, 8 height missing, 16 border
    raises    ValueError when the product misses the area
    """
    if prepared.image_window is None:
        raise ValueError("the product misses the area")
    window, position = prepared.image_window, prepared.position
    ratio = prepared.area.on_image(window) if prepared.area else None
    flags = np.zeros((window.rows, window.cols), np.uint8)
    if border is not None:
        flags[border] |= _BORDER_FLAG
    maps, missing = {}, {}
    for name, channel in channels.items():
        noise = calibrate.noise_on_image(channel.noise_tables, window) if channel.noise_tables else None
        missing[name] = 0.0 if noise is None else float(np.mean(np.isnan(noise)))
        power = calibrate.beta0(channel.dn, calibrate.table_on_image(channel.beta_table, window), noise)
        flags[channel.dn == 0] |= _NO_SAMPLE_FLAG
        if border is not None:
            power[border] = np.nan
        if ratio is not None:
            power = flatten.to_gamma0(power, ratio)
        power = speckle.speckle_filter(
            power, options.speckle, options.speckle_window, options.looks, options.speckle_sigma
        )
        maps[name] = resample.to_map(power, window.row, window.col, position.line, position.pixel, options.resampling)
        if prepared.flat_factor is not None:
            maps[name] *= prepared.flat_factor
    return _masked(prepared, maps, missing, flags, ratio)


def _masked(
    prepared: Prepared,
    maps: dict[str, Float32Array],
    missing: dict[str, float],
    flags: NDArray[np.uint8],
    ratio: Float32Array | None,
) -> Result:
    window, position = prepared.image_window or Window(0, 0, 0, 0), prepared.position
    found = resample.flags_to_map(flags, window.row, window.col, position.line, position.pixel, _NO_SAMPLE_FLAG)
    mask = prepared.bits.copy()
    mask[(found & _BORDER_FLAG) > 0] |= visibility.BORDER
    empty = np.any([np.isnan(m) for m in maps.values()], axis=0)
    if ratio is not None:
        # no value although a sample is there: the ground is hidden (ratio too small), which is no missing sample
        seen = resample.to_map(ratio, window.row, window.col, position.line, position.pixel, "nearest")
        empty &= ~(seen < flatten.MIN_RATIO)
    mask[((found & _NO_SAMPLE_FLAG) > 0) | (empty & ((mask & visibility.BORDER) == 0))] |= visibility.NO_SAMPLE
    hidden = (mask & (visibility.SHADOW | visibility.NO_SAMPLE | visibility.BORDER)) > 0
    for values in maps.values():
        values[hidden] = np.nan
    return Result(maps, mask, missing)


def read_window(window: Window, lines: int, samples: int, border: bool) -> Window:
    """Part of the image to read: with border noise in it, up to the image edges that noise is connected to."""
    return calibrate.with_edges(window, lines, samples) if border else window


def fractions(values: Float32Array) -> dict[str, float]:
    """Shares of pixels without value and, among the others, of pixels at or below zero."""
    valid = np.isfinite(values)
    count = int(valid.sum())
    return {
        "nodata": round(1.0 - count / values.size, 6),
        "nonpositive": round(float(np.sum(values[valid] <= 0)) / count, 6) if count else 0.0,
    }
