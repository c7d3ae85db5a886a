"""Windows of dates, filters and the dataset reader: values and clear errors."""

from __future__ import annotations

import json

import numpy as np
import pytest

from utils.io import raster, samples
from utils.io.acquisitions import Acquisition
from utils.io.cutter import DateRasters
from utils.io.placing import Digests
from utils.science.filters import Limits, ds1_median_db, judge
from utils.science.grid import Grid, Window
from utils.workflow.errors import InputError

GRID = Grid(32755, 700000.0, 6100000.0, 10.0, -10.0, 20, 30)


def product(root, sensor, name, grid, value, columns):
    """Constant value in `columns`, no data elsewhere."""
    here = np.zeros(grid.shape, bool)
    here[:, columns] = True
    folder = root / sensor / name
    data = np.where(here, value, np.nan).astype(np.float32)
    if sensor == "sentinel1":
        raster.write(folder / "gamma0_vv.tif", data, grid)
        raster.write(folder / "gamma0_vh.tif", data / 4, grid)
        raster.write(folder / "mask.tif", np.where(here, int(value * 10), 4).astype(np.uint8), grid)
    else:
        raster.write(folder / "B04.tif", data, grid)
        raster.write(folder / "cloud.tif", np.where(here, 1 if value > 0.3 else 0, 255).astype(np.uint8), grid)


def test_first_product_with_data_wins(tmp_path):
    product(tmp_path, "sentinel1", "A", GRID, 0.1, slice(0, 18))
    product(tmp_path, "sentinel1", "B", GRID, 0.2, slice(12, 25))
    product(tmp_path, "sentinel2", "C", GRID, 0.2, slice(0, 10))
    product(tmp_path, "sentinel2", "D", GRID, 0.4, slice(5, 30))
    with DateRasters(tmp_path, Acquisition("d", ("A", "B"), ("C", "D"), {}), ("B04",)) as rasters:
        cut = rasters.cut(Window(2, 3, 4, 27))
    vv, columns = cut.sar[0, 0], np.arange(3, 30)
    np.testing.assert_array_equal(
        vv, np.select([columns < 18, columns < 25], [np.float32(0.1), np.float32(0.2)], np.float32(np.nan))
    )
    np.testing.assert_array_equal(cut.mask[1, 0], np.select([columns < 18, columns < 25], [1, 2], 4))
    np.testing.assert_array_equal(cut.optical[0, 0], np.where(columns < 10, np.float32(0.2), np.float32(0.4)))
    np.testing.assert_array_equal(cut.mask[0, 0], np.where(columns < 10, 0, 1))


def test_date_without_optical_image_gives_nodata(tmp_path):
    product(tmp_path, "sentinel1", "A", GRID, 0.1, slice(0, 30))
    with DateRasters(tmp_path, Acquisition("d", ("A",), (), {}), ("B04", "B03")) as rasters:
        cut = rasters.cut(Window(0, 0, 20, 30))
    assert cut.optical.shape == (2, 20, 30) and np.isnan(cut.optical).all() and (cut.mask[0] == 255).all()


def test_rasters_on_another_grid_are_refused(tmp_path):
    product(tmp_path, "sentinel1", "A", GRID, 0.1, slice(0, 30))
    product(tmp_path, "sentinel2", "C", Grid(32755, 700000.0, 6100000.0, 10.0, -10.0, 20, 29), 0.2, slice(0, 29))
    with pytest.raises(InputError, match=r"20 x 29 px.*20 x 30 px"):
        DateRasters(tmp_path, Acquisition("d", ("A",), ("C",), {}), ("B04",))
    with pytest.raises(InputError, match="no such file"):
        DateRasters(tmp_path, Acquisition("d", ("A",), ("C",), {}), ("B12",))


LIMITS = Limits(0.7, 20, False, 0.3, 0.95, 0.05, 0.02)


