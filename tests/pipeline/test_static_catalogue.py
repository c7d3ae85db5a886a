"""A static STAC catalogue as archive, items and data in folders of their own: search, download, freshness, as processes."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.fakes.catalogue_hub import stac_item
from tests.pipeline.test_search_scene import Scene
from utils.io import local
from utils.workflow import config


@pytest.fixture(scope="module")
def catalogue(tmp_path_factory: pytest.TempPathFactory) -> tuple[Scene, Path, Path]:
    """(scene, configuration, top file): the generated products, moved below a catalogue."""
    made = Scene(tmp_path_factory.mktemp("static") / "work")
    made.run("make_scene")
    top = made.work.parent / "own" / "catalog.json"
    (top.parent / "items").mkdir(parents=True)
    (top.parent / "data").mkdir()
    links = []
    for product in local.search(made.work / "scene" / "archive").products:
        source = Path(product.path)
        os.link(source, top.parent / "data" / source.name)
        item = stac_item(product) | {"assets": {"data": {"href": f"../data/{source.name}"}}}
        (top.parent / "items" / f"{product.name}.json").write_text(json.dumps(item))
        links.append({"rel": "item", "href": f"./items/{product.name}.json"})
    top.write_text(json.dumps({"type": "Catalog", "id": "own", "stac_version": "1.0.0", "links": links}))
    conf = made.conf("static")
    conf.write_text(conf.read_text().replace('archive: "{scene}/archive"', f'archive: "{top}"'))
    return made, conf, top


def test_the_same_pair_and_the_same_bytes_as_from_a_folder(catalogue: tuple[Scene, Path, Path]) -> None:
    made, conf, top = catalogue
    made.run("find_images", conf=conf)
    document = json.loads((made.work / "search/pairs.json").read_text())
    assert len(document["pairs"]) == 1
    assert {record["href"] for record in document["products"].values()} == {
        f"data/{name}.zip" for name in document["products"]
    }
    made.run("download", conf=conf)
    for path in (made.work / "raw").rglob("S*.zip"):
        assert path.read_bytes() == (top.parent / "data" / path.name).read_bytes()
    assert len(list((made.work / "raw").rglob("S*.zip"))) == 4
    assert "up to date" in made.run("find_images", conf=conf).stderr


def test_a_changed_item_makes_the_search_stale(catalogue: tuple[Scene, Path, Path]) -> None:
    made, conf, top = catalogue
    made.run("find_images", conf=conf)
    chosen = json.loads((made.work / "search/pairs.json").read_text())["pairs"][0]["date2"]["s2"]["products"][0]
    item = top.parent / "items" / f"{chosen}.json"
    before = item.read_text()
    try:
        item.write_text(before.replace(f"../data/{chosen}", "http://127.0.0.1:1/gone"))
        assert "R_OFFLINE" in made.run("find_images", "--explain", conf=conf, code=72).stderr
    finally:
        item.write_text(before)
    assert config.load(conf).search.archive == str(top)
