"""Earth Engine search against a server on loopback: the real client, its expressions interpreted as they were sent."""

from __future__ import annotations

import datetime as dt
import json

import numpy as np
import pytest

from tests.fakes import ee_server, ee_world
from tests.fakes.ee_eval import Image, World
from utils.io import gee, gee_graph
from utils.science import cloud_score as cs
from utils.science.catalogue import Query
from utils.science.cloud import CloudStats, scl_statistics

A, B, C = "20200104T000241_20200104T001612_T55HGA", "20200109T000239_20200109T001430_T55HGA", "20200114T000241_20200114T001500_T55HGA"  # fmt: skip
A2 = "20200104T000241_20200104T001559_T55HGB"
TOLERANCE = 1e-6


def query(level: str = "L2A", **more: object) -> Query:
    window = {"start": dt.datetime(2020, 1, 1, tzinfo=dt.UTC), "end": dt.datetime(2020, 2, 1, tzinfo=dt.UTC)} | more
    return Query("S2", ee_world.GEOMETRY, s2_level=level, max_cloud_tile=80.0, **window)  # type: ignore[arg-type]


def expected(world: World, index: str, method: str) -> cs.Masks:
    """What utils/science/cloud_score.py gives for an image of the world."""
    l2a = ee_world.planes(world, gee_graph.S2["L2A"], index)
    if method == "cloud_score_plus":
        return cs.cloud_score_plus_masks(ee_world.planes(world, gee_graph.CLOUD_SCORE_PLUS, index)["cs"])
    if method == "s2cloudless":
        probability = ee_world.planes(world, gee_graph.CLOUD_PROBABILITY, index)["probability"]
        return cs.s2cloudless_masks(probability, l2a["B8"] / 1e4, l2a["SCL"], 62.5)
    return cs.sen2cloudfree_masks(scores(world, index))


def scores(world: World, index: str) -> dict[str, np.ndarray]:
    dn = ee_world.planes(world, gee_graph.S2["L1C"], index)
    return cs.sen2cloudfree_scores({name: band / 1e4 for name, band in dn.items()}, 62.5, 27.25)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_score_as_sent_equals_the_score_in_numpy(seed: int) -> None:
    world = ee_world.make_world({A: seed}, (), ())
    with ee_server.serving(world.answer) as server:
        gee.start("p", server.url, ee_server.fake_credentials())
        answer = gee.ask(lambda ee: gee_graph.sen2cloudfree_image(ee, ee.ImageCollection(gee_graph.S2["L2A"]).first()))
    wanted = scores(world, A)
    assert list(answer["bands"]) == ["cloudScore", "shadowScore", "quality"]
    for name, plane in answer["bands"].items():
        sent = np.array(plane, float)
        assert np.array_equal(np.isnan(sent), np.isnan(wanted[name])), name
        difference = np.nanmax(np.abs(sent - wanted[name]))
        print(f"seed {seed}, {name}: largest difference {difference:.2e}, range {np.ptp(sent[np.isfinite(sent)]):.3f}")
        assert difference <= TOLERANCE
    assert np.nanmax(wanted["shadowScore"]) > cs.SHADOW_THRESHOLD and np.nanmax(wanted["cloudScore"]) > 0.9


@pytest.mark.parametrize("method", ["cloud_score_plus", "s2cloudless", "sen2cloudfree", "scl"])
@pytest.mark.parametrize("level", ["L2A", "L1C"])
def test_statistics_of_each_method(method: str, level: str) -> None:
    world = ee_world.make_world({A: 4, B: 5}, (A, B), (A, B))
    with ee_server.serving(world.answer) as server:
        gee.start("p", server.url, ee_server.fake_credentials())
        answer = gee.search_scenes([query(level)], method)
        assert len(server.expressions) == 1  # one request for the month
    assert [item.index for item in answer.found] == [A, B] and all(item.method == method for item in answer.found)
    for item in answer.found:
        if method == "scl":
            classes = ee_world.planes(world, gee_graph.S2["L2A"], item.index)["SCL"]
            wanted = scl_statistics(np.nan_to_num(classes).astype(np.uint8), world.inside)
        else:
            wanted = cs.statistics(expected(world, item.index, method), world.inside)
        assert item.cloud == wanted, item.index
        assert 0 < wanted.cloud_aoi < 100 and 0.5 < wanted.valid_aoi < 1
        assert (wanted.shadow_aoi > 0) == (method != "cloud_score_plus")
        assert item.product.type == level and item.product.name.startswith("S2A_MSI" + level)


