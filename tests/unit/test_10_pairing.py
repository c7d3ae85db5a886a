"""Matching: rules with hand-made catalogues, and 1,000 random catalogues against brute force over all combinations."""

from __future__ import annotations

import datetime as dt
import itertools
import random
from collections.abc import Sequence
from dataclasses import replace

import pytest

from utils.science.candidates import Settings
from utils.science.cloud import CloudStats
from utils.science.pairing import Result, date_ids, find_pairs, nearest_miss
from utils.science.product import Product, parse_name, parse_time

DAY = dt.timedelta(days=1)
T0, T1 = parse_time("20200101T000000"), parse_time("20200201T000000")
SETTINGS = Settings((T0, T0 + 20 * DAY), (T1, T1 + 20 * DAY), epsg=32755)
FULL = ((0.0, 0.0), (10.0, 0.0), (10.0, 10.0), (0.0, 10.0))  # the area, in cells


def s1(start: dt.datetime, orbit: int, *, platform: str = "S1A", direction: str = "ASCENDING", ring: tuple = FULL,
       slice_number: int = 1, kind: str = "IW_GRDH_1SDV", last: str = "AAAA") -> Product:  # fmt: skip
    stop = start + dt.timedelta(seconds=25)
    name = f"{platform}_{kind}_{start:%Y%m%dT%H%M%S}_{stop:%Y%m%dT%H%M%S}_{orbit:06d}_0ABCDE_{last}"
    return replace(parse_name(name), direction=direction, footprint=ring, slice=slice_number)


def s2(start: dt.datetime, *, tile: str = "55HGB", orbit: int = 30, ring: tuple = FULL, baseline: str = "0213",
       generated: str = "20200301T000000", level: str = "L2A", platform: str = "S2A", cloud: float | None = 10.0) -> Product:  # fmt: skip
    name = f"{platform}_MSI{level}_{start:%Y%m%dT%H%M%S}_N{baseline}_R{orbit:03d}_T{tile}_{generated}"
    return replace(parse_name(name), footprint=ring, cloud_tile=cloud)


def cells(ring: tuple) -> set[tuple[int, int]]:
    xs, ys = [int(p[0]) for p in ring], [int(p[1]) for p in ring]
    return set(itertools.product(range(min(xs), max(xs)), range(min(ys), max(ys))))


AREA = cells(FULL)


def covered(products: Sequence[Product]) -> float:
    """Share of the 10 x 10 cells of the area."""
    union: set[tuple[int, int]] = set()
    for product in products:
        union |= cells(product.footprint)
    return len(union & AREA) / len(AREA)


def overlap(a: Product, b: Product) -> float:
    one, two = cells(a.footprint), cells(b.footprint)
    return len(one & two) / min(len(one), len(two))


def clouds(products: Sequence[Product]) -> CloudStats:
    """0.37 % per second of the start time: a fixed figure that each scene keeps."""
    return CloudStats(products[0].start.second * 0.37, 0.0, covered(products))


def match(products: Sequence[Product], settings: Settings = SETTINGS) -> Result:
    return find_pairs(products, settings, s1_coverage=covered, s2_coverage=covered, overlap=overlap, cloud=clouds)


def codes(result: Result) -> dict[str, str]:
    return {r.id: r.code for r in result.rejections}


ORBIT = 30650  # relative 128
BASE = [
    s2(T0 + 5 * DAY), s2(T1 + 5 * DAY), s1(T0 + 4 * DAY, ORBIT), s1(T1 + 4 * DAY + 5 * DAY, ORBIT + 175 * 3)
]  # fmt: skip


def test_simple_pair_with_gaps_and_cost() -> None:
    pair = match(BASE).pairs[0]
    assert (pair.gap0_s, pair.gap1_s) == (86400.0, 4 * 86400.0)
    assert pair.cost()[:5] == (4 * 86400.0, 5 * 86400.0, 0.0, 0, 0)
    assert pair.cost("cloud")[:2] == (0.0, 4 * 86400.0)
    assert pair.pass0.track == (128, "ASCENDING") and pair.pass0.coverage == 1.0
    assert date_ids([pair]) == [("20200106", "20200206")]


