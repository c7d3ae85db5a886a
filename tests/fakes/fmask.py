"""A stand-in for fmask_sentinel2Stacked of python-fmask: its options, its demands on the folder, its codes.

Refuses, as the program does, what is no L1C product in a .SAFE folder: missing MTD_MSIL1C.xml, other than one granule
L1C_*, a missing or unreadable band, a tile file without angle grids, options that do not exist, a temporary folder that
is not there. The classification itself is a few thresholds. Environment variable FAKE_FMASK: fail, silent, codes, hang.
"""

from __future__ import annotations

import argparse
import os
import stat
import sys
import time
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from osgeo import gdal

gdal.UseExceptions()
BANDS = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B10", "B11", "B12")
ROOT = Path(__file__).parents[2]


def options(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="fmask_sentinel2Stacked", allow_abbrev=False)
    parser.add_argument("-o", "--output", required=True)
    parser.add_argument("--safedir")
    parser.add_argument("--granuledir")
    parser.add_argument("-v", "--verbose", action="store_true")
    parser.add_argument("--pixsize", type=int, default=20)
    parser.add_argument("-k", "--keepintermediates", action="store_true")
    parser.add_argument("-e", "--tempdir", default=".")
    parser.add_argument("--mincloudsize", type=int, default=0)
    parser.add_argument("--cloudbufferdistance", type=float, default=150)
    parser.add_argument("--shadowbufferdistance", type=float, default=300)
    parser.add_argument("--cloudprobthreshold", type=float, default=20)
    parser.add_argument("--nirsnowthreshold", type=float, default=0.11)
    parser.add_argument("--greensnowthreshold", type=float, default=0.1)
    parser.add_argument("--parallaxtest", action="store_true")
    return parser.parse_args(arguments)


def granule_of(safe: Path) -> Path:
    if safe.suffix != ".SAFE" or not safe.is_dir():
        raise SystemExit(f"fmask: {safe} is no .SAFE folder")
    if not (safe / "MTD_MSIL1C.xml").is_file():
        raise SystemExit("fmask: MTD_MSIL1C.xml not found; L2A products are no input")
    ElementTree.parse(safe / "MTD_MSIL1C.xml")
    found = sorted((safe / "GRANULE").glob("L1C_*"))
    if len(found) != 1:
        raise SystemExit(f"fmask: {len(found)} granules")
    tree = ElementTree.parse(found[0] / "MTD_TL.xml")
    for grid in ("Sun_Angles_Grid", "Viewing_Incidence_Angles_Grids"):
        if tree.find(f".//Tile_Angles/{grid}") is None:
            raise SystemExit(f"fmask: no {grid} in MTD_TL.xml")
    return found[0]


def bands_of(granule: Path) -> tuple[dict[str, np.ndarray], gdal.Dataset]:
    """TOA reflectance at 20 m (every second pixel of 10 m, 60 m repeated), and the dataset of a 20 m band."""
    out, template = {}, None
    for band in BANDS:
        (path,) = list((granule / "IMG_DATA").glob(f"*_{band}.jp2"))
        dataset = gdal.Open(str(path))
        values, step = dataset.ReadAsArray().astype(float), round(dataset.GetGeoTransform()[1])
        if band == "B8A":
            template = dataset
        out[band] = values[::2, ::2] if step == 10 else np.kron(values, np.ones((3, 3))) if step == 60 else values
    assert template is not None
    return out, template


def classify(bands: dict[str, np.ndarray]) -> np.ndarray:
    toa = {band: values / 10000 for band, values in bands.items()}
    ndsi = (toa["B03"] - toa["B11"]) / np.maximum(toa["B03"] + toa["B11"], 1e-6)
    out = np.ones(toa["B02"].shape, np.uint8)
    out[toa["B08"] < toa["B04"]] = 5
    out[toa["B08"] < 0.15] = 3
    out[toa["B02"] > 0.3] = 2
    out[(ndsi > 0.6) & (toa["B03"] > 0.3)] = 4
    out[bands["B02"] == 0] = 0
    return out


def main(arguments: list[str]) -> None:
    chosen = options(arguments)
    if (chosen.safedir is None) == (chosen.granuledir is None):
        raise SystemExit("fmask: either --safedir or --granuledir")
    mode = os.environ.get("FAKE_FMASK", "")
    granule = granule_of(Path(chosen.safedir)) if chosen.safedir else Path(chosen.granuledir)
    intermediate = Path(chosen.tempdir) / "angles.img"
    intermediate.write_bytes(b"angles")
    if mode == "fail":
        print("\n".join(f"line {number}" for number in range(30)), file=sys.stderr)
        raise SystemExit("fmask: out of tune")
    if mode == "hang":
        Path(chosen.tempdir, "started").touch()
        time.sleep(60)
    bands, template = bands_of(granule)
    codes = classify(bands)
    if mode == "codes":
        codes[0, 0] = 9
    if mode != "silent":
        out = gdal.GetDriverByName("HFA").Create(chosen.output, codes.shape[1], codes.shape[0], 1, gdal.GDT_Byte)
        out.SetGeoTransform(template.GetGeoTransform())
        out.SetProjection(template.GetProjection())
        out.GetRasterBand(1).WriteArray(codes)
        del out
    log = os.environ.get("FAKE_FMASK_LOG")
    if log:
        Path(log).write_text("\n".join(arguments))
    if not chosen.keepintermediates:
        intermediate.unlink()


def install(folder: Path) -> Path:
    """An executable file that runs this module."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "fmask_sentinel2Stacked"
    path.write_text(
        f"#!{sys.executable}\nimport sys\nsys.path.insert(0, {str(ROOT)!r})\nfrom tests.fakes.fmask import main\nmain(sys.argv[1:])\n"
    )
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


if __name__ == "__main__":
    main(sys.argv[1:])