def tile(seed=0):
    rng = np.random.default_rng(seed)
    s1 = rng.uniform(0.05, 0.2, (2, 2, 16, 16)).astype(np.float32)
    s2 = rng.uniform(0.05, 0.4, (2, 4, 16, 16)).astype(np.float32)
    return s1, s2, np.zeros((2, 16, 16), np.uint8), np.ones((16, 16), bool)


def verdict(s1, s2, cloud, owned, limits=LIMITS):
    return judge((s1[0], s1[1]), (s2[0], s2[1]), (cloud[0], cloud[1]), owned, limits)


def test_filters_by_hand():
    s1, s2, cloud, owned = tile()
    s2[1] = s2[0]
    s2[1, :, :4] += 0.03  # a quarter of the pixels changed
    s2[1, :, 4:8] += 0.01
    good = verdict(s1, s2, cloud, owned)
    assert (good.skip, good.reason, good.changed, good.clear_t0, good.sar_filled) == ("", None, 0.25, 1.0, 0.0)
    owned[:8] = False
    assert verdict(s1, s2, cloud, owned).changed == 0.0  # counted in the owned part only
    cloud[1, :2, :10] = 1  # exactly 20 px are allowed
    assert verdict(s1, s2, cloud, owned).reason is None
    cloud[1, 2, 0] = 2
    assert verdict(s1, s2, cloud, owned).reason.startswith("cloud t1: 21 px")
    assert verdict(s1, s2, cloud, owned, Limits(0.7, 20, True, 0.3, 0.95, 0.05, 0.02)).reason is None
    cloud[1] = 1
    cloud[1, :4] = 0  # 25 % clear
    assert (
        verdict(s1, s2, cloud, owned, Limits(0.7, 20, True, 0.3, 0.95, 0.05, 0.02)).reason
        == "label: 25 % clear, at least 30 %"
    )


def test_partly_cloudy_inputs_train_only_where_asked_for():
    s1, s2, cloud, owned = tile()
    cloud[0, :8] = 1  # half of t0
    assert verdict(s1, s2, cloud, owned).skip == "cloud t0: 128 px of cloud and shadow, at most 20"
    labels = Limits(0.7, 20, True, 0.3, 0.95, 0.05, 0.02)
    assert verdict(s1, s2, cloud, owned, labels).skip.startswith("cloud t0")  # keep_clouds is for labels
    inputs = Limits(0.7, 20, True, 0.3, 0.95, 0.05, 0.02, keep_clouds_t0=True)
    kept = verdict(s1, s2, cloud, owned, inputs)
    assert (kept.skip, kept.reason, kept.train_only, kept.clear_t0) == ("", None, True, 0.5)
    cloud[0, :12] = 2
    assert verdict(s1, s2, cloud, owned, inputs).skip == "clear t0: 25 %, at least 30 %"
    cloud[0] = 0
    assert not verdict(s1, s2, cloud, owned, inputs).train_only


def test_three_dates_are_judged_by_all_inputs_and_the_last_label():
    rng = np.random.default_rng(1)
    s1 = rng.uniform(0.05, 0.2, (3, 2, 16, 16)).astype(np.float32)
    s2 = np.repeat(rng.uniform(0.05, 0.4, (1, 4, 16, 16)), 3, axis=0).astype(np.float32)
    cloud, owned = np.zeros((3, 16, 16), np.uint8), np.ones((16, 16), bool)
    s2[2, :, :4] += 0.03  # between the last two dates a quarter changed, before that everything
    s2[0] += 0.2
    good = judge(list(s1), list(s2), list(cloud), owned, LIMITS)
    assert (good.skip, good.reason, good.changed) == ("", None, 0.25)
    cloud[1, :2] = 1
    assert (
        judge(list(s1), list(s2), list(cloud), owned, LIMITS).skip == "cloud t1: 32 px of cloud and shadow, at most 20"
    )
    cloud[1], cloud[2, :2] = 0, 2
    said = judge(list(s1), list(s2), list(cloud), owned, LIMITS)
    assert said.reason == "cloud t2: 32 px of cloud and shadow in the label, at most 20" and said.clear_t1 == 0.875
    s1[1, 0, :2] = np.nan
    assert judge(list(s1), list(s2), list(cloud), owned, LIMITS).skip.startswith("nodata: 12.5 %")


