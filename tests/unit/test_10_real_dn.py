"""Real digital numbers: radiometry with a real table, and the speckle filters.

The pixels are the cloud copy of S1A 2018-07-16 at reduced resolution, which has no annotation; the calibration table
is that of S1B 2018-08-13, of the same mode and the same month's processor, taken at the same share of the swath. So
the figures compose two products: they check units and signs to a tenth of a decibel, not the calibration of either.
"""

from __future__ import annotations

import json
import os
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from utils.io import raster, safe_s1
from utils.io.pictures import radar, write_png
from utils.io.safe import open_product
from utils.science import speckle

DATA = os.environ.get("S2CR_DATA")
pytestmark = [
    pytest.mark.realdata,
    pytest.mark.skipif(not DATA, reason="S2CR_DATA is not set: the folder of real sample products"),
]
DECIBEL = {"VV": (-13.2, -8.4, -5.1), "VH": (-25.6, -14.8, -11.8)}  # 5, 50, 95 %, given with the sample


@cache
def _sigma0(pol: str) -> np.ndarray:
    """(837, 1280) float32 sigma nought, NaN where the digital number is 0."""
    folder = Path(DATA or "") / "sentinel1"
    dn = raster.read(folder / "grd_2018_reduced" / f"iw-{pol.lower()}.tiff")[0].astype(float)
    with open_product(next(folder.glob("S1B_IW_GRDH_1SDV_20180813*.zip"))) as product:
        members = safe_s1.find_members(product)[pol]
        note = safe_s1.read_annotation(product, members.annotation)
        assert members.calibration
        table = safe_s1.read_calibration(product, members.calibration, "sigmaNought")
    columns = (np.arange(dn.shape[1]) + 0.5) / dn.shape[1] * note.samples - 0.5
    lines = (np.arange(dn.shape[0]) + 0.5) / dn.shape[0] * note.lines - 0.5
    rows = np.array([np.interp(columns, p, v) for p, v in zip(table.pixels, table.values, strict=True)])
    at = np.array([np.interp(lines, table.lines, rows[:, c]) for c in range(rows.shape[1])]).T
    dn[dn == 0] = np.nan
    return (dn**2 / at**2).astype(np.float32)


@pytest.mark.parametrize("pol", DECIBEL)
def test_radiometry_of_real_digital_numbers(pol: str) -> None:
    sigma0 = _sigma0(pol)
    found = 10 * np.log10(np.nanpercentile(sigma0, (5, 50, 95)))
    print(
        f"sigma0 {pol} 5/50/95 %: {np.round(found, 2)} dB, expected {DECIBEL[pol]} (limit 0.1); pixels of one product, table of another"
    )
    assert found == pytest.approx(DECIBEL[pol], abs=0.1)


def test_the_digital_numbers_themselves() -> None:
    folder = Path(DATA or "") / "sentinel1" / "grd_2018_reduced"
    for pol, mean, most in (("vv", 224.44, 2759), ("vh", 101.46, 730)):
        dn = raster.read(folder / f"iw-{pol}.tiff")[0]
        assert (dn.dtype, dn.shape) == (np.uint16, (837, 1280))
        assert (round(float(dn.mean()), 2), int(dn.max())) == (mean, most)
    assert json.loads((folder / "productInfo.json").read_text())["mode"] == "IW"


@pytest.mark.parametrize("name", ["lee", "refined_lee", "lee_sigma"])
def test_filters_on_real_digital_numbers(name: speckle.FilterName) -> None:
    """The mean stays within 1 %; looks rise. Averaging left about 100 looks here, so the same once more under made-up
    grain of 4.4 looks: the ground is real then, the grain is not."""
    for pol in DECIBEL:
        sigma0 = _sigma0(pol)
        before = speckle.estimate_looks(sigma0)
        plain = speckle.speckle_filter(sigma0, name, looks=before)
        grain = np.random.default_rng(4).gamma(4.4, 1 / 4.4, sigma0.shape)
        noisy = (sigma0 * grain).astype(np.float32)
        out = speckle.speckle_filter(noisy, name, looks=4.4)
        inside = np.isfinite(out) & np.isfinite(plain)
        assert (np.isnan(plain) == np.isnan(out)).all()
        means = [
            float(a[inside].mean(dtype=float) / b[inside].mean(dtype=float)) for a, b in ((plain, sigma0), (out, noisy))
        ]
        looks = [speckle.estimate_looks(image) for image in (plain, noisy, out)]
        left = [float(np.median(np.abs(10 * np.log10(image[inside] / sigma0[inside])))) for image in (noisy, out)]
        print(
            f"{name} {pol}: ENL {before:.0f} -> {looks[0]:.0f}, mean x {means[0]:.4f}; with grain of 4.4 looks {looks[1]:.1f} -> "
            f"{looks[2]:.0f}, mean x {means[1]:.4f} (limits 1 and 3 %), median error {left[0]:.2f} -> {left[1]:.2f} dB"
        )
        assert means[0] == pytest.approx(1, abs=0.01)
        assert means[1] == pytest.approx(
            1, abs=0.03
        )  # rough ground under heavy grain loses up to 2 %: see docs/verified.md
        assert looks[0] > before
        assert looks[2] > 5 * looks[1]
        assert left[1] < 0.5 * left[0]


def test_picture_of_real_digital_numbers(tmp_path: Path) -> None:
    """The quick-look of the stage on a real image: dark and bright ends are there, and no colour fills it."""
    path = tmp_path / "real_dn.png"
    write_png(path, radar(_sigma0("VV"), _sigma0("VH")), max_px=1280)
    seen = raster.read(path)
    print(f"{path}: {seen.shape}, channel means {seen.mean(axis=(1, 2)).round(0)}")
    assert seen.shape[1:] == (837, 1280)
    assert seen.std(axis=(1, 2)).min() > 15
