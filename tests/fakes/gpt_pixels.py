"""Pixels of the stand-in for gpt: through the native chain, then changed as SNAP would (clipped noise, 0 as nodata)."""

from __future__ import annotations

import hashlib
import json
import math
import os
import tempfile
from pathlib import Path

import numpy as np
from osgeo import gdal, osr
from shapely import wkt
from shapely.geometry import Polygon, box

from tests.fakes.gpt import GptError, Node, Product
from tests.fakes.gpt_dimap import write_dimap
from utils.io import footprint, raster, safe_s2
from utils.io.download_lock import merge_lock
from utils.io.safe import open_product
from utils.science.grid import Grid

CLIPPED = 4.5e-11  # 1e-5 in DN2 after division by the square of betaNought
_FILTER = {"None": "none", "Lee": "lee", "Refined Lee": "refined_lee", "Lee Sigma": "lee_sigma"}
_PAD_PX = 600
S2_NAMES = {"B1": "B01", "B2": "B02", "B3": "B03", "B4": "B04", "B5": "B05", "B6": "B06", "B7": "B07", "B8": "B08",
            "B8A": "B8A", "B9": "B09", "B11": "B11", "B12": "B12"}  # fmt: skip


def select_bands(node: Node, product: Product) -> None:
    names = tuple(name.strip() for name in node.parameters.get("sourceBands", "").split(",") if name.strip())
    unknown = [name for name in names if name not in S2_NAMES]
    if unknown or not names:
        raise GptError(f"[NodeId: {node.id}] source band {unknown or 'none'} not found")
    product.bands = names


def region(node: Node) -> Polygon:
    try:
        return wkt.loads(node.parameters.get("geoRegion", ""))
    except Exception as error:
        raise GptError(f"[NodeId: {node.id}] Cannot convert geoRegion: {error}") from error


def check_region(node: Node, product: Product) -> None:
    polygon = region(node)
    with open_product(product.path) as opened:
        ring = opened.manifest().footprint or safe_s2.metadata(opened).footprint
    if not Polygon(ring).intersects(polygon):
        raise GptError(f"[NodeId: {node.id}] No intersection with source product boundary {product.name}")
    reference = node.parameters.get("referenceBand")
    if reference and product.bands and reference not in product.bands:
        raise GptError(f"[NodeId: {node.id}] reference band {reference} does not exist")


def write(product: Product, target: Path) -> None:
    if product.mission.startswith("S1"):
        _write_s1(product, target)
    else:
        _write_s2(product, target)


def _epsg(text: str) -> int:
    code = text.partition(":")[2]
    if not text.startswith("EPSG:") or not code.isdigit():
        raise GptError(f"[NodeId: Terrain-Correction] Unable to decode CRS '{text}'")
    return int(code)