def test_every_reason_belongs_to_a_key_of_the_configuration():
    from utils.science.filters import FILTERS, filter_of
    from utils.workflow.schema import DatasetConf

    assert set(FILTERS.values()) - {"no_label"} <= set(DatasetConf.model_fields)
    for reason, name in {
        "nodata: 6.2 % of": "min_valid", "zeros: 50": "min_nonzero", "SAR: 12": "max_sar_filled", "cloud t0: 25": "max_cloud_px",
        "cloud t12: 21 px": "max_cloud_px", "clear t1: 2 %": "min_clear", "label nodata: 3": "min_valid",
        "label zeros: 3": "min_nonzero", "label: 25 % clear": "min_clear", "no label": "no_label",
    }.items():  # fmt: skip
        assert filter_of(reason) == name


def test_a_nodata_tag_is_not_nodata(tmp_path):
    """A raster may declare a nodata value that no pixel has, and lack the tag where pixels are missing."""
    s1, s2, cloud, owned = tile()
    grid = Grid(32755, 0, 0, 10, -10, 16, 16)
    for name, value in (("tagged", 0.3), ("tagged_nan", np.nan)):
        raster.write(tmp_path / f"{name}.tif", s2[0], grid, nodata=value)
        assert raster.info(tmp_path / f"{name}.tif").nodata is not None
        s2[0] = raster.read(tmp_path / f"{name}.tif")
        assert verdict(s1, s2, cloud, owned).skip == ""
    s2[0, :, :2] = np.nan
    raster.write(tmp_path / "untagged.tif", s2[0], grid)
    s2[0] = raster.read(tmp_path / "untagged.tif")
    assert raster.info(tmp_path / "untagged.tif").nodata is None
    assert verdict(s1, s2, cloud, owned).skip == "nodata: 12.5 % of the inputs, at most 5 %"


def test_bad_inputs_are_skipped_with_the_reason():
    s1, s2, cloud, owned = tile()
    s1[1, 0, :1] = np.nan  # 6.2 %
    assert verdict(s1, s2, cloud, owned).skip == "nodata: 6.2 % of the inputs, at most 5 %"
    s1, s2, cloud, owned = tile()
    s1[0, 1, :8] = -0.01  # 50 % of one of four bands
    assert verdict(s1, s2, cloud, owned).skip == "SAR: 12.5 % of the pixels are not positive, at most 5 %"
    s1, s2, cloud, owned = tile()
    s2[0, 2, :8] = 0.0
    assert verdict(s1, s2, cloud, owned).skip == "zeros: 50.0 % of an input band, at most 30 %"
    s1, s2, cloud, owned = tile()
    s2[1] = np.nan
    assert (verdict(s1, s2, cloud, owned).skip, verdict(s1, s2, cloud, owned).reason) == ("", "no label")
    assert verdict(s1, s2, cloud, owned).changed is None


def test_scene_median_ignores_what_is_not_positive():
    before = np.full((2, 4, 4), 0.1, np.float32)
    after = before * np.float32(10**0.2)
    after[0, 0, 0], before[0, 1, 1] = -1.0, np.nan
    assert ds1_median_db(before, after) == pytest.approx([2.0, 2.0], abs=1e-5)
    with pytest.raises(ValueError, match="no pixel"):
        ds1_median_db(-before, after)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (None, "no such file"),
        ("{", "not JSON"),
        ('{"schema": "other/1"}', "schema is not"),
        (json.dumps({"schema": samples.SCHEMA, "set": "all", "bands": {"sar": []}}), "incomplete"),
    ],
)
def test_index_errors(tmp_path, content, text):
    if content is not None:
        (tmp_path / "index.json").write_text(content)
    with pytest.raises(InputError, match=text) as caught:
        samples.load_index(tmp_path)
    assert "build_dataset" in caught.value.remedy


