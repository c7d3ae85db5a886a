"""Dates from names that a person typed."""

import datetime as dt

import pytest

from utils.science.fixed_names import dates_of, pairs_of


def name(day: str, tile: str = "55HGB", level: str = "L2A") -> str:
    return f"S2B_MSI{level}_{day}T000239_N0213_R030_T{tile}_{day}T014722"


A, B, C = name("20190927"), name("20191106"), name("20200204")


def test_two_and_three_names() -> None:
    assert [d.day for d in dates_of([B, C + ".SAFE"])] == [dt.date(2019, 11, 6), dt.date(2020, 2, 4)]
    assert dates_of([B, C + ".SAFE"])[1].names == (C,)
    pairs = pairs_of(dates_of([A, B, C]))
    assert [(a.day.month, b.day.month) for a, b in pairs] == [(9, 11), (11, 2)]


def test_tiles_of_one_datatake_are_one_date() -> None:
    first, second = dates_of([A, name("20190927", "55HGA"), B])
    assert first.names == (A, name("20190927", "55HGA")) and second.names == (B,)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([B, "S2B_MSIL2A_2020020T000239_N0213_R030_T55HGB_20200204T015232"], "'S2B_MSIL2A_2020020T000239_N0213_R030_T55HGB_20200204T015232' is no Sentinel-2"),
        ([B, "S1A_IW_GRDH_1SDV_20191106T191628_20191106T191629_029794_0364D1_B271"], "029794_0364D1_B271 is a Sentinel-1 product"),
        ([name("20191106", level="L1C"), C], "is of level L1C; level L2A is needed"),
        ([C, B], "S2B_MSIL2A_20191106.* is not after S2B_MSIL2A_20200204.*in order of time"),
        ([B], r"1 date\(s\) given"),
        ([A, B, C, name("20200301")], r"4 date\(s\) given"),
        ([B, B, C], "is given twice"),
        ([B, B.replace("T000239_N", "T000339_N")], "is not after"),
    ],
)  # fmt: skip
def test_wrong_names_are_named(names: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        dates_of(names)
