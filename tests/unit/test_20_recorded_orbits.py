"""The relative orbit of every recorded product against the formula: all equal but one pass of 2014, which warns."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

from tests.fakes.sky import recorded
from utils.io import cdse, sara, static_stac
from utils.science.product import Product, parse_name, relative_orbit_s1, relative_orbit_s2, with_relative_orbit

Recorded = tuple[str, int, int]  # platform, absolute orbit, recorded relative orbit


def told(root: Path) -> Iterator[Recorded]:
    """Every recorded pair of orbits, read without the providers."""
    for name in ("cdse/odata_s1_grd_slices.json", "cdse/odata_s2_l1c.json"):
        for item in json.loads((root / name).read_text())["value"]:
            values = {a["Name"]: a["Value"] for a in item["Attributes"]}
            yield item["Name"][:3], values["orbitNumber"], values["relativeOrbitNumber"]
    for feature in json.loads((root / "sara/search_s2_l1c.json").read_text())["features"]:
        p = feature["properties"]
        yield p["platform"], p["orbitNumber"], p["relativeOrbitNumber"]
    for path in sorted(root.rglob("*.json")):
        item = json.loads(path.read_text())
        p = item.get("properties", {}) if item.get("type") == "Feature" else {}
        number = re.search(r"_(\d{6})_N", str(p.get("s2:datatake_id")))
        absolute = (
            p.get("sat:absolute_orbit") or p.get("oseo:orbitNumber") or (int(number.group(1)) if number else None)
        )
        if absolute and p.get("sat:relative_orbit"):
            yield f"S{p['platform'][-2:].upper()}", absolute, p["sat:relative_orbit"]
        if "relativeOrbitNumber_start" in item:
            yield item["system:index"][:3], item["orbitNumber_start"], item["relativeOrbitNumber_start"]
        if "SENSING_ORBIT_NUMBER" in item:
            yield (
                f"S{item['SPACECRAFT_NAME'][-2:]}",
                int(item["DATATAKE_IDENTIFIER"].split("_")[2]),
                item["SENSING_ORBIT_NUMBER"],
            )
    for path in sorted(root.glob("asf/*.yml")):
        text = path.read_text()
        for orbit, track, platform in re.findall(
            r'"orbit": (\d+),\s+"pathNumber": (\d+),\s+"platform": "Sentinel-(\w+)"', text
        ):
            yield f"S{platform}", int(orbit), int(track)


def test_formula_and_record_agree_but_for_one_pass_of_2014() -> None:
    found = set(told(recorded("MANIFEST.md").parent))
    different = set()
    for platform, absolute, relative in found:
        formula = relative_orbit_s1 if platform[1] == "1" else relative_orbit_s2
        if formula(platform, absolute) != relative:
            different.add((platform, absolute, relative, formula(platform, absolute)))
    assert different == {("S1A", 2673, 153, 151)}
    count = {
        kind: len({orbit for platform, orbit, _ in found if platform.startswith(kind)}) for kind in ("S1A", "S1B", "S2")
    }
    assert count["S1A"] >= 6 and count["S1B"] >= 2 and count["S2"] >= 9, count


def products(root: Path) -> Iterator[Product]:
    for name in ("cdse/odata_s1_grd_slices.json", "cdse/odata_s2_l1c.json"):
        yield from filter(None, (cdse.product_of(item) for item in json.loads((root / name).read_text())["value"]))
    features = json.loads((root / "sara/search_s2_l1c.json").read_text())["features"]
    yield from filter(None, (sara.product_of(feature) for feature in features))
    yield from static_stac.search(root / "static_stac" / "catalog.json")[0]
    for path in sorted(root.glob("gee/s1_*.json")):
        item = json.loads(path.read_text())
        yield with_relative_orbit(parse_name(item["system:index"]), item["relativeOrbitNumber_start"])


def test_the_record_wins_and_only_that_pass_warns() -> None:
    found = list(products(recorded("MANIFEST.md").parent))
    warned = [p for p in found if any(w.startswith("W_ORBIT") for w in p.warnings)]
    assert {(p.platform, p.absolute_orbit, p.relative_orbit) for p in warned} == {("S1A", 2673, 153)}
    assert len(warned) == 10 and len(found) == 21