def test_sample_errors_and_order(tmp_path):
    rng = np.random.default_rng(0)
    grid = Grid(32755, 0, 0, 10, -10, 8, 8)
    arrays = {
        part: rng.random((bands, 8, 8), dtype=np.float32)
        for part, bands in {"s1_t0": 2, "s1_t1": 2, "s2_t0": 4, "s2_t1": 4}.items()
    }
    for part, array in arrays.items():
        raster.write(samples.sample_path(tmp_path, part, "p001_r0000_c0000"), array, grid)
    with pytest.raises(InputError, match="mask"):
        samples.read_sample(tmp_path, "p001_r0000_c0000")
    mask = np.zeros((4, 8, 8), np.uint8)
    mask[0, 0], mask[1, 1], mask[2, 2], mask[3, 3] = 1, 3, 16, 1
    path = samples.sample_path(tmp_path, "mask", "p001_r0000_c0000")
    raster.write(path, mask, grid)
    sample = samples.read_sample(tmp_path, "p001_r0000_c0000")
    assert sample.s2_t1[3, 5, 2] == arrays["s2_t1"][2, 3, 5] and sample.s1_t0.shape == (8, 8, 2)
    assert sample.cloud_t0[0].all() and (sample.sar_bits[2] == 16).all() and sample.window.sum() == 8
    assert not sample.clear_t0[0].any() and not sample.clear_t1[1].any() and sample.clear_t1.sum() == 56
    raster.write(path, mask[:, :4], Grid(32755, 0, 0, 10, -10, 4, 8))
    with pytest.raises(InputError, match="mask 4x8"):
        samples.read_sample(tmp_path, "p001_r0000_c0000")


def test_rasters_of_a_sample_must_share_transform_and_shape(tmp_path):
    grid = Grid(32755, 0, 0, 10, -10, 8, 8)
    for part, bands in {"s1_t0": 2, "s1_t1": 2, "s2_t0": 4, "s2_t1": 4, "mask": 4}.items():
        kind = np.uint8 if part == "mask" else np.float32
        raster.write(samples.sample_path(tmp_path, part, "a"), np.ones((bands, 8, 8), kind), grid)
    path = samples.sample_path(tmp_path, "s1_t1", "a")
    for other in (
        Grid(32755, 10, 0, 10, -10, 8, 8),
        Grid(32755, 0, 0, 10, -20, 8, 8),
    ):
        raster.write(path, np.ones((2, 8, 8), np.float32), other)
        with pytest.raises(InputError, match="not on one grid"):
            samples.read_sample(tmp_path, "a")
    raster.write(path, np.ones((2, 8, 8), np.float32), grid)
    assert samples.read_sample(tmp_path, "a").s1_t1.shape == (8, 8, 2)


def test_a_sample_that_another_thread_finishes_meanwhile_is_no_error(tmp_path, monkeypatch):
    """Seen in training: the second reader looked at the place of some rasters and not of others."""
    for part, folder in samples.folders(2).items():
        bands = 4 if part == "mask" else 2
        raster.write(tmp_path / folder / "a.tif", np.ones((bands, 8, 8), np.float32), GRID.window(Window(0, 0, 8, 8)))
    read = raster.read_placed

    def other_thread(path, place):
        found = read(path, place)
        samples._PLACED.add((str(tmp_path), "a"))
        return found

    monkeypatch.setattr(raster, "read_placed", other_thread)
    assert samples.read_arrays(tmp_path, "a")["s1_t0"].shape == (8, 8, 2)


def test_digest_of_an_empty_image_is_no_evidence(tmp_path):
    grid = Grid(32755, 0, 0, 10, -10, 8, 8)
    raster.write(samples.sample_path(tmp_path, "s2_t0", "a"), np.full((4, 8, 8), np.nan, np.float32), grid)
    raster.write(samples.sample_path(tmp_path, "s2_t1", "a"), np.arange(256, dtype=np.float32).reshape(4, 8, 8), grid)
    assert len(Digests().of(tmp_path, "a")) == 1
