"""Hand-written pages in the full shape of each service, parsed into exact records; they hold every trap at once."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.fakes.sky import s1
from utils.io import cdse, sara, stac
from utils.science.product import Product, parse_time

PAGES = Path(__file__).parents[1] / "data" / "catalogue"
RING = ((148.2, -35.9), (150.8, -35.5), (150.4, -34.0), (147.9, -34.4))
RADAR = Product(
    "S1A_IW_GRDH_1SDV_20200108T191500_20200108T191525_030700_038555_A1B2", "S1", "S1A", "GRDH", "IW",
    parse_time("2020-01-08T19:15:00.123456Z"), parse_time("2020-01-08T19:15:25.122456Z"), pols=("VV", "VH"),
    absolute_orbit=30700, relative_orbit=3, direction="DESCENDING", datatake="038555", slice=7, total_slices=12,
    timeliness="Fast-24h", generated="20200108T214012", footprint=RING,
)  # fmt: skip
TILE = Product(
    "S2B_MSIL2A_20200110T000239_N0213_R030_T55HFA_20200110T013000", "S2", "S2B", "L2A", "MSI",
    parse_time("20200110T000239"), parse_time("20200110T000239"), absolute_orbit=14877, relative_orbit=30,
    direction="DESCENDING", baseline="0213", tile="55HFA", generated="20200110T013000", cloud_tile=31.25,
)  # fmt: skip
MD5 = "00112233445566778899aabbccddeeff"


def page(name: str) -> Any:
    return json.loads((PAGES / name).read_text(encoding="utf-8"))


def test_cdse() -> None:
    first, copy, old, other = map(cdse.product_of, page("cdse_page.json")["value"])
    number = "11111111-aaaa-4bbb-8ccc-00000000000"
    assert first == replace(RADAR, size=1712345678, md5=MD5, blake3="ab" * 32, provider="cdse", remote_id=f"{number}1",
                            href=f"s3://eodata/Sentinel-1/SAR/GRD/2020/01/08/{RADAR.name}.SAFE")  # fmt: skip
    assert copy is not None and (copy.name[-9:], copy.cog, copy.md5, copy.relative_orbit) == ("_77F0_COG", True, "", 3)
    name = "S1B_IW_GRDH_1SDV_20200109T191430_20200109T191455_019725_0254AA_0C0D"
    assert old == Product(
        name, "S1", "S1B", "GRDH", "IW", parse_time("2020-01-09T19:14:30.5Z"), parse_time("2020-01-09T19:14:55.499Z"),
        pols=("VV", "VH"), absolute_orbit=19725, relative_orbit=(19725 - 27) % 175 + 1, direction="DESCENDING",
        datatake="0254AA", slice=0, footprint=RING, provider="cdse", remote_id=f"{number}3", online=False,
        href=f"s3://eodata/Sentinel-1/SAR/GRD/2020/01/09/{name}.SAFE",
    )  # fmt: skip
    assert other is None


def test_sara() -> None:
    radar, tile = map(sara.product_of, page("sara_page.json")["features"])
    address = "https://hub.example/resto/collections/{}/22222222-0000-5000-8000-00000000000{}/download"
    number = "22222222-0000-5000-8000-00000000000"
    assert radar == replace(
        RADAR, start=parse_time("2020-01-08T19:15:00.123Z"), stop=parse_time("2020-01-08T19:15:25.122Z"), slice=None,
        total_slices=None, timeliness="", generated="", size=1712345678, md5=MD5, provider="sara", remote_id=f"{number}1",
        href=address.format("S1ST", 1),
    )  # fmt: skip
    assert tile == replace(TILE, size=812345678, md5="ffeeddccbbaa99887766554433221100", provider="sara",
                           remote_id=f"{number}2", href=address.format("S2ST", 2))  # fmt: skip


def test_stac() -> None:
    radar, tile, folder, nameless = map(stac.product_of, page("stac_page.json")["features"])
    assert radar == replace(RADAR, provider="stac", remote_id=RADAR.name[:-5])
    assert tile == replace(
        TILE, provider="stac", remote_id="S2B_55HFA_20200110_0_L2A", footprint=RING, nodata_tile=12.5
    )
    # no property holds the name, the folder of the assets does; the id lacks the baseline
    assert folder == replace(TILE, absolute_orbit=None, cloud_tile=None, provider="stac", footprint=RING,
                             remote_id=TILE.name.replace("_N0213", ""))  # fmt: skip
    assert nameless is None  # although its id looks like a name


def test_assets_of_two_folders_name_no_product() -> None:
    item = page("stac_page.json")["features"][2]
    item["assets"]["other"] = {"href": f"https://store.example/{s1('20200108T191500', 30700).name}.SAFE/manifest.safe"}
    assert stac.product_of(item) is None