@pytest.mark.parametrize(
    ("product", "code"),
    [
        (s1(T0 - 60 * DAY, 30001), "R_DATE"),
        (s1(T0 + 3 * DAY, 30001, kind="EW_GRDM_1SDH"), "R_MODE"),
        (s1(T0 + 3 * DAY, 30001, kind="IW_SLC__1SDV"), "R_TYPE"),
        (s1(T0 + 3 * DAY, 30001, kind="IW_GRDH_1SSV"), "R_POL"),
        (s1(T0 + 3 * DAY, 30001, last="AAAA_COG"), "R_COG_VARIANT"),
        (replace(s1(T0 + 3 * DAY, 30001), relative_orbit=0), "R_ORBIT_UNKNOWN"),
        (s1(T0 + 3 * DAY, 30001, ring=((20, 0), (30, 0), (30, 9), (20, 9))), "R_COVERAGE"),
        (s2(T0 - DAY), "R_DATE"),
        (s2(T0 + 6 * DAY, level="L1C"), "R_TYPE"),
        (s2(T0 + 6 * DAY, cloud=81.0), "R_CLOUD"),
        (s2(T0 + 6 * DAY, tile="54HGB"), "R_TILESET"),
        (s2(T0 + 5 * DAY, baseline="0208"), "R_SUPERSEDED"),
        (s2(T0 + 6 * DAY, ring=((20, 0), (30, 0), (30, 9), (20, 9))), "R_COVERAGE"),
    ],
)
def test_each_refusal_has_its_code(product: Product, code: str) -> None:
    result = match([*BASE, product])
    assert codes(result)[product.name] == code
    assert result.pairs == match(BASE).pairs


def test_tile_cloud_prefilter_is_never_stricter_than_the_limit_at_t1() -> None:
    cloudy = s2(T1 + 5 * DAY, cloud=95.0)  # t1 may be cloudy: it is the image to simulate
    assert match([BASE[0], cloudy, *BASE[2:]]).pairs[0].scene1.products == (cloudy,)


def test_cloudy_t0_is_refused_with_value_and_limit() -> None:
    cloudy = s2(T0 + 5 * DAY + dt.timedelta(seconds=10))
    result = match([cloudy, *BASE[1:]])
    assert not result.pairs
    (refused,) = [r for r in result.rejections if r.kind == "S2 scene"]
    assert (refused.code, refused.value, refused.limit, refused.date) == ("R_CLOUD", 3.7, 1.0, "t0")
    assert "cloud_aoi 3.70 > 1 % (tile says 10.0 %)" in refused.line()
    said, remedy = nearest_miss(result, SETTINGS)
    assert said.startswith("nearest miss for t0: t0 S2 scene") and "Raise search.max_cloud_aoi to 3.8" in remedy


def test_partial_pass_is_named_with_its_coverage() -> None:
    partial = [replace(p, footprint=((0, 0), (10, 0), (10, 9), (0, 9))) if p.mission == "S1" else p for p in BASE]
    result = match(partial)
    assert not result.pairs
    assert {r.value for r in result.rejections if r.code == "R_COVERAGE"} == {0.9}
    assert "Lower search.coverage to 0.9" in nearest_miss(result, SETTINGS)[1]


def test_slices_are_joined_and_superfluous_ones_dropped() -> None:
    south = s1(T0 + 4 * DAY, ORBIT, ring=((0, 0), (10, 0), (10, 5), (0, 5)))
    north = s1(T0 + 4 * DAY + dt.timedelta(seconds=25), ORBIT, ring=((0, 5), (10, 5), (10, 10), (0, 10)))
    extra = s1(T0 + 4 * DAY + dt.timedelta(seconds=50), ORBIT, ring=((0, 8), (10, 8), (10, 10), (0, 10)))
    pair = match([*BASE[:2], BASE[3], extra, north, south]).pairs[0]
    assert pair.pass0.products == (south, north)
    assert pair.gap0_s == 86400.0  # measured from the first slice