def test_a_method_missing_for_some_images_falls_to_the_next_for_those_only() -> None:
    world = ee_world.make_world({A: 6, B: 7, C: 8}, (A,), (B,))
    with ee_server.serving(world.answer) as server:
        gee.start("p", server.url, ee_server.fake_credentials())
        answer = gee.search_scenes([query()])
        assert len(server.expressions) == 3
        asked = [json.dumps(e) for e in server.expressions]
    assert [item.method for item in answer.found] == ["cloud_score_plus", "s2cloudless", "sen2cloudfree"]
    for item in answer.found:
        assert item.cloud == cs.statistics(expected(world, item.index, item.method), world.inside)
    assert A not in asked[1] and B in asked[1] and C in asked[1] and B not in asked[2]
    assert [len(item.product.warnings) for item in answer.found] == [0, 1, 1]
    assert answer.found[1].product.warnings[0].startswith("W_METHOD: S2A_MSIL2A_20200109T000239_")
    assert answer.method(answer.products) == "cloud_score_plus+s2cloudless+sen2cloudfree"


def test_an_image_that_no_method_knows_has_no_figure() -> None:
    world = ee_world.make_world({A: 6}, (), (), toa=())
    with ee_server.serving(world.answer) as server:
        gee.start("p", server.url, ee_server.fake_credentials())
        answer = gee.search_scenes([query()])
    (item,) = answer.found
    assert item.cloud is None and item.method == "" and "no method" in item.product.warnings[0]
    assert answer.cloud([item.product]) is None


def test_an_image_without_data_over_the_area_is_not_clear() -> None:
    world = ee_world.make_world({A: 6}, (A,), ())
    world.inside = np.zeros(ee_world.SHAPE, bool)
    world.inside[40, 2] = True  # beyond the edge of the swath
    with ee_server.serving(world.answer) as server:
        gee.start("p", server.url, ee_server.fake_credentials())
        (item,) = gee.search_scenes([query()]).found
        assert len(server.expressions) == 1
    assert item.cloud == CloudStats(100.0, 0.0, 0.0)


def test_scenes_of_two_tiles_count_overlaps_once_and_ask_once_a_month() -> None:
    world = ee_world.make_world({A: 6, A2: 9, B: 7}, (A, B), (A2,))
    with ee_server.serving(world.answer) as server:
        gee.start("p", server.url, ee_server.fake_credentials())
        answer = gee.search_scenes([query()])
        asked = len(server.expressions)
        first = [p for p in answer.products if "20200104" in p.name[11:19]]
        joint = answer.cloud(first)
        assert answer.cloud(first) == joint and len(server.expressions) == asked + 1
        assert answer.cloud([answer.found[-1].product]) == answer.found[-1].cloud
        assert len(server.expressions) == asked + 1
    one, two = expected(world, A, "cloud_score_plus"), expected(world, A2, "s2cloudless")
    valid = one.valid | two.valid
    cloud = np.where(two.valid, two.cloud, one.cloud)  # the part that is merged last lies on top
    shadow = np.where(two.valid, two.shadow, one.shadow)
    assert joint == cs.statistics(cs.Masks(cloud, shadow, valid), world.inside)
    assert answer.method(first) == "cloud_score_plus+s2cloudless"


def test_months_and_the_time_in_the_name_decide() -> None:
    """An image whose tile time lies in February belongs to January by its name; each month is one request."""
    late = "20200131T235900_20200201T000912_T55HGA"
    world = ee_world.make_world({A: 6, late: 7}, (A, late), ())
    with ee_server.serving(world.answer) as server:
        gee.start("p", server.url, ee_server.fake_credentials())
        both = gee.search_scenes([query(end=dt.datetime(2020, 3, 1, tzinfo=dt.UTC))])
        assert len(server.expressions) == 2
        assert [item.index for item in both.found] == [A, late]
        february = gee.search_scenes([query(start=dt.datetime(2020, 2, 1, tzinfo=dt.UTC), end=dt.datetime(2020, 2, 9, tzinfo=dt.UTC))])  # fmt: skip
        assert not february.found


