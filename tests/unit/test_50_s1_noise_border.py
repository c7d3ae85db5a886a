"""Thermal noise (4.3) and border noise (4.4) through the stage: what each processor generation gets done to it."""

from __future__ import annotations

import re
import zipfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.s1_products import edited
from tests.s1_slices import whole_image
from tests.s1_stage import convert
from utils.io import raster
from utils.io.synth_products import SceneProducts
from utils.io.synth_s1 import GrdImage, write_grd
from utils.science import synth_sar
from utils.science.grid import Grid, Window
from utils.workflow.layout import Layout
from utils.workflow.schema import Scene, Speckle

QUIET = Speckle(filter="none")
EDGE_PX, LAKE = 12, np.s_[220:232, 60:74]


@dataclass(frozen=True)
class Case:
    """A small scene, its image and the grid of an area that reaches beyond the near (eastern) edge of the image."""

    work: Path
    image: GrdImage
    grid: Grid
    inner: Grid


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Case:
    work = tmp_path_factory.mktemp("noise")
    products = SceneProducts(Scene(size_px=128, speckle=False, thermal_noise=True))
    products.write_ground(work / "scene", {})
    image = whole_image(products)
    return Case(work, image, products.grid.window(Window(-40, 90, 200, 330)), products.grid)


def _write(case: Case, folder: Path, ipf: str, *change: tuple[Any, int]) -> Path:
    """The product of one processor version with digital numbers replaced in some places, in both polarisations."""
    dn = {pol: values.copy() for pol, values in case.image.dn.items()}
    for place, value in change:
        for values in dn.values():
            values[place] = value
    return write_grd(folder, replace(case.image, identity=replace(case.image.identity, ipf=ipf), dn=dn))


def _old_noise(name: str, data: bytes) -> bytes:
    """The noise file as IPF < 2.90 wrote it: noiseVector with noiseLut, no azimuth part."""
    if "/noise-" not in name:
        return data
    data = re.sub(rb"<noiseAzimuthVectorList.*</noiseAzimuthVectorList>", b"", data, flags=re.DOTALL)
    return data.replace(b"noiseRange", b"noise")


# -- border noise ----------------------------------------------------------------------------------------------------


NEAR = np.s_[:, :EDGE_PX]


def _bits(mask: np.ndarray, bit: int) -> np.ndarray:
    return (mask & bit) > 0


@pytest.mark.parametrize("ipf", ["002.60", "002.84"])
def test_border_noise_of_old_products(case: Case, tmp_path: Path, ipf: str) -> None:
    """Dark pixels joined to the edge get bit 16 in both polarisations, a dark lake does not, and neither is bit 4."""
    plain, _, _, _ = convert(case.work, _write(case, tmp_path, ipf), case.grid, speckle=QUIET)
    path = _write(case, tmp_path / "dirty", ipf, (NEAR, 20), (LAKE, 20))
    gamma0, mask, facts, _ = convert(case.work, path, case.grid, speckle=QUIET)
    border, outside = _bits(mask, 16), np.isnan(plain).any(axis=0)
    assert facts["tags"]["BORDER_NOISE"] == "masked"
    assert 0.5 * EDGE_PX < border.sum() / border.any(axis=1).sum() < 2 * EDGE_PX  # a strip about as wide as it was made
    assert (np.isnan(gamma0[0]) == np.isnan(gamma0[1])).all()
    assert np.isnan(gamma0[:, border]).all()
    # one pixel beyond the strip the bilinear window may still touch it
    assert (np.isnan(gamma0[0]) & ~border & ~outside).sum() < 2.5 * border.any(axis=1).sum()
    changed = np.isfinite(gamma0[0]) & (np.abs(gamma0[0] / plain[0] - 1) > 1e-3)
    assert changed.sum() > 60  # the lake is there, and measured
    assert not border[changed].any()
    assert not _bits(mask, 4)[changed].any()
    off, mask, facts, _ = convert(case.work, path, case.grid, speckle=QUIET, border_noise=False)
    assert facts["tags"]["BORDER_NOISE"] == "off"
    assert not _bits(mask, 16).any()
    assert np.isfinite(off[0][border & ~outside]).all()


@pytest.mark.parametrize("ipf", ["002.90", "003.40"])
def test_new_products_have_zeros_there(case: Case, tmp_path: Path, ipf: str) -> None:
    """DN 0 alone is no sample (bit 4); dark pixels are measurements, and bit 16 never appears."""
    dark, mask, facts, _ = convert(
        case.work, _write(case, tmp_path / "dark", ipf, (NEAR, 20)), case.grid, speckle=QUIET
    )
    assert facts["tags"]["BORDER_NOISE"] == "dn0"
    assert not _bits(mask, 16).any()
    _, zero, _, _ = convert(
        case.work, _write(case, tmp_path / "zero", ipf, (NEAR, 0), (LAKE, 0)), case.grid, speckle=QUIET
    )
    assert not _bits(zero, 16).any()
    more = _bits(zero, 4) & ~_bits(mask, 4)
    assert more.sum() > 100 + EDGE_PX * 100  # the strip and the hole in the middle
    assert np.isfinite(dark[:, more]).all()


@pytest.mark.parametrize("order", [("VH", "VV"), ("VH",)])
def test_the_copolarised_channel_decides(case: Case, tmp_path: Path, order: tuple[str, ...]) -> None:
    """Cross-polarised ground is dark by nature: whatever is asked for, VV says where the border noise is."""
    dn = {pol: values.copy() for pol, values in case.image.dn.items()}
    dn["VV"][NEAR] = 20
    dn["VH"][:, : 3 * EDGE_PX] = 20  # ground that is dark in VH only
    path = write_grd(tmp_path, replace(case.image, identity=replace(case.image.identity, ipf="002.60"), dn=dn))
    _, expected, _, _ = convert(case.work, path, case.grid, speckle=QUIET)
    _, mask, _, _ = convert(case.work, path, case.grid, speckle=QUIET, polarisations=order)
    assert _bits(expected, 16).sum() > 100
    assert (_bits(mask, 16) == _bits(expected, 16)).all()


