"""Precise orbit files: choice by mission and validity, content, honest refusals."""

from pathlib import Path

import numpy as np
import pytest

from utils.io.orbit_file import find_precise, read_orbit_file
from utils.workflow.errors import InputError

FIRST, LAST = np.datetime64("2020-01-04T19:08:00", "ns"), np.datetime64("2020-01-04T19:08:25", "ns")


def _write(
    folder: Path,
    mission: str = "S1A",
    created: str = "20200125T120000",
    day: str = "20200103T225942_20200105T005942",
    frame: str = "EARTH_FIXED",
) -> Path:
    path = folder / f"{mission}_OPER_AUX_POEORB_OPOD_{created}_V{day}.EOF"
    vectors = []
    for second in range(-120, 200, 10):
        time = FIRST + np.timedelta64(second, "s")
        vectors.append(
            f"<OSV><TAI>TAI={time}</TAI><UTC>UTC={str(time)[:26]}</UTC><X unit='m'>{7e6 + second}</X><Y unit='m'>-1.5</Y><Z unit='m'>3.0</Z>"
            f"<VX unit='m/s'>1.0</VX><VY unit='m/s'>0.0</VY><VZ unit='m/s'>7.5</VZ></OSV>"
        )
    path.write_text(
        f"<Earth_Explorer_File><Earth_Explorer_Header><Fixed_Header><Mission>Sentinel-{mission[1:]}</Mission></Fixed_Header>"
        f"<Variable_Header><Ref_Frame>{frame}</Ref_Frame></Variable_Header></Earth_Explorer_Header>"
        f"<Data_Block type='xml'><List_of_OSVs count='{len(vectors)}'>{''.join(vectors)}</List_of_OSVs></Data_Block></Earth_Explorer_File>"
    )
    return path


def test_newest_covering_file_of_the_mission(tmp_path: Path) -> None:
    _write(tmp_path, created="20200124T120000")
    newest = _write(tmp_path, created="20200126T120000")
    _write(tmp_path, mission="S1B", created="20200130T120000")
    _write(tmp_path, day="20200104T225942_20200106T005942", created="20200131T120000")
    assert find_precise(tmp_path.glob("*"), "S1A", FIRST, LAST) == newest


def test_precise_before_restituted_and_only_named_files(tmp_path: Path) -> None:
    precise = _write(tmp_path)
    restituted = tmp_path / precise.name.replace("POEORB", "RESORB").replace("20200125", "20210101")
    restituted.write_bytes(precise.read_bytes())
    assert find_precise([restituted, precise], "S1A", FIRST, LAST) == precise
    assert find_precise([restituted], "S1A", FIRST, LAST) == restituted
    precise.unlink()
    with pytest.raises(InputError, match="no POEORB orbit file of S1A"):
        find_precise([precise], "S1A", FIRST, LAST)  # named, but gone


def test_nothing_fits(tmp_path: Path) -> None:
    path = _write(tmp_path, mission="S1B")
    for files in ([path], []):
        with pytest.raises(InputError, match="no POEORB orbit file of S1A") as caught:
            find_precise(files, "S1A", FIRST, LAST)
        assert "fetch_orbits" in caught.value.remedy and "preprocess.orbit: annotation" in caught.value.remedy


def test_state_vectors_of_the_scene_and_60_s_around(tmp_path: Path) -> None:
    states = read_orbit_file(_write(tmp_path), "S1A", FIRST, LAST)
    assert len(states.times) == 15  # -60 .. 80 s
    assert states.times[0] == FIRST - np.timedelta64(60, "s")
    assert states.position_m[0].tolist() == [7e6 - 60, -1.5, 3.0]
    assert states.velocity_m_s[-1].tolist() == [1.0, 0.0, 7.5]


def test_refusals(tmp_path: Path) -> None:
    path = _write(tmp_path)
    with pytest.raises(InputError, match="orbit of S1A, the product is S1B"):
        read_orbit_file(path, "S1B", FIRST, LAST)
    with pytest.raises(InputError, match="does not cover"):
        read_orbit_file(path, "S1A", FIRST + np.timedelta64(1, "D"), LAST + np.timedelta64(1, "D"))
    with pytest.raises(InputError, match="not EARTH_FIXED"):
        read_orbit_file(_write(tmp_path, frame="MEAN_DATE"), "S1A", FIRST, LAST)
    path.write_text("<Earth_Explorer_File>")
    with pytest.raises(InputError, match="not well-formed"):
        read_orbit_file(path, "S1A", FIRST, LAST)
