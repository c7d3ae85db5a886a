"""BEAM-DIMAP: grid, values, nodata, proof of the orbit; every damaged product is refused with its reason."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.fakes.gpt_dimap import write_dimap
from utils.io import dimap
from utils.io.snap_done import done_by
from utils.science.grid import Grid
from utils.workflow.errors import InputError

GRID = Grid(32755, 700000.0, 6100000.0, 10.0, -10.0, 4, 5)
VALUES = np.arange(20, dtype=np.float32).reshape(4, 5)
ORBIT = "S1A_OPER_AUX_POEORB_OPOD_20210316T161714_V20191105T225942_20191107T005942.EOF"
FIRST, LAST = np.datetime64("2019-11-06T19:16:28", "ns"), np.datetime64("2019-11-06T19:16:53", "ns")


def make(folder: Path, **attributes: str) -> Path:
    path = folder / "X.dim"
    mask = np.array([[0, 1, 2, 3, 0]] * 4, np.uint8)
    bands = {"Gamma0_VV": VALUES, "layover_shadow_mask": mask, "B2": VALUES.astype(np.uint16)}
    write_dimap(path, GRID, bands, attributes, nodata=0.0, scaling={"B2": (0.0001, -0.1)})
    return path


def test_grid_values_and_nodata(tmp_path: Path) -> None:
    opened = dimap.open_dimap(make(tmp_path, PASS="DESCENDING"))
    assert (opened.grid, sorted(opened.bands)) == (GRID, ["B2", "Gamma0_VV", "layover_shadow_mask"])
    assert opened.attributes == {"PASS": "DESCENDING"}
    target = Grid(32755, 699990.0, 6099990.0, 10.0, -10.0, 2, 4)  # one column to the left, one row down
    found = dimap.read_on_grid(opened, "Gamma0_VV", target)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, [[np.nan, 5, 6, 7], [np.nan, 10, 11, 12]])
    whole = dimap.read_on_grid(opened, "Gamma0_VV", GRID)
    assert np.isnan(whole[0, 0]) and np.nansum(whole) == 190, "the stored 0 is nodata"
    optical = dimap.read_on_grid(opened, "B2", GRID)
    np.testing.assert_allclose(
        optical[1], [0.0005 - 0.1, 0.0006 - 0.1, 0.0007 - 0.1, 0.0008 - 0.1, 0.0009 - 0.1], atol=1e-8
    )
    stored, inside = dimap.read_stored(opened, "layoverShadowMask", target)
    np.testing.assert_array_equal(stored, [[0, 0, 1, 2], [0, 0, 1, 2]])
    np.testing.assert_array_equal(inside[0], [False, True, True, True])


def test_outside_is_nan_and_other_grids_are_refused(tmp_path: Path) -> None:
    opened = dimap.open_dimap(make(tmp_path))
    far = Grid(32755, 800000.0, 6100000.0, 10.0, -10.0, 2, 2)
    assert np.isnan(dimap.read_on_grid(opened, "Gamma0_VV", far)).all()
    for other in (
        Grid(32755, 700004.241204, 6100000.0, 10.0, -10.0, 2, 2),
        Grid(32755, 700000.0, 6100000.0, 20.0, -20.0, 2, 2),
        Grid(32756, 700000.0, 6100000.0, 10.0, -10.0, 2, 2),
    ):
        with pytest.raises(InputError, match="does not align with the target grid"):
            dimap.read_on_grid(opened, "Gamma0_VV", other)


def damaged(path: Path, old: str, new: str) -> Path:
    text = path.read_text(encoding="latin-1")
    assert old in text
    path.write_text(text.replace(old, new), encoding="latin-1")
    return path


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("</Dimap_Document>", "", "X.dim"),
        ("Dimap_Document", "Other", "its root is <Other>"),
        ('href="X.data/B2.hdr"', 'href="Y.data/B2.hdr"', "B2.hdr cannot be read"),
        ('href="X.data/B2.hdr"', 'href="../X.data/B2.hdr"', "is not inside its own folder"),
        ('href="X.data/B2.hdr"', 'href="/etc/passwd"', "is not inside its own folder"),
        ("10.0,0.0,0.0,-10.0", "10.0,1.0,0.0,-10.0", "it is not north up"),
        ("IMAGE_TO_MODEL_TRANSFORM", "TIE_POINTS", "it has no map projection"),
        ("Spectral_Band_Info", "Band_Info", "it holds no band"),
    ],
)
def test_damaged_header(tmp_path: Path, old: str, new: str, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        dimap.open_dimap(damaged(make(tmp_path), old, new))


def test_damaged_images(tmp_path: Path) -> None:
    path = make(tmp_path)
    image = tmp_path / "X.data/Gamma0_VV.img"
    data = image.read_bytes()
    image.write_bytes(data[:-4])
    with pytest.raises(InputError, match=r"Gamma0_VV.img has 76 bytes, 4 x 5 pixels need 80"):
        dimap.open_dimap(path)
    image.unlink()
    with pytest.raises(InputError, match=r"Gamma0_VV.img is missing"):
        dimap.open_dimap(path)
    image.write_bytes(data)
    header = tmp_path / "X.data/Gamma0_VV.hdr"
    header.write_text(header.read_text().replace("data type = 4", "data type = 99"))
    with pytest.raises(InputError, match="header of band Gamma0_VV is malformed"):
        dimap.open_dimap(path)
    with pytest.raises(InputError, match="no such file"):
        dimap.open_dimap(tmp_path / "Y.dim")


def test_folder_may_be_renamed_as_a_whole_only(tmp_path: Path) -> None:
    inner = tmp_path / "a"
    inner.mkdir()
    make(inner)
    inner.rename(tmp_path / "b")
    assert dimap.open_dimap(tmp_path / "b/X.dim").grid == GRID
    (tmp_path / "b/X.dim").rename(tmp_path / "b/Z.dim")
    (tmp_path / "b/X.data").rename(tmp_path / "b/Z.data")
    with pytest.raises(InputError, match="cannot be read"):
        dimap.open_dimap(tmp_path / "b/Z.dim")


def test_bands_and_their_sizes(tmp_path: Path) -> None:
    path = tmp_path / "X.dim"
    write_dimap(path, GRID, {"B2": VALUES, "B12": VALUES[:2, :2]}, {})
    opened = dimap.open_dimap(path)
    dimap.check_bands(opened, ["B2"])
    with pytest.raises(InputError, match="band B12 has 2 x 2 pixels, the product 4 x 5"):
        dimap.check_bands(opened, ["B2", "B12"])
    with pytest.raises(InputError, match="no band B8; it has B12, B2"):
        dimap.check_bands(opened, ["B8"])


@pytest.mark.parametrize(
    ("text", "allowed", "mission", "fault"),
    [
        (f"Sentinel Precise {ORBIT}.zip", ("POEORB",), "S1A", ""),
        (f"Sentinel Precise {ORBIT}", ("POEORB",), "S1A", ""),
        # the type in front of the name is the one asked for: only the name proves
        (f"Sentinel Precise {ORBIT.replace('POEORB', 'RESORB')}.zip", ("POEORB",), "S1A", "is RESORB, allowed is POEORB"),
        (f"Sentinel Precise {ORBIT.replace('POEORB', 'RESORB')}.zip", ("POEORB", "RESORB"), "S1A", ""),
        (f"Sentinel Precise {ORBIT}.zip", ("POEORB",), "S1B", "is an orbit of S1A, the product is S1B"),
        ("Sentinel Precise " + ORBIT.replace("V20191105T225942_20191107", "V20191103T225942_20191105"), ("POEORB",), "S1A", "does not cover"),
        ("", ("POEORB",), "S1A", "no orbit file was applied"),
        ("Downlink", ("POEORB",), "S1A", "no orbit file was applied (orbit_state_vector_file is 'Downlink')"),
        ("Downlink", (), "S1A", ""),
        (f"Sentinel Precise {ORBIT}.zip", (), "S1A", "the annotation orbit was wanted"),
    ],
)  # fmt: skip
def test_proof_of_the_orbit(tmp_path: Path, text: str, allowed: tuple[str, ...], mission: str, fault: str) -> None:
    opened = dimap.open_dimap(make(tmp_path, orbit_state_vector_file=text))
    found = dimap.orbit_fault(dimap.orbit_used(opened), allowed, mission, FIRST, LAST)
    assert (found == "") if not fault else (fault in found), found


def test_what_a_run_did_is_read_from_its_graph(tmp_path: Path) -> None:
    path = make(tmp_path)
    assert not done_by(path).known
    graph = Path(__file__).parents[2] / "snap-confs/s1_grd.xml"
    (tmp_path / "graph.xml").write_text(graph.read_text())
    lines = ["snap 13", "graph 00", "dem=/data/heights.tif", "speckle=Lee Sigma", "crs=EPSG:32755"]
    (tmp_path / "settings.txt").write_text("\n".join(lines))
    done = done_by(path)
    assert (done.known, done.version, done.noise, done.border, done.egm) == (True, "13", True, True, True)
    assert (done.speckle, done.resampling, done.dem) == ("lee_sigma 7x7 looks 4", "bilinear", "heights.tif")
    other = (Path(__file__).parents[2] / "snap-confs/s1_grd_ellipsoid.xml").read_text()
    (tmp_path / "graph.xml").write_text(other.replace("BILINEAR_INTERPOLATION", "NEAREST_NEIGHBOUR"))
    (tmp_path / "settings.txt").write_text("snap 12\nspeckle=None\n")
    done = done_by(path)
    assert (done.egm, done.speckle, done.resampling) == (False, "none", "nearest")