def test_unnumbered_slices_are_not_mixed() -> None:
    near_real_time = s1(T0 + 4 * DAY + dt.timedelta(seconds=3), ORBIT, slice_number=0, last="BBBB")
    result = match([*BASE, near_real_time])
    assert codes(result)[near_real_time.name] == "R_NRT_SLICE"
    assert match([*BASE[:2], BASE[3], near_real_time]).pairs[0].pass0.products == (near_real_time,)


def test_duplicates_keep_the_last_processed() -> None:
    again = replace(s1(T0 + 4 * DAY, ORBIT, last="0001"), generated="20210101T000000")
    result = match([*BASE, again])
    assert result.pairs[0].pass0.products == (again,)
    assert codes(result)[BASE[2].name] == "R_DUPLICATE"


def test_two_datastrips_of_one_overpass_are_both_kept() -> None:
    west = s2(T0 + 5 * DAY, ring=((0, 0), (6, 0), (6, 10), (0, 10)), generated="20200301T000001")
    east = s2(T0 + 5 * DAY, ring=((5, 0), (10, 0), (10, 10), (5, 10)))
    assert set(match([west, east, *BASE[1:]]).pairs[0].scene0.products) == {west, east}


def test_fewest_tiles_and_the_same_set_at_both_dates() -> None:
    other = [s2(T0 + 5 * DAY, tile="55HFB"), s2(T0 + 6 * DAY, tile="55HFB")]
    result = match([*BASE, *other])
    assert result.tiles == ("55HGB",)  # 55HFB also covers the area, but has nothing at t1
    assert codes(result)[other[0].name] == "R_TILESET"


def test_tracks_never_mix_and_orbit_restricts() -> None:
    other_track = s1(T1 + 5 * DAY, 30700)
    result = match([*BASE, other_track])
    assert result.pairs[0].pass1.products == (BASE[3],)  # closer in time, but another track
    refused = next(r for r in result.rejections if r.code == "R_TRACK")
    assert refused.text == "no covering pass of this track within 6 days of t0" and refused.date == "t1"
    assert not match(BASE, replace(SETTINGS, orbit=5)).pairs
    assert not match(BASE, replace(SETTINGS, direction="descending")).pairs


def test_opposite_passes_of_the_recorded_place_are_refused() -> None:
    """Tile 43RCP 2020: descending track 107 on 7 June, ascending track 173 on 3 September."""
    ring = ((73.0, 30.0), (74.0, 30.0), (74.0, 31.0), (73.0, 31.0))
    june = replace(parse_name("S1A_IW_GRDH_1SDV_20200607T010800_20200607T010825_032904_03CFBA_D457"),
                   direction="DESCENDING", footprint=ring)  # fmt: skip
    september = replace(parse_name("S1A_IW_GRDH_1SDV_20200903T131212_20200903T131237_034195_03F8F5_AC1C"),
                        direction="ASCENDING", footprint=ring)  # fmt: skip
    assert (june.relative_orbit, september.relative_orbit) == (107, 173)  # as recorded
    scenes = [replace(parse_name(n), footprint=ring) for n in (
        "S2B_MSIL2A_20200604T054639_N0214_R048_T43RCP_20200604T094332",
        "S2B_MSIL2A_20200813T054639_N0214_R048_T43RCP_20200813T083230")]  # fmt: skip
    settings = Settings((parse_time("20200601T000000"), parse_time("20200701T000000")),
                        (parse_time("20200801T000000"), parse_time("20200901T000000")),
                        epsg=32643, max_gap_days=25.0)  # fmt: skip
    result = find_pairs([june, september, *scenes], settings, s1_coverage=lambda p: float(bool(p)),
                        s2_coverage=lambda p: float(bool(p)), overlap=lambda a, b: 0.0, cloud=lambda p: None)  # fmt: skip
    assert not result.pairs
    tracks = {r.id: (r.code, r.value) for r in result.rejections}
    assert tracks["S1A 032904 track 107 desc"] == ("R_TRACK", "107 descending")
    assert tracks["S1A 034195 track 173 asce"] == ("R_TRACK", "173 ascending")
    assert "so that one track serves both dates" in nearest_miss(result, SETTINGS)[1]


