"""A static STAC catalogue: the walk downwards, what it refuses, a product found through it, the recorded catalogue."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.catalogue_hub import stac_item
from tests.fakes.sky import recorded, s1, s2
from utils.io import local, static_stac
from utils.science.product import Product, parse_time
from utils.workflow.errors import InputError


def write(path: Path, links: list[tuple[str, str]] | None = None, item: dict[str, Any] | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    node: dict[str, Any] = item or {"type": "Catalog", "id": path.stem, "stac_version": "1.0.0", "description": "own"}
    node["links"] = [{"rel": rel, "href": href} for rel, href in links or []]
    path.write_text(json.dumps(node))
    return path


def test_the_walk_goes_downwards_only_and_ends_in_circles(tmp_path: Path) -> None:
    radar, optical = s1("20200105T191500", 30700), s2("20200110T000241")
    top = write(
        tmp_path / "c" / "catalog.json",
        [("root", "./catalog.json"), ("child", "./a/a.json"), ("parent", "../outside.json")],
    )
    write(
        tmp_path / "c" / "a" / "a.json",
        [("child", "../catalog.json"), ("child", "./a.json"), ("item", "./r/r.json"), ("item", "o.json")],
    )
    wrong = [
        ("parent", "http://127.0.0.1:5000/x.json"),
        ("root", "../../../../none.json"),
        ("collection", "/collections/x"),
    ]
    write(tmp_path / "c" / "a" / "r" / "r.json", wrong, stac_item(radar))
    write(tmp_path / "c" / "a" / "o.json", wrong, stac_item(optical))
    write(tmp_path / "outside.json", [("item", "never.json")])
    found, unreadable = static_stac.search(top)
    assert [(p.name, p.online, p.path, p.provider) for p in found] == [
        (radar.name, False, "", "local"),
        (optical.name, False, "", "local"),
    ]
    assert not unreadable


def test_data_below_the_catalogue_are_found(tmp_path: Path) -> None:
    radar, optical = s1("20200105T191500", 30700), s2("20200110T000241")
    top = write(tmp_path / "catalog.json", [("item", "items/r.json"), ("item", "items/o.json")])
    data = tmp_path / "data" / f"{radar.name}.zip"
    safe = tmp_path / "data" / f"{optical.name}.SAFE"
    safe.mkdir(parents=True)
    data.write_bytes(b"PK archive")
    (safe / "MTD_MSIL2A.xml").write_text("<x/>")
    assets = {"thumbnail": {"href": "https://elsewhere.example/t.jpg"}, "data": {"href": f"../data/{data.name}"}}
    write(tmp_path / "items" / "r.json", item=stac_item(radar) | {"assets": assets})
    write(
        tmp_path / "items" / "o.json",
        item=stac_item(optical) | {"assets": {"m": {"href": f"../data/{safe.name}/MTD_MSIL2A.xml"}}},
    )
    catalogue = local.search(top)
    one, two = catalogue.products
    assert (one.path, one.href, one.size, one.online) == (str(data), f"data/{data.name}", 10, True)
    assert (two.path, two.href, two.size, two.online) == (str(safe), f"data/{safe.name}", None, True)
    assert (one.direction, one.slice, one.footprint) == ("DESCENDING", 3, radar.footprint)


@pytest.mark.parametrize(
    "href", ["http://127.0.0.1:5000/a.json", "https://hub.example/a.json", "file:///etc/a.json", "//host/a.json"]
)
@pytest.mark.parametrize("rel", ["child", "item"])
def test_links_to_servers_are_refused(tmp_path: Path, rel: str, href: str) -> None:
    top = write(tmp_path / "catalog.json", [(rel, href)])
    with pytest.raises(InputError, match=rf"its {rel} link .* names a server\. Download that part"):
        static_stac.search(top)


@pytest.mark.parametrize("href", ["../secret.json", "/etc/secret.json", "a/../../secret.json", "%2e%2e/secret.json"])
def test_links_out_of_the_folder_are_refused(tmp_path: Path, href: str) -> None:
    write(tmp_path / "secret.json")
    top = write(tmp_path / "c" / "catalog.json", [("item", href)])
    with pytest.raises(InputError, match="leaves"):
        static_stac.search(top)


def test_data_elsewhere_are_not_taken(tmp_path: Path) -> None:
    radar = s1("20200105T191500", 30700)
    (tmp_path / f"{radar.name}.zip").write_bytes(b"PK outside")
    top = write(tmp_path / "c" / "catalog.json", [("item", "r.json")])
    for href in (f"http://127.0.0.1:5000/{radar.name}.zip", f"../{radar.name}.zip", f"{radar.name}.zip"):
        write(tmp_path / "c" / "r.json", item=stac_item(radar) | {"assets": {"data": {"href": href}}})
        ((product,), _) = static_stac.search(top)
        assert (product.path, product.online) == ("", False)


def test_broken_items_are_told_and_a_broken_catalogue_ends_the_search(tmp_path: Path) -> None:
    top = write(
        tmp_path / "catalog.json",
        [("item", "none.json"), ("item", "torn.json"), ("item", "list.json"), ("item", "other.json")],
    )
    (tmp_path / "torn.json").write_text("{")
    (tmp_path / "list.json").write_text("[]")
    write(tmp_path / "other.json", item={"type": "Feature", "id": "LC08", "properties": {}})
    found, unreadable = static_stac.search(top)
    assert found == () and sorted(unreadable) == ["list.json", "none.json", "other.json", "torn.json"]
    assert "no such file" in unreadable["none.json"] and "not readable as JSON" in unreadable["torn.json"]
    top.write_text("{")
    with pytest.raises(InputError, match=r"not readable as JSON.*Complete the static catalogue"):
        static_stac.search(top)


def test_recorded_catalogue(tmp_path: Path) -> None:
    source = recorded("static_stac/catalog.json").parent
    shutil.copytree(source, tmp_path / "copy")
    found, unreadable = static_stac.search(tmp_path / "copy" / "catalog.json")
    assert [p.name for p in found] == [
        "S2A_MSIL1C_20181231T141041_N0207_R110_T21NYF_20181231T155050",
        "S2A_MSIL1C_20181231T141041_N0207_R110_T22NBJ_20181231T155050",
        "S2A_MSIL1C_20191231T112451_N0208_R037_T30UUD_20191231T115143",
        "S2A_MSIL1C_20191231T112451_N0208_R037_T30VVH_20191231T115143",
        "S2B_MSIL1C_20171231T141039_N0206_R110_T21NYC_20171231T201802",
    ]
    assert not unreadable and not any(p.online for p in found)  # their data are http addresses
    start = parse_time("20181231T141041")
    assert found[1] == Product(
        found[1].name, "S2", "S2A", "L1C", "MSI", start, start, absolute_orbit=18411, relative_orbit=110,
        direction="DESCENDING", baseline="0207", tile="22NBJ", generated="20181231T155050", cloud_tile=29.4319,
        provider="local", remote_id=found[1].name, online=False,
        footprint=((-53.473816, 3.615576), (-53.70053, 3.615023), (-53.697998, 2.622767), (-53.693604, 2.622775),
                   (-53.66156, 2.766906), (-53.6286, 2.915495), (-53.595673, 3.064035), (-53.562775, 3.212455),
                   (-53.53, 3.360919), (-53.497253, 3.509449)),
    )  # fmt: skip