# -- thermal noise ---------------------------------------------------------------------------------------------------


def _states(
    case: Case, path: Path, **settings: object
) -> tuple[np.ndarray, dict[str, str], dict[str, float], list[str]]:
    gamma0, _, facts, warnings = convert(case.work, path, case.inner, speckle=QUIET, **settings)  # type: ignore[arg-type]
    return gamma0, facts["noise_removed"], facts["noise_missing_fraction"], warnings


def test_noise_of_every_generation(case: Case, tmp_path: Path) -> None:
    """IPF 2.50 and before: the tables' scale is not known, the noise stays in; later it is subtracted, once."""
    kept, state, _, warnings = _states(case, _write(case, tmp_path / "a", "002.36"))
    assert set(state.values()) == {"no_data"}
    assert len(warnings) == 1
    assert set(_states(case, _write(case, tmp_path / "b", "002.50"))[1].values()) == {"no_data"}
    removed, state, _, warnings = _states(case, _write(case, tmp_path / "c", "003.10"))
    assert set(state.values()) == {"yes"}
    assert warnings == []
    off, state, _, _ = _states(case, _write(case, tmp_path / "d", "003.10"), noise=False)
    assert set(state.values()) == {"off"}
    assert off.tobytes() == kept.tobytes()
    path = _write(case, tmp_path / "e", "003.10")
    assert b"<thermalNoiseCorrectionPerformed>false<" in _annotation(path)
    done = edited(
        path, tmp_path, lambda name, data: data.replace(b"CorrectionPerformed>false<", b"CorrectionPerformed>true<")
    )
    already, state, _, warnings = _states(case, done, verify="off")
    assert set(state.values()) == {"already"}
    assert already.tobytes() == off.tobytes()  # nothing is subtracted a second time
    assert warnings == []
    drop = np.nanmedian(off - removed, axis=(1, 2)) * 474.0**2
    print(
        f"noise taken off, median in DN^2 on flat ground: VV {drop[0]:.0f}, VH {drop[1]:.0f} (made as 720 and 790 and more)"
    )
    assert 500 < drop[0] < drop[1] < 2500


def _annotation(path: Path) -> bytes:
    with zipfile.ZipFile(path) as archive:
        return archive.read(next(name for name in archive.namelist() if "/annotation/s1" in name))


def test_old_tables_have_no_azimuth_part(case: Case, tmp_path: Path) -> None:
    """noiseVector of IPF < 2.90 is the range part alone: the same as a new file whose azimuth factors are 1."""
    path = _write(case, tmp_path / "new", "002.60")
    old, state, _, _ = _states(case, edited(path, tmp_path, _old_noise), verify="off")
    assert set(state.values()) == {"yes"}
    flat = {pol: replace(table, azimuth_lut=np.ones_like(table.azimuth_lut)) for pol, table in case.image.noise.items()}
    identity = replace(case.image.identity, ipf="002.60")
    new, _, _, _ = _states(case, write_grd(tmp_path / "flat", replace(case.image, identity=identity, noise=flat)))
    assert old.tobytes() == new.tobytes()
    scalloped, _, _, _ = _states(case, path)
    assert scalloped.tobytes() != new.tobytes()


def test_zeros_in_a_table_are_missing_noise_and_counted(case: Case, tmp_path: Path) -> None:
    """The near half of the table is zero: nothing is subtracted there, all is beyond, the share is written down."""
    middle = case.image.grid.samples // 2

    def half(table: synth_sar.NoiseTable) -> synth_sar.NoiseTable:
        return replace(table, range_lut=np.where(table.pixels < middle, 0.0, table.range_lut))

    noise = {pol: half(table) for pol, table in case.image.noise.items()}
    image = replace(case.image, noise=noise)
    found, state, missing, _ = _states(case, write_grd(tmp_path / "half", image))
    removed, _, none, _ = _states(case, _write(case, tmp_path / "whole", "003.10"))
    off, _, _, _ = _states(case, _write(case, tmp_path / "off", "003.10"), noise=False)
    assert set(state.values()) == {"yes"}
    assert none == {"VV": 0.0, "VH": 0.0}
    as_off, as_removed = (found == off).all(axis=0), (found == removed).all(axis=0)
    print(f"half of the table missing: {missing}, pixels kept {as_off.mean():.3f}, denoised {as_removed.mean():.3f}")
    assert 0.3 < missing["VV"] < 0.7
    assert as_off.mean() == pytest.approx(missing["VV"], abs=0.15)
    assert (as_off ^ as_removed).mean() > 0.97  # only the seam is neither


def test_power_below_the_noise_stays_negative(case: Case, tmp_path: Path) -> None:
    """Dark water after noise removal: negative in the files, through filter and resampling, and its share in the tags."""
    path = _write(case, tmp_path, "003.10", (np.s_[:], 20))
    gamma0, _, facts, _ = convert(case.work, path, case.inner, speckle=Speckle(filter="lee_sigma"))
    assert (gamma0 < 0).all()  # 400 DN^2 below 720 of noise
    assert not np.isnan(gamma0).any()
    assert facts["shares"]["VV"] == {"nodata": 0.0, "nonpositive": 1.0}
    folder = Layout(case.work).preprocessed("sentinel1", path.stem)
    assert float(raster.info(folder / "gamma0_vh.tif").tags["NONPOSITIVE_FRACTION"]) == 1.0