def test_warnings() -> None:
    mixed = [BASE[0], s2(T1 + 5 * DAY, baseline="0500"), BASE[2], s1(T1 + 9 * DAY, 30650, platform="S1B")]
    mixed[3] = replace(mixed[3], relative_orbit=128)
    found = match(mixed).pairs[0].warnings()
    assert [w.split(":")[0] for w in found] == ["W_BASELINE", "W_PLATFORM"]
    off = [*BASE[:3], s1(T1 + 9 * DAY + dt.timedelta(minutes=3), ORBIT + 525)]
    assert match(off).pairs[0].warnings() == ["W_ORBIT: passes of one track are 180 s off a multiple of 12 days"]
    assert match(BASE).pairs[0].warnings() == []


def test_fixed_names_and_substitutes() -> None:
    fixed = replace(SETTINGS, s2_t0=(BASE[0].name,))
    assert match(BASE, fixed).pairs[0].scene0.products == (BASE[0],)
    old_name = BASE[0].name.replace("N0213", "N0208")
    pair = match(BASE, replace(SETTINGS, s2_t0=(old_name,))).pairs[0]
    assert pair.warnings() == [f"W_SUBSTITUTE: {BASE[0].name} stands for {old_name}"]
    with pytest.raises(LookupError, match="T55HGC"):
        match(BASE, replace(SETTINGS, s2_t0=(BASE[0].name.replace("HGB", "HGC"),)))


def test_same_scene_with_two_passes_gets_two_date_ids() -> None:
    second = [s1(T0 + 3 * DAY, 30700), s1(T0 + 3 * DAY + 36 * DAY, 30700 + 525)]
    pairs = match([*BASE, *second], replace(SETTINGS, limit=5)).pairs
    ids = date_ids(pairs)
    assert len(pairs) == 2 and len(set(ids)) == 2
    # the other track is 2 days off at both dates and ranks first
    assert ids == [("20200106", "20200206"), ("20200106-t128", "20200206-t128")]


def rectangle(rng: random.Random) -> tuple:
    if rng.random() < 0.8:
        return FULL
    x0, y0 = rng.choice((0, 0, 0, 3, 12)), rng.choice((0, 0, 5))
    return ((x0, y0), (rng.choice((10, 12)), y0), (12, rng.choice((5, 10, 10))), (x0, 10))


def catalogue(rng: random.Random) -> list[Product]:
    """Up to 8 scenes and 12 passes of up to 2 slices with rectangles on whole cells."""
    out: dict[str, Product] = {}
    for _ in range(rng.randint(2, 8)):
        base = rng.choice((T0, T1))
        start = base + rng.randint(-2, 22) * DAY + dt.timedelta(seconds=rng.choice((0, 0, 1, 2, 4)))
        scene = s2(start, ring=rectangle(rng), cloud=rng.choice((None, 5.0, 5.0, 90.0)), orbit=rng.choice((30, 73)))
        out[scene.name] = scene
    for _ in range(rng.randint(4, 12)):
        base = rng.choice((T0, T1))
        start = base + rng.randint(-8, 28) * DAY + dt.timedelta(seconds=rng.choice((0, 100)))
        orbit = 30000 + 15 * (start - T0).days + 150  # one overpass has one absolute orbit
        platform, two = rng.choice(("S1A", "S1A", "S1B")), rng.random() < 0.3
        for index in range(2 if two else 1):
            ring = rectangle(rng)
            if two:
                ring = ((0, 5 * index), (10, 5 * index), (10, 5 * index + 5), (0, 5 * index + 5))
            one = s1(
                start + index * dt.timedelta(seconds=25), orbit, platform=platform, ring=ring, slice_number=index + 1
            )
            out[one.name] = replace(one, relative_orbit=rng.choice((128, 128, 128, 3)) if not two else 128)
    return list(out.values())