def s1_image(name: str, direction: str, relative: int) -> Image:
    time = dt.datetime.strptime(name[17:32], "%Y%m%dT%H%M%S").replace(tzinfo=dt.UTC)
    properties = {
        "instrumentMode": "IW", "resolution_meters": 10, "transmitterReceiverPolarisation": ["VV", "VH"],
        "orbitProperties_pass": direction, "orbitNumber_start": int(name[49:55]), "relativeOrbitNumber_start": relative,
        "sliceNumber": 3, "totalSlices": 9, "productTimelinessCategory": "Fast-24h", "system:index": name,
        "system:time_start": time.timestamp() * 1000,
        "system:footprint": {"type": "LinearRing", "coordinates": ee_world.RING},
    }  # fmt: skip
    return Image(lambda pixel_m: {}, properties)


def test_a_pair_is_matched_from_the_answer() -> None:
    """Search at both dates, then the matching of the project: what find_images does with the answer."""
    from shapely.geometry import shape

    from utils.io import footprint
    from utils.science import pairing
    from utils.science.candidates import Settings

    world = ee_world.make_world({A: 6, B: 7, C: 8}, (A, B), (C,))
    for image in world.collections[gee_graph.CLOUD_SCORE_PLUS]:  # the second image is clear, the first is not
        plane = image.at(20)["cs"].data
        plane[np.isfinite(plane)] = 0.9 if image.properties["system:index"] == B else 0.1
    for number, day in ((30655, "04"), (30830, "16")):
        name = f"S1A_IW_GRDH_1SDV_202001{day}T192233_202001{day}T192258_{number:06d}_038353_1A2B"
        world.collections[gee_graph.S1_GRD].append(s1_image(name, "DESCENDING", 133))
    day = [dt.datetime(2020, 1, number, tzinfo=dt.UTC) for number in (1, 11, 31)]
    windows = {"S2": ((day[0], day[1]), (day[1], day[2])), "S1": ((day[0], day[2]),)}
    queries = [Query(mission, ee_world.GEOMETRY, *w) for mission, ws in windows.items() for w in ws]  # type: ignore[arg-type]
    with ee_server.serving(world.answer) as server:
        gee.start("p", server.url)
        answer = gee.search_scenes(queries)
        assert len(server.expressions) == 4  # S2 t0, S2 t1 twice (Cloud Score+ lacks the image), S1
        area = shape(ee_world.GEOMETRY)
        settings = Settings((day[0], day[1]), (day[1], day[2]), 32755, coverage=0.8)
        cover = footprint.Coverage(area, 32755)
        result = pairing.find_pairs(
            answer.products, settings, s1_coverage=cover, s2_coverage=cover, overlap=footprint.overlap_share,
            cloud=answer.cloud, missing=cover.missing_side,
        )  # fmt: skip
    (pair,) = result.pairs
    assert [p.remote_id for p in (*pair.scene0.products, *pair.scene1.products)] == [B, C]
    assert pair.scene0.cloud_aoi == 0.0 and pair.scene1.cloud == answer.found[2].cloud
    assert (pair.pass0.products[0].name[17:25], pair.pass1.products[0].name[17:25]) == ("20200104", "20200116")
    assert [r.code for r in result.rejections if r.kind == "S2 scene"] == ["R_CLOUD"]
    assert any(w.startswith("W_METHOD") and "s2cloudless" in w for w in pair.warnings())


def test_the_interpreter_refuses_what_it_does_not_know() -> None:
    world = ee_world.make_world({A: 6}, (), ())
    with ee_server.serving(world.answer) as server:
        gee.start("p", server.url, ee_server.fake_credentials())
        for build, text in (
            (lambda ee: ee.Image.constant(1).sqrt(), "unknown function Image.sqrt"),
            (lambda ee: ee.Image.constant(1).reduceNeighborhood(ee.Reducer.mean(), ee.Kernel.square(1, "pixels", False)), "unknown argument"),
            (lambda ee: ee.ImageCollection("COPERNICUS/S2_SR").first(), "no collection COPERNICUS/S2_SR"),
        ):  # fmt: skip
            with pytest.raises(gee.InputError, match=text):
                gee.ask(build)
