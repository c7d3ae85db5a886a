"""Import: units, clouds, netCDF, pairs; and the public samples with the figures published for them."""

from __future__ import annotations

import datetime as dt
import os
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from utils.io import import_layouts, importer, raster, tiles
from utils.io.importer import CLOUD, Acquisition, DatedSet, Plane, Rules
from utils.io.netcdf import Cube
from utils.science.grid import Grid
from utils.science.tracks import pass_at
from utils.workflow.errors import ConfigError, InputError, NothingFoundError

DATA = os.environ.get("S2CR_DATA")
real = [
    pytest.mark.realdata,
    pytest.mark.skipif(DATA is None, reason="S2CR_DATA does not name the folder of real samples"),
]
RGBN = ("B04", "B03", "B02", "B08")


def test_power_by_hand():
    values = np.array([-100000, 0, -200000], dtype=np.int32)
    power = importer.to_power(values, Rules(s1_scale=1e-4, s1_nodata=0.0))
    np.testing.assert_allclose(power, [0.1, np.nan, 0.01], rtol=1e-6)
    linear = importer.to_power(np.array([0.02, -0.001, np.nan], np.float32), Rules(s1_unit="power"))
    np.testing.assert_array_equal(linear, np.array([0.02, -0.001, np.nan], np.float32))  # measured and negative stays


def test_reflectance_by_hand():
    rho = importer.to_reflectance(np.array([0, 1000, 1500, 900, 12000], np.uint16), Rules(s2_offset=-1000.0))
    np.testing.assert_allclose(rho, [np.nan, 0, 0.05, 0, 1.1], atol=1e-7)
    assert importer.to_reflectance(np.array([0], np.uint16), Rules(s2_nodata=None))[0] == 0


def test_cloud_codes_by_hand():
    scl = np.arange(12, dtype=np.uint8)
    assert importer.cloud_codes(scl, Rules()).tolist() == [255, 4, 0, 2, 0, 0, 0, 0, 1, 1, 1, 3]
    probability = np.array([0, 19, 20, 100, 255], np.uint16)
    assert importer.cloud_codes(probability, Rules(cloud_kind="probability")).tolist() == [0, 0, 1, 1, 255]
    with pytest.raises(InputError, match="40"):
        importer.cloud_codes(np.array([40], np.uint8), Rules())


@pytest.fixture
def cube(tmp_path: Path) -> Path:
    """A small netCDF-4 file as xarray writes it, rows from south to north."""
    path = tmp_path / "cube.nc"
    with h5py.File(path, "w") as file:
        for name, values in {
            "timestamp": np.array([0, 86400]),
            "y": np.arange(5.0, 45, 10),
            "x": np.arange(105.0, 155, 10),
        }.items():
            file[name] = values
            file[name].make_scale(name)
        file["timestamp"].attrs["units"] = "seconds since 2018-02-25 10:00:01"
        file["B02"] = np.arange(40, dtype=np.uint16).reshape(2, 4, 5)
        for place, name in enumerate(("timestamp", "y", "x")):
            file["B02"].dims[place].attach_scale(file[name])
    return path


def test_netcdf_is_read_north_up(cube):
    with Cube(cube) as file:
        assert file.grid("B02") == Grid(0, 100.0, 40.0, 10.0, -10.0, 4, 5)
        np.testing.assert_array_equal(file.planes("B02", 1), np.arange(20, 40).reshape(4, 5)[::-1])
        assert file.times() == [dt.datetime(2018, 2, 25, 10, 0, 1), dt.datetime(2018, 2, 26, 10, 0, 1)]
        with pytest.raises(InputError, match="no variable 'B99'; it has"):
            file.planes("B99")
        with pytest.raises(InputError, match="no index 2"):
            file.planes("B02", 2)
    values, grid = importer.read_plane(Plane("B02", cube, 1, "B02", 0), Rules())
    assert values[3].tolist() == [0, 1, 2, 3, 4] and grid.rows == 4
    with pytest.raises(InputError, match="time_index is None"):
        importer.read_plane(Plane("B02", cube, 1, "B02"), Rules())