def _write_s1(product: Product, target: Path) -> None:
    steps = product.steps
    correction, flattening = steps.get("Terrain-Correction"), steps.get("Terrain-Flattening")
    if correction is None or flattening is None:
        raise GptError("this stand-in knows graphs with both terrain operators only")
    if "External DEM" not in correction.get("demName", ""):
        raise GptError("[NodeId: Terrain-Correction] DEM tiles cannot be downloaded; the network is unreachable")
    if correction.get("alignToStandardGrid") != "true":
        raise GptError("this stand-in aligns to the standard grid only")
    spacing = float(correction.get("pixelSpacingInMeter", "0"))
    origin = float(correction.get("standardGridOriginX", "0")) - spacing / 2  # a pixel centre, not a corner
    epsg = _epsg(correction.get("mapProjection", ""))
    heights = Path(correction.get("externalDEMFile", ""))
    if not heights.is_file():
        raise GptError(f"[NodeId: Terrain-Correction] DEM file {heights} not found")
    dem, dem_box = _padded(heights, epsg, correction, target.parent)
    area = steps.get("Subset", {}).get("geoRegion")
    bounds = footprint.to_utm(wkt.loads(area), epsg).bounds if area else dem_box
    x0, y1, x1, y0 = (box(*bounds).intersection(box(*dem_box))).bounds
    fine = 10.0
    snap = max(spacing, fine)
    x0, x1 = (math.floor((v - origin) / snap) * snap + origin for v in (x0, x1))
    y1, y0 = (math.floor((v - origin) / snap) * snap + origin for v in (y1, y0))
    grid = Grid(epsg, x0, y0, fine, -fine, round((y0 - y1) / fine), round((x1 - x0) / fine))
    bands = _kept_native(product, grid, dem)
    with open_product(product.path) as opened:
        manifest = opened.manifest()
    dem.unlink()
    if spacing == 20:
        bands = {name: _halved(values) for name, values in bands.items()}
        grid = Grid(epsg, x0, y0, 20.0, -20.0, grid.rows // 2, grid.cols // 2)
    attributes = {
        "MISSION": "SENTINEL-1" + product.mission[-1], "PASS": manifest.direction, "REL_ORBIT": str(manifest.relative_orbit),
        "orbit_state_vector_file": product.orbit_text or "Annotation state vectors", "PRODUCT": product.name,
    }  # fmt: skip
    write_dimap(target, grid, bands, attributes, nodata=0.0)


def _halved(values: np.ndarray) -> np.ndarray:
    rows, cols = values.shape[0] // 2, values.shape[1] // 2
    blocks = values[: 2 * rows, : 2 * cols].reshape(rows, 2, cols, 2)
    return blocks.max(axis=(1, 3)) if values.dtype == np.uint8 else blocks.mean(axis=(1, 3), dtype=np.float32)


def _padded(path: Path, epsg: int, correction: dict[str, str], folder: Path) -> tuple[Path, tuple[float, ...]]:
    """Heights on 10 m, filled beyond their edge so that the chain has its margin; and where they were known."""
    dataset = gdal.OpenEx(str(path))
    reference = osr.SpatialReference()
    reference.ImportFromEPSG(epsg)
    flat = dataset.GetSpatialRef().Clone()
    flat.StripVertical()
    nodata = float(correction.get("externalDEMNoDataValue", "0"))
    warped = gdal.Warp("", dataset, format="MEM", srcSRS=flat.ExportToWkt(), dstSRS=reference.ExportToWkt(), xRes=10, yRes=10,
                       targetAlignedPixels=True, resampleAlg="bilinear", srcNodata=nodata, dstNodata=math.nan,
                       outputType=gdal.GDT_Float32)  # fmt: skip
    values = warped.ReadAsArray().astype(np.float32)
    x0, dx, _, y0, _, dy = warped.GetGeoTransform()
    known = (x0, y0 + dy * values.shape[0], x0 + dx * values.shape[1], y0)
    values = np.where(np.isnan(values), np.float32(np.nanmedian(values)), values)
    if correction.get("externalDEMApplyEGM", "true") == "true":
        values = values + np.float32(os.environ.get("FAKE_GPT_GEOID_M", "0"))
    values = np.pad(values, _PAD_PX, mode="edge")
    grid = Grid(epsg, x0 - _PAD_PX * 10, y0 + _PAD_PX * 10, 10.0, -10.0, *values.shape)
    target = folder / "heights.tif"
    raster.write(target, values, grid, tags={"VERTICAL": "ellipsoid"})
    return target, known


def _kept_native(product: Product, grid: Grid, dem: Path) -> dict[str, np.ndarray]:
    """The same pixels are computed once: FAKE_GPT_CACHE keeps them under all that they depend on."""
    kept = None
    if folder := os.environ.get("FAKE_GPT_CACHE"):
        places = ("file", "externalDEMFile")  # their content counts
        steps = {op: {k: v for k, v in p.items() if k not in places} for op, p in product.steps.items()}
        key = hashlib.sha256(json.dumps([steps, str(grid), product.name], sort_keys=True).encode())
        for path in (product.path, dem, product.orbit_file):
            key.update(path.read_bytes() if path is not None and path.is_file() else b"-")
        kept = Path(folder) / f"{key.hexdigest()}.npz" if product.path.is_file() else None
    if kept is not None and kept.is_file():
        with np.load(kept, allow_pickle=False) as found:
            return {name: found[name] for name in found.files}
    with tempfile.TemporaryDirectory() as work:
        bands = _native(product, Path(work), grid, dem)
    if kept is not None:
        half = kept.with_name(f"{kept.stem}.{os.getpid()}.npz")
        np.savez(half, **bands)  # type: ignore[arg-type]
        half.rename(kept)
    return bands


def _native(product: Product, work: Path, grid: Grid, dem: Path) -> dict[str, np.ndarray]:
    from tests.s1_stage import convert
    from utils.workflow.layout import Layout
    from utils.workflow.schema import Dem, Speckle

    steps = product.steps
    speckle, correction = steps.get("Speckle-Filter", {}), steps["Terrain-Correction"]
    name = speckle.get("filter", "None")
    if name not in _FILTER:
        raise GptError(f"this stand-in has no filter {name}")
    side = int(speckle.get("windowSize", "7x7").split("x")[0])
    pols = _polarisations(product)
    orbit = "annotation"
    if product.orbit_file is not None:
        orbit = "poeorb"
        copy = work / "raw/orbits" / product.orbit_file.name
        copy.parent.mkdir(parents=True)
        copy.write_bytes(product.orbit_file.read_bytes())
        merge_lock(
            work / "raw", {copy.name: {"file": f"orbits/{copy.name}", "mission": "ORBIT", "size": 1, "sha256": ""}}
        )
    incidence = correction.get("saveLocalIncidenceAngle") == "true"
    gamma0, mask, _, _ = convert(
        work, product.path, grid, Dem(path=str(dem)), polarisations=pols, orbit=orbit, noise="ThermalNoiseRemoval" in steps,
        border_noise="Remove-GRD-Border-Noise" in steps, incidence=incidence, quicklook=False, verify="off", min_overlap=0.0,
        resampling="nearest" if correction["imgResamplingMethod"] == "NEAREST_NEIGHBOUR" else "bilinear",
        speckle=Speckle(filter=_FILTER[name], window=side, sigma=float(speckle.get("sigmaStr", "0.9"))),
    )  # fmt: skip
    bands: dict[str, np.ndarray] = {}
    for pol, plane in zip(pols, gamma0, strict=True):
        clipped = np.where(plane <= CLIPPED, np.float32(CLIPPED), plane)
        bands[f"Gamma0_{pol}"] = np.where(np.isnan(plane), np.float32(0), clipped).astype(np.float32)
    if incidence:
        path = Layout(work).preprocessed("sentinel1", product.path.stem) / "incidence.tif"
        bands["localIncidenceAngle"] = np.nan_to_num(raster.read(path)[0])
    if correction.get("saveLayoverShadowMask") == "true":
        bands["layoverShadowMask"] = (mask & 3).astype(np.uint8)
    return bands


def _polarisations(product: Product) -> tuple[str, ...]:
    from utils.io import safe_s1

    with open_product(product.path) as opened:
        there = {name for name, found in safe_s1.find_members(opened).items() if found.measurement}
    wanted = product.steps.get("Calibration", {}).get("selectedPolarisations", "")
    asked = [name for name in wanted.split(",") if name]
    if set(asked) - there:
        raise GptError(f"[NodeId: Calibration] polarisation {asked} not in product")
    return tuple(name for name in ("VV", "VH") if name in (asked or there))


def _write_s2(product: Product, target: Path) -> None:
    from utils.science.reflectance import bilinear_2x, to_reflectance

    how = os.environ.get("FAKE_GPT_S2", "")
    with open_product(product.path) as opened:
        meta = safe_s2.metadata(opened)
        tile = meta.grids[10]
        bounds = footprint.to_utm(region(Node("Subset", "", [], product.steps["Subset"])), meta.epsg).bounds
        x0, y1, x1, y0 = box(*bounds).intersection(box(*tile.bounds)).bounds
        x0, x1 = (round((v - tile.x0) / 20) * 20 + tile.x0 for v in (x0, x1))
        y1, y0 = (round((v - tile.y0) / 20) * 20 + tile.y0 for v in (y1, y0))
        grid = Grid(meta.epsg, x0, y0, 10.0, -10.0, round((y0 - y1) / 10), round((x1 - x0) / 10))
        bands: dict[str, np.ndarray] = {}
        scaling: dict[str, tuple[float, float]] = {}
        for name in product.bands:
            band = S2_NAMES[name]
            offset = 0 if how == "no_offset" else meta.offset_dn(band)
            if meta.resolution_m(band) == 10:
                bands[name] = safe_s2.read_dn(opened, meta, band, grid)
                scaling[name] = (1.0, 0.0) if how == "raw" else (1 / meta.quantification, offset / meta.quantification)
            elif "S2Resampling" in product.steps:
                dn = safe_s2.read_dn(opened, meta, band, safe_s2.coarse_grid(grid, margin_px=1))
                rho = to_reflectance(dn, offset, meta.quantification, meta.nodata_dn, meta.saturated_dn)
                bands[name] = np.nan_to_num(bilinear_2x(rho.values)).astype(np.float32)
            else:  # a product of several sizes
                bands[name] = safe_s2.read_dn(opened, meta, band, safe_s2.coarse_grid(grid))
    write_dimap(target, grid, bands, {"PRODUCT": product.name}, nodata=0.0, scaling=scaling)
