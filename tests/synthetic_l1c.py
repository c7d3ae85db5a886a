"""A small Sentinel-2 L1C product for tests: 13 bands, both XML files with angle grids, manifest."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from pathlib import Path
from xml.etree.ElementTree import Element

import numpy as np

from utils.io.safe_l1c import BANDS, RESOLUTION_M
from utils.io.synth_s2 import jp2_bytes
from utils.io.synth_s2_xml import L2aIdentity, compact
from utils.io.synth_zip import add, add_all, data_object, write_zip, xml_bytes
from utils.science.grid import Grid

GENERATED = dt.datetime(2020, 1, 4, 1, 2, 3, tzinfo=dt.UTC)


def identity_of(day: int = 4, tile: str = "55HGA", baseline: str = "02.08") -> L2aIdentity:
    """The L1C twin of what tests.synthetic_l2a writes: same datatake, other baseline and time of generation."""
    sensing = dt.datetime(2020, 1, day, 0, 2, 41, tzinfo=dt.UTC)
    return L2aIdentity("S2A", sensing, 23686, 30, tile, baseline, GENERATED, 30.0, 60.0)


def name_of(identity: L2aIdentity) -> str:
    return identity.name.replace("_MSIL2A_", "_MSIL1C_")


def _iso(time: dt.datetime) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S.000Z")


def _product_xml(identity: L2aIdentity, images: list[str], offset_dn: int | None) -> bytes:
    root = Element(
        "n1:Level-1C_User_Product", {"xmlns:n1": "https://psd-14.sentinel2.eo.esa.int/PSD/User_Product_Level-1C.xsd"}
    )
    general = add(root, "n1:General_Info")
    info = add(general, "Product_Info")
    add_all(info, {"PRODUCT_START_TIME": _iso(identity.sensing), "PRODUCT_URI": f"{name_of(identity)}.SAFE",
                   "PROCESSING_LEVEL": "Level-1C", "PROCESSING_BASELINE": identity.baseline})  # fmt: skip
    granule = add(add(add(info, "Product_Organisation"), "Granule_List"), "Granule", imageFormat="JPEG2000")
    for image in images:
        add(granule, "IMAGE_FILE", image)
    section = add(general, "Product_Image_Characteristics")
    for text, index in (("NODATA", 0), ("SATURATED", 65535)):
        add_all(add(section, "Special_Values"), {"SPECIAL_VALUE_TEXT": text, "SPECIAL_VALUE_INDEX": index})
    add(section, "QUANTIFICATION_VALUE", 10000, unit="none")
    if offset_dn is not None:
        offsets = add(section, "Radiometric_Offset_List")
        for number in range(13):
            add(offsets, "RADIO_ADD_OFFSET", offset_dn, band_id=str(number))
    return xml_bytes(root)


def _tile_xml(identity: L2aIdentity, grid: Grid) -> bytes:
    root = Element(
        "n1:Level-1C_Tile_ID", {"xmlns:n1": "https://psd-14.sentinel2.eo.esa.int/PSD/S2_PDI_Level-1C_Tile_Metadata.xsd"}
    )
    add(add(root, "n1:General_Info"), "SENSING_TIME", _iso(identity.tile_time))
    geometry = add(root, "n1:Geometric_Info")
    coding = add(geometry, "Tile_Geocoding")
    add(coding, "HORIZONTAL_CS_CODE", f"EPSG:{grid.epsg}")
    for step in (10, 20, 60):
        add_all(
            add(coding, "Size", resolution=str(step)),
            {"NROWS": grid.rows * 10 // step, "NCOLS": grid.cols * 10 // step},
        )
    for step in (10, 20, 60):
        add_all(add(coding, "Geoposition", resolution=str(step)),
                {"ULX": round(grid.x0), "ULY": round(grid.y0), "XDIM": step, "YDIM": -step})  # fmt: skip
    angles = add(geometry, "Tile_Angles")
    for parent in (
        add(angles, "Sun_Angles_Grid"),
        add(angles, "Viewing_Incidence_Angles_Grids", bandId="0", detectorId="1"),
    ):
        for angle in ("Zenith", "Azimuth"):
            values = add(add(parent, angle), "Values_List")
            for _ in range(23):
                add(values, "VALUES", " ".join(["30.0"] * 23))
    return xml_bytes(root)


def _manifest(files: Mapping[str, bytes]) -> bytes:
    root = Element("xfdu:XFDU", {"xmlns:xfdu": "urn:ccsds:schema:xfdu:1"})
    objects = add(root, "dataObjectSection")
    for number, (member, content) in enumerate(files.items()):
        data_object(objects, f"object_{number}", "Metadata", member, content, "application/octet-stream")
    return xml_bytes(root)


def write_l1c(
    folder: Path, grid: Grid, toa: Mapping[str, np.ndarray], identity: L2aIdentity | None = None, *,
    images: Mapping[str, bytes] | None = None, unpacked: bool = False,
) -> Path:  # fmt: skip
    """Write one product and return its path.

    grid    10 m grid of the tile, multiples of 6 pixels a side
    toa     band -> top-of-atmosphere reflectance on the band's own grid; NaN = no data
    images  band -> JPEG 2000 bytes, used as they are
    """
    identity = identity or identity_of()
    stem = f"GRANULE/L1C_T{identity.tile}_A{identity.absolute_orbit:06d}_{compact(identity.tile_time)}"
    files: dict[str, bytes] = {}
    for band in BANDS:
        step = RESOLUTION_M[band]
        own = Grid(grid.epsg, grid.x0, grid.y0, step, -step, grid.rows * 10 // step, grid.cols * 10 // step)
        if images is not None:
            data = images[band]
        else:
            plane = np.asarray(toa[band], np.float64)
            dn = np.clip(np.rint(np.nan_to_num(plane) * 10000) - (identity.offset_dn or 0), 1, 65535)
            assert plane.shape == own.shape, (band, plane.shape, own.shape)
            data = jp2_bytes(np.where(np.isnan(plane), 0, dn).astype(np.uint16), own)
        files[f"{stem}/IMG_DATA/T{identity.tile}_{compact(identity.sensing)}_{band}.jp2"] = data
    names = [name.removesuffix(".jp2") for name in files]
    files = {
        "MTD_MSIL1C.xml": _product_xml(identity, names, identity.offset_dn),
        f"{stem}/MTD_TL.xml": _tile_xml(identity, grid),
        **files,
    }
    files = {"manifest.safe": _manifest(files), **files}
    name = name_of(identity)
    if unpacked:
        for member, data in files.items():
            path = folder / f"{name}.SAFE" / member
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        return folder / f"{name}.SAFE"
    folder.mkdir(parents=True, exist_ok=True)
    write_zip(folder / f"{name}.zip", ((f"{name}.SAFE/{member}", data) for member, data in files.items()))
    return folder / f"{name}.zip"


# typical top-of-atmosphere reflectance of the 13 bands
GROUND = dict(zip(BANDS, (0.13, 0.10, 0.09, 0.07, 0.11, 0.22, 0.27, 0.26, 0.29, 0.10, 0.002, 0.20, 0.11), strict=True))
CLOUDY = dict(zip(BANDS, (0.55, 0.54, 0.53, 0.55, 0.57, 0.60, 0.62, 0.61, 0.64, 0.35, 0.03, 0.48, 0.38), strict=True))
SHADOWED = {band: 0.35 * value for band, value in GROUND.items()}


def scene_toa(grid: Grid, cloud: np.ndarray, shadow: np.ndarray, seed: int = 1) -> dict[str, np.ndarray]:
    """Ground with cloud and shadow where two 60 m masks say so, with 3 % noise."""
    rng, out = np.random.default_rng(seed), {}
    for band in BANDS:
        factor = 60 // RESOLUTION_M[band]
        value = np.where(cloud, CLOUDY[band], np.where(shadow, SHADOWED[band], GROUND[band]))
        fine = np.kron(value, np.ones((factor, factor)))
        out[band] = fine * rng.normal(1, 0.03, fine.shape)
    assert out["B02"].shape == grid.shape
    return out
