"""Product names and orbit arithmetic against recorded products."""

from __future__ import annotations

import datetime as dt

import pytest

from utils.science.product import (
    NameError_,
    Product,
    bare_name,
    parse_name,
    parse_time,
    relative_orbit_s1,
    relative_orbit_s2,
    with_relative_orbit,
)


@pytest.mark.parametrize(
    ("platform", "absolute", "relative"),
    [
        ("S1A", 4739, 117),  # manifest of 2015-02-22
        ("S1A", 39156, 59),  # manifest of 2021-08-09
        ("S1A", 30643, 121),  # recorded item made of two slices
        ("S1B", 30148, 22),  # manifest of 2021-12-23
        ("S1B", 12240, 139),  # manifest of 2018-08-13
        ("S1B", 29520, 94),  # recorded pathNumber
        ("S1C", 1681, 110),
        ("S1C", 8018, 147),
        ("S1C", 8019, 46),
        ("S1D", 2389, 73),
        ("S1A", 2673, 151),  # the catalogue says 153 here: see the warning below
    ],
)
def test_s1_relative_orbit(platform: str, absolute: int, relative: int) -> None:
    assert relative_orbit_s1(platform, absolute) == relative


def test_unknown_platform_is_no_guess() -> None:
    assert relative_orbit_s1("S1E", 100) is None
    assert relative_orbit_s2("S2C", 100) is None


@pytest.mark.parametrize(
    ("platform", "absolute", "relative"), [("S2A", 19029, 13), ("S2B", 20270, 81), ("S2A", 26883, 2)]
)
def test_s2_relative_orbit(platform: str, absolute: int, relative: int) -> None:
    assert relative_orbit_s2(platform, absolute) == relative


def test_s1_name() -> None:
    p = parse_name("folder/S1B_IW_GRDH_1SDV_20211223T051122_20211223T051147_030148_039993_5371.SAFE.zip")
    assert (p.mission, p.platform, p.type, p.mode, p.pols) == ("S1", "S1B", "GRDH", "IW", ("VV", "VH"))
    assert (p.absolute_orbit, p.relative_orbit, p.datatake, p.cog) == (30148, 22, "039993", False)
    assert p.start == dt.datetime(2021, 12, 23, 5, 11, 22, tzinfo=dt.UTC)
    assert parse_name("S1A_EW_GRDM_1SDH_20221130T014342_20221130T014446_046117_058549_AAAA").pols == ("HH", "HV")
    assert parse_name("S1A_IW_SLC__1SDV_20221130T014342_20221130T014446_046117_058549_AAAA").type == "SLC"
    assert parse_name("S1A_IW_GRDH_1SDV_20221130T014342_20221130T014446_046117_058549_AAAA_COG.SAFE").cog


def test_s2_name() -> None:
    p = parse_name("S2A_MSIL2A_20190212T192651_N0212_R013_T07HFE_20201007T160857.SAFE")
    assert (p.platform, p.type, p.baseline, p.relative_orbit, p.tile) == ("S2A", "L2A", "0212", 13, "07HFE")
    assert p.generated == "20201007T160857"


@pytest.mark.parametrize("text", ["", "readme.txt", "S1A_IW_GRDH", "S2A_MSIL2A_20190212T192651_N0212_R013_T07HFE"])
def test_other_names_are_refused(text: str) -> None:
    with pytest.raises(NameError_):
        parse_name(text)


def test_recorded_orbit_wins_and_warns() -> None:
    p = parse_name("S1A_IW_GRDH_1SDV_20141003T100000_20141003T100025_002673_002FA1_0000")
    assert p.relative_orbit == 151
    recorded = with_relative_orbit(p, 153)
    assert recorded.relative_orbit == 153
    assert recorded.warnings[0].startswith("W_ORBIT")
    assert with_relative_orbit(p, 0) is p  # catalogues send 0 for missing


def test_times_with_three_six_or_no_decimals() -> None:
    assert parse_time("2020-01-04T00:02:41.5Z").microsecond == 500000
    assert parse_time("2015-02-22T17:07:25.054739").microsecond == 54739
    assert parse_time("20200104T000241") == parse_time("2020-01-04T00:02:41Z")
    with pytest.raises(ValueError, match="not a UTC time"):
        parse_time("2020-01-04 00:02")


def test_json_round_trip() -> None:
    p = parse_name("S2A_MSIL2A_20190212T192651_N0212_R013_T07HFE_20201007T160857")
    assert Product.from_json({**p.to_json(), "unknown": 1}) == p
    assert bare_name("a/b/X.SAFE/") == "X"