def brute_force(products: Sequence[Product], s: Settings) -> list[tuple]:
    """Sorted costs of all allowed combinations of scene, scene, pass, pass, written without the code under test."""
    passes: dict[tuple, list[Product]] = {}
    for p in products:
        if p.mission == "S1":
            passes.setdefault((p.platform, p.absolute_orbit, p.direction), []).append(p)
    full = {}
    for key, group in passes.items():
        near = [p for p in group if any(w[0] - s.max_gap <= p.start < w[1] + s.max_gap for w in (s.t0, s.t1))]
        near = sorted((p for p in near if covered([p]) > 0), key=lambda p: (p.start, p.name))
        subsets = [c for n in range(1, len(near) + 1) for c in itertools.combinations(near, n)]
        good = [c for c in subsets if covered(c) == covered(near)]
        if good and covered(good[0]) >= s.coverage:
            full[key] = good[0]
    scenes: tuple[list[Product], list[Product]] = ([], [])
    for p in products:
        for index, (window, most) in enumerate(((s.t0, s.max_cloud_aoi), (s.t1, s.max_cloud_aoi_t1))):
            if p.mission == "S2" and window[0] <= p.start < window[1] and covered([p]) >= s.coverage:
                prefilter = max(s.max_cloud_tile, most)
                if (p.cloud_tile is None or p.cloud_tile <= prefilter) and p.start.second * 0.37 <= most:
                    scenes[index].append(p)
    costs = []
    for a, b in itertools.product(*scenes):
        for one, two in itertools.product(full.values(), repeat=2):
            if (one[0].relative_orbit, one[0].direction) != (two[0].relative_orbit, two[0].direction):
                continue
            g0, g1 = abs((one[0].start - a.start).total_seconds()), abs((two[0].start - b.start).total_seconds())
            same = one[0].platform == two[0].platform
            if s.same_platform == "require" and not same:
                continue
            own = [c for c in full.values() if c[0].relative_orbit == one[0].relative_orbit]
            if s.same_platform == "require":
                own = [c for c in own if c[0].platform == one[0].platform]
            nearest = all(abs((c[0].start - a.start).total_seconds()) >= g0 for c in own) and all(
                abs((c[0].start - b.start).total_seconds()) >= g1 for c in own
            )
            if max(g0, g1) > s.max_gap_days * 86400 or not nearest or one[0].start >= two[0].start:
                continue
            cloud = round(a.start.second * 0.37 + b.start.second * 0.37, 4)
            first = (cloud, max(g0, g1), g0 + g1) if s.rank_by == "cloud" else (max(g0, g1), g0 + g1, cloud)
            names = " ".join(p.name for p in (a, b, *one, *two))
            differ = int(not same and s.same_platform != "any")
            costs.append((*first, differ, int(a.relative_orbit != b.relative_orbit), names))
    return sorted(costs)


@pytest.mark.parametrize(
    ("seed", "settings"),
    [
        (7, SETTINGS),
        (8, replace(SETTINGS, rank_by="cloud", max_cloud_aoi=1.5)),
        (9, replace(SETTINGS, same_platform="require")),
        (10, replace(SETTINGS, same_platform="any", max_gap_days=9.0)),
    ],
    ids=["gap", "cloud", "require", "any"],
)
def test_1000_random_catalogues_equal_brute_force(seed: int, settings: Settings) -> None:
    """250 catalogues for each of four settings: every ranked pair and its cost, not only the best."""
    rng, with_pair, pairs = random.Random(seed), 0, 0
    every = replace(settings, limit=10_000)
    for _ in range(250):
        products = catalogue(rng)
        result = match(products, every)
        costs = [pair.cost(settings.rank_by, settings.same_platform) for pair in result.pairs]
        # two scenes of one datatake with different rectangles would be datastrips: the oracle has single products
        assert costs == brute_force(products, settings)
        assert match(products, settings).pairs == result.pairs[:1]
        rng.shuffle(products)
        assert match(products, every) == result  # independent of the order
        outside = s1(T0 + DAY, 40000, ring=((20, 20), (30, 20), (30, 30), (20, 30)))
        assert match([*products, outside, s2(T0 - 40 * DAY)], every).pairs == result.pairs
        tight = match(products, replace(settings, max_gap_days=2.0)).pairs
        if tight:
            assert costs[0] <= tight[0].cost(settings.rank_by, settings.same_platform)
        with_pair += bool(result.pairs)
        pairs += len(result.pairs)
    print(f"{settings.same_platform} {settings.rank_by}: {pairs} pairs in {with_pair} of 250 catalogues, all equal")
    assert 40 < with_pair < 245