def test_netcdf_errors(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        Cube(tmp_path / "none.nc")
    (tmp_path / "bad.nc").write_bytes(b"CDF no")
    with pytest.raises(InputError, match="not a readable"):
        Cube(tmp_path / "bad.nc")


def dated(day: str, site: str = "a", optical: bool = True) -> DatedSet:
    s1 = Acquisition(site, "sentinel1", f"s1{day}", (), f"{day}T17:00:00")
    s2 = Acquisition(site, "sentinel2", f"s2{day}", (), f"{day}T10:00:00") if optical else None
    return DatedSet(f"{site}{day}", site, s1, s2)


def test_pairs_never_mix_sites_and_count_calendar_days():
    sets = [
        dated("2020-01-01"),
        dated("2020-01-31"),
        dated("2020-03-15"),
        dated("2020-06-01", "b"),
        dated("2020-07-05", "b", optical=False),
    ]
    names = [(a.id, b.id) for a, b in importer.make_pairs(sets, False, 30, None)]
    assert names == [
        ("a2020-01-01", "a2020-01-31"),
        ("a2020-01-01", "a2020-03-15"),
        ("a2020-01-31", "a2020-03-15"),
        ("b2020-06-01", "b2020-07-05"),
    ]
    assert len(importer.make_pairs(sets, True, 30, None)) == 7  # without S2 a date is never t0
    assert len(importer.make_pairs(sets, True, 31, 2)) == 2
    with pytest.raises(NothingFoundError, match="widest gap is 74 days"):
        importer.make_pairs(sets, True, 100, None)


def test_nearest_in_time_takes_the_earlier_of_equals():
    radar = [dated(day).s1 for day in ("2020-01-05", "2020-01-01", "2020-01-09")]
    assert importer.nearest_in_time(radar, "2020-01-03T17:00:00").name == "s12020-01-01"
    assert importer.nearest_in_time(radar, "2020-01-30T00:00:00").name == "s12020-01-09"


@pytest.mark.parametrize(
    ("name", "start", "latitude", "direction", "expected"),
    [  # real products: platform, absolute orbit and so the relative orbit stand in their names
        ("S1A 032904, India", "2020-06-07T01:08:00", 30.5, "descending", ("S1A", (32904 - 73) % 175 + 1)),
        ("S1A 034195, India", "2020-09-03T13:12:12", 30.5, "ascending", ("S1A", (34195 - 73) % 175 + 1)),
        ("S1B 030148, Rome", "2021-12-23T05:11:22", 41.9, "descending", ("S1B", (30148 - 27) % 175 + 1)),
        ("S1B 012240", "2018-08-13T05:40:20", 50.0, "descending", ("S1B", (12240 - 27) % 175 + 1)),
        ("S1A 039156", "2021-08-09T17:39:53", 50.0, "ascending", ("S1A", (39156 - 73) % 175 + 1)),
    ],
)
def test_track_from_time(name, start, latitude, direction, expected):
    assert pass_at(dt.datetime.fromisoformat(start), latitude, direction) == expected


def test_track_refuses_a_time_without_pass():
    with pytest.raises(ValueError, match="no Sentinel-1 pass"):
        pass_at(dt.datetime(2020, 6, 7, 1, 20), 30.5, "descending")


def test_orbit_rule():
    def pair(first, second):
        return {"id": "p001", "date1": {"id": "x", "s1": first}, "date2": {"id": "y", "s1": second}}

    down, up = {"relative_orbit": 107, "direction": "descending"}, {"relative_orbit": 173, "direction": "ascending"}
    assert not tiles.mixed_orbit(pair(down, {**down, "direction": "DESCENDING"}), allowed=False)
    assert not tiles.mixed_orbit(pair(down, {}), allowed=False)  # unknown
    assert tiles.mixed_orbit(pair(down, up), allowed=True)
    with pytest.raises(ConfigError, match=r"track 107 descending.*track 173 ascending") as caught:
        tiles.mixed_orbit(pair(down, up), allowed=False)
    assert caught.value.exit_code == 65


def test_inputs_without_georeference_get_the_assumed_pixel(tmp_path):
    raster.write(tmp_path / "x.tif", np.ones((4, 6), np.float32), Grid(0, 0, 0, 1, -1, 4, 6))
    _, grid = importer.read_plane(Plane("VV", tmp_path / "x.tif"), Rules(pixel_m=10.0))
    assert grid == Grid(0, 0.0, 40.0, 10.0, -10.0, 4, 6)


# -- real samples: nothing here is copied into the project ---------------------------------------------------------


def copy_mae(pairs, bands, rules, clear_only):
    """Mean over pairs of the mean absolute difference of S2(t1) and S2(t0) over bands and pixels, on the site's grid.

    clear_only: only pixels that are clear (cloud code 0) at both dates.
    """
    loaded, maes = {}, []
    for pair in pairs:
        images = []
        for dates in pair:
            if dates.id not in loaded:
                grid = importer.site_grid([dates], bands[0], rules)
                planes, cloud = importer.load_s2(dates.s2, bands, grid, rules)
                loaded[dates.id] = np.stack([planes[b] for b in bands]).astype(np.float64), cloud == 0
            images.append(loaded[dates.id])
        (a, clear_a), (b, clear_b) = images
        use = clear_a & clear_b if clear_only else np.ones_like(clear_a)
        maes.append(np.abs(a - b)[:, use].mean())
    return float(np.mean(maes))


def test_acquisitions_around_a_date_are_averaged_in_linear_power(tmp_path):
    grid = Grid(32755, 0.0, 40.0, 10.0, -10.0, 2, 2)
    passes = []
    for day, level, orbit in ((1, -10.0, 9), (7, -13.0, 9), (8, -3.0, 88), (13, -20.0, 9), (25, 0.0, 9)):
        db = np.full((2, 2, 2), level, np.float32)
        if day == 7:
            db[0, 0, 0] = -99.0
        raster.write(tmp_path / f"{day}.tif", db, grid)
        planes = (Plane("VV", tmp_path / f"{day}.tif", 1), Plane("VH", tmp_path / f"{day}.tif", 2))
        passes.append(
            Acquisition(
                "s", "sentinel1", f"S1_{day:02d}", planes, f"2020-01-{day:02d}T00:00:00", "", "ascending", orbit
            )
        )
    rules = Rules(s1_nodata=-99.0)
    assert importer.around(passes, "2020-01-06T00:00:00", 1) is passes[1]
    mean = importer.around(passes, "2020-01-06T00:00:00", 3)  # of one track: not the one of day 8
    assert [m.name for m in mean.members] == ["S1_07", "S1_01", "S1_13"]
    assert (mean.name, mean.start, mean.relative_orbit) == ("S1_07_mean3", "2020-01-07T00:00:00", 9)
    power = importer.load_s1(mean, grid, rules)
    assert power["VH"][0, 0] == pytest.approx((0.1 + 10**-1.3 + 0.01) / 3, rel=1e-6)
    assert power["VV"][1, 1] == pytest.approx((0.1 + 10**-1.3 + 0.01) / 3, rel=1e-6)
    assert power["VV"][0, 0] == pytest.approx((0.1 + 0.01) / 2, rel=1e-6)  # what has a value there
    assert len(importer.around(passes, "2020-01-06T00:00:00", 9).members) == 4  # no more than there are


def test_clouds_of_an_import_grow_over_clear_pixels_only(tmp_path):
    grid = Grid(32755, 0.0, 70.0, 10.0, -10.0, 7, 7)
    scl = np.full((7, 7), 4, np.uint8)
    scl[3, 3], scl[3, 5], scl[0, 0], scl[3, 2] = 9, 3, 11, 1  # cloud, shadow, snow, defective
    raster.write(tmp_path / "a.tif", np.stack([np.full((7, 7), 1000, np.uint16), scl.astype(np.uint16)]), grid)
    scene = Acquisition(
        "s",
        "sentinel2",
        "a",
        (Plane("B04", tmp_path / "a.tif", 1), Plane("CLOUD", tmp_path / "a.tif", 2)),
        "2020-01-01",
    )
    plain = importer.load_s2(scene, ["B04"], grid, Rules())[1]
    grown = importer.load_s2(scene, ["B04"], grid, Rules(cloud_dilate_m=15.0))[1]
    row, col = np.mgrid[:7, :7]
    near = {code: np.hypot(row - r, col - c) * 10 <= 15 for code, (r, c) in {1: (3, 3), 2: (3, 5)}.items()}
    expected = np.where(near[1], 1, np.where(near[2], 2, 0))
    expected[3, 2], expected[0, 0] = 4, 3  # what is no clear pixel keeps its code
    np.testing.assert_array_equal(grown, expected)
    np.testing.assert_array_equal(importer.load_s2(scene, ["B04"], grid, Rules(cloud_dilate_m=0.0))[1], plain)


class TestBelgium:
    pytestmark = real
    rules = Rules(s1_scale=1e-4, s1_nodata=0.0)

    def sets(self, orbit=None):
        return import_layouts.belgium(Path(DATA) / "pairs_belgium", "belgium", self.rules, 0.97, orbit)

    def test_dates_pairs_and_copy_t0(self):
        sets = self.sets()
        pairs = importer.make_pairs(sets, True, 30, None)
        assert (len(sets), len(pairs)) == (16, 172)
        # all 64 x 64 pixels and four bands of each pair, then the plain mean over the 172 ordered pairs
        assert copy_mae(pairs, RGBN, self.rules, clear_only=False) == pytest.approx(0.0452, abs=1e-4)

    def test_one_track_and_nearest_acquisition(self):
        sets = self.sets()
        assert {d.s1.relative_orbit for d in sets} == {161}
        gaps = [
            abs((dt.datetime.fromisoformat(d.s1.start) - dt.datetime.fromisoformat(d.s2.start)).total_seconds()) / 86400
            for d in sets
        ]
        assert max(gaps) <= 3.1  # six days apart on one track
        assert {d.s1.relative_orbit for d in self.sets(59)} == {59}
        with pytest.raises(ConfigError, match=r"\[59, 161\]"):
            self.sets(88)

    def test_several_acquisitions_of_the_track_are_averaged(self):
        sets = import_layouts.belgium(Path(DATA) / "pairs_belgium", "belgium", self.rules, 0.97, None, s1_average=4)
        one = self.sets()
        grid = importer.site_grid(one[:1], "B04", self.rules)
        spread = []
        for few, many in zip(one, sets, strict=True):
            assert len(many.s1.members) == 4 and many.s1.members[0] == few.s1 and many.s2 == few.s2
            assert {m.relative_orbit for m in many.s1.members} == {161}
            parts = [importer.load_s1(m, grid, self.rules)["VV"] for m in many.s1.members]
            mean = importer.load_s1(many.s1, grid, self.rules)["VV"]
            np.testing.assert_allclose(mean, np.mean(parts, axis=0), rtol=1e-6)
            halves = np.mean(parts[:2], axis=0), np.mean(parts[2:], axis=0)
            changes = [10 * np.log10(a / b) for a, b in ((parts[0], parts[2]), halves)]
            spread.append([np.std(change) for change in changes])
        alone, averaged = np.mean(spread, axis=0)
        print(f"spread of VV between passes {alone:.2f} dB, between means of two {averaged:.2f} dB (limit 0.85 of it)")
        assert averaged < 0.85 * alone

    def test_partly_cloudy_dates_join_by_their_clear_share(self):
        more = import_layouts.belgium(Path(DATA) / "pairs_belgium", "belgium", self.rules, 0.60, None)
        assert {d.id for d in self.sets()} < {d.id for d in more} and len(more) > 20

    def test_radar_goes_to_10_m_on_power(self):
        first = self.sets()[0]
        grid = importer.site_grid([first], "B04", self.rules)
        assert grid == Grid(32631, 501360.0, 5629680.0, 10.0, -10.0, 64, 64)
        coarse, source = importer.read_plane(first.s1.plane("VV"), self.rules)
        fine = importer.load_s1(first.s1, grid, self.rules)["VV"]
        power = 10 ** (coarse * 1e-5)
        assert source.shape == (32, 32) and fine[0, 0] == pytest.approx(power[0, 0], rel=1e-6)
        by_hand = 0.75 * 0.75 * power[4, 7] + 0.75 * 0.25 * (power[4, 8] + power[5, 7]) + 0.25 * 0.25 * power[5, 8]
        assert fine[9, 15] == pytest.approx(by_hand, rel=1e-6)


class TestFinland:
    pytestmark = real
    rules = Rules(s1_nodata=-9999.0, cloud_kind="probability")

    def test_copy_t0_of_both_chips(self):
        sets = import_layouts.finland(Path(DATA) / "pairs_finland", self.rules, None, 0.0)
        pairs = importer.make_pairs(sets, False, 0, None)
        forest = [p for p in pairs if p[0].site == "0060c0a5"]
        other = [p for p in pairs if p[0].site == "000aa810"]
        assert (len(forest), len(other)) == (15, 1)
        # pixels with cloud probability below 20 % at both dates, four bands; mean over the 15 pairs
        assert copy_mae(forest, RGBN, self.rules, clear_only=True) == pytest.approx(0.0266, abs=1e-4)
        assert copy_mae(other, RGBN, self.rules, clear_only=True) == pytest.approx(0.0165, abs=1e-4)

    def test_direction_chooses_the_bands(self):
        root = Path(DATA) / "pairs_finland"
        up, down = (import_layouts.finland(root, self.rules, way, 0.0)[1] for way in ("ascending", "descending"))
        grid = importer.site_grid([up], "B04", self.rules)
        assert grid == Grid(0, 0.0, 2560.0, 10.0, -10.0, 256, 256)
        stored = raster.read(root / f"{up.id.replace('-', '_S1_')}.tif")
        for dates, band in ((up, 2), (down, 4)):
            vh = importer.load_s1(dates.s1, grid, self.rules)["VH"]
            np.testing.assert_allclose(vh, 10 ** (stored[band - 1].astype(np.float64) / 10), rtol=1e-6)


class TestTwoDates:
    pytestmark = real

    def test_copy_t0_and_tracks(self):
        sets = import_layouts.two_dates(Path(DATA) / "two_dates")
        assert [d.id for d in sets] == ["20200604", "20200813"]
        assert [(d.s1.direction, d.s1.relative_orbit) for d in sets] == [("descending", 107), ("ascending", 173)]
        pairs = importer.make_pairs(sets, False, 0, None)
        assert copy_mae(pairs, RGBN, Rules(), clear_only=False) == pytest.approx(0.0383, abs=1e-4)

    def test_grid_is_kept_and_radar_ends_short_of_it(self):
        sets = import_layouts.two_dates(Path(DATA) / "two_dates")
        grid = importer.site_grid(sets, "B04", Rules())
        assert grid.epsg == 4326 and grid.shape == (264, 264)
        red = raster.info(sets[0].s2.plane("B04").path)
        assert replace(red.grid) == grid
        vv = importer.load_s1(sets[0].s1, grid, Rules())["VV"]
        assert np.isnan(vv[:, -2:]).all() and np.isnan(vv[-2:]).all() and np.isfinite(vv[:-2, :-2]).all()

    def test_configuration_without_permission_is_refused(self, tmp_path):
        import subprocess

        root = Path(__file__).parents[2]
        text = (root / "confs/real_two_dates.yaml").read_text()
        assert "allow_mixed_orbit: true" in text
        text = text.replace("allow_mixed_orbit: true", "allow_mixed_orbit: false").replace(
            "work/real_two_dates", str(tmp_path / "work")
        )
        (tmp_path / "default.yaml").write_text((root / "confs/default.yaml").read_text())
        (tmp_path / "conf.yaml").write_text(text)
        codes = []
        for stage in ("import_data", "tile", "build_dataset"):
            result = subprocess.run(
                [root / "s2cr", stage, tmp_path / "conf.yaml"], capture_output=True, text=True, check=False
            )
            codes.append(result.returncode)
        assert codes == [0, 0, 65]
        assert "track 107 descending" in result.stderr and "track 173 ascending" in result.stderr


def item_of(**values):
    facts = {"date": "d", "sensor": "sentinel1", "name": None, "files": ("a.tif",), "bands": ("VV", "VH"), "time_index": None,
             "site": None, "acquired": "2020-01-01T00:00:00Z", "relative_orbit": 9, "direction": "ascending"}  # fmt: skip
    return type("Item", (), {**facts, **values})


def test_listed_items_of_several_sites_and_passes():
    optical = item_of(sensor="sentinel2", bands=("B04",), acquired="2020-01-09T00:00:00")
    passes = [item_of(acquired=f"2020-01-{day:02d}T00:00:00Z") for day in (1, 7, 13)]
    with pytest.raises(ConfigError, match=r"second sentinel1 item"):
        import_layouts.listed([optical, *passes], Path(), "s", None)
    (found,) = import_layouts.listed([optical, *passes], Path(), "s", None, s1_average=2)
    assert [m.start for m in found.s1.members] == ["2020-01-07T00:00:00", "2020-01-13T00:00:00"]
    assert [m.name for m in found.s1.members] == ["sentinel1_d_2", "sentinel1_d_3"]
    two = import_layouts.listed([item_of(site="fire1"), item_of(site="fire2", date="e")], Path(), "s", None)
    assert [(d.id, d.site, d.s1.site) for d in two] == [("d", "fire1", "fire1"), ("e", "fire2", "fire2")]
    with pytest.raises(ConfigError, match="date d is at two sites"):
        import_layouts.listed([item_of(site="fire1"), item_of(site="fire2")], Path(), "s", None)


def test_listed_items_errors():
    item = type("Item", (), {"date": "d", "sensor": "sentinel2", "name": None, "files": ("a.tif", "b.tif"), "bands": ("B02",), "time_index": None, "site": None,
                             "acquired": "2020-01-01T00:00:00Z", "relative_orbit": None, "direction": None})  # fmt: skip
    with pytest.raises(ConfigError, match="2 files and 1 bands"):
        import_layouts.listed([item], Path(), "s", None)
    item.bands = ("B02", "SCL")
    with pytest.raises(ConfigError, match="no sentinel1 item"):
        import_layouts.listed([item], Path(), "s", "SCL")
    item.sensor = "sentinel1"
    (found,) = import_layouts.listed([item], Path("root"), "s", "SCL")
    assert (
        found.s2 is None
        and [p.name for p in found.s1.planes] == ["B02", CLOUD]
        and found.s1.start == "2020-01-01T00:00:00"
    )
    with pytest.raises(ConfigError, match="second sentinel1"):
        import_layouts.listed([item, item], Path(), "s", None)
    item.acquired = "yesterday"
    with pytest.raises(ConfigError, match="ISO 8601"):
        import_layouts.listed([item], Path(), "s", None)
