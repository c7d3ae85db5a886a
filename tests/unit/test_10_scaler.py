"""Normalisation against scikit-learn, hand computation and its own inverse."""

import json

import numpy as np
import pytest
from sklearn.preprocessing import StandardScaler

from utils.science import scaler as module
from utils.science.moments import Moments
from utils.science.sar import to_db
from utils.science.scaler import Scaler, ScalerError, list_digest, sample_moments

SAR, OPTICAL = ("VV", "VH"), ("B04", "B03", "B02", "B08", "B12")


def made_up(n=14, size=12, seed=0):
    """Samples with planted nodata and non-positive power."""
    rng = np.random.default_rng(seed)
    out = []
    for _ in range(n):
        s1 = rng.gamma(4, 0.03, (2, size, size, 2)).astype(np.float32)
        s1[rng.random(s1.shape) < 0.02] = 0.0
        s2 = rng.beta(2, 8, (2, size, size, len(OPTICAL))).astype(np.float32)
        s2[0, :2] = np.nan
        use = rng.random((2, size, size)) < 0.8
        out.append((s1, s2, use))
    return out


def moments_of(samples):
    return [
        sample_moments([(s1[0], use[0]), (s1[1], use[0])], [(s2[0], use[0]), (s2[1], use[1])], SAR, OPTICAL, 5)
        for s1, s2, use in samples
    ]


@pytest.fixture(scope="module")
def samples():
    return made_up()


@pytest.fixture(scope="module")
def standard(samples):
    return Scaler.fit(moments_of(samples), SAR, OPTICAL, 0.2, 1 / 7, train_sha256=list_digest(["a"]))


def test_equals_scikit_learn(samples, standard):
    def pooled(index, bands):
        values = np.concatenate([s2[i][use[i]][:, bands].ravel() for _, s2, use in samples for i in (0, 1)])
        return StandardScaler().fit(values[np.isfinite(values)].astype(np.float64)[:, None])

    for name, bands in (("R,G,B", [0, 1, 2]), ("NIR", [3]), ("B12", [4])):
        reference, group = pooled(0, bands), next(g for g in standard.groups if g.name == name)
        assert group.mean == pytest.approx(reference.mean_[0], abs=1e-9)
        assert group.std == pytest.approx(reference.scale_[0], abs=1e-9)
    db = np.concatenate([module.sar_db(s1[i], 5)[0][use[0]][:, 1] for s1, _, use in samples for i in (0, 1)])
    reference = StandardScaler().fit(db.astype(np.float64)[:, None])
    group = next(g for g in standard.groups if g.name == "VH")
    assert (group.mean, group.std) == pytest.approx((reference.mean_[0], reference.scale_[0]), abs=1e-9)
    assert group.n == db.size and group.unit == "dB" and group.factor == 0.2


def test_group_names_and_published_channel_order(standard):
    assert [(g.name, g.bands) for g in standard.groups] == [
        ("VV", ("VV",)), ("VH", ("VH",)), ("R,G,B", ("B04", "B03", "B02")), ("NIR", ("B08",)), ("B12", ("B12",)),
    ]  # fmt: skip
    assert standard.input_names[:8] == ("VV_t0", "VH_t0", "VV_t1", "VH_t1", "B04_t0", "B03_t0", "B02_t0", "B08_t0")
    assert (standard.n_inputs, standard.n_outputs) == (9, 5)


def test_one_and_seven_parts_give_the_same_json(samples):
    parts = moments_of(samples)
    one = Scaler.fit(parts, SAR, OPTICAL, 0.2, 1 / 7).to_json()
    dealt = [m for i in range(7) for m in parts[i::7]]
    assert dealt != parts
    seven = Scaler.fit(dealt, SAR, OPTICAL, 0.2, 1 / 7).to_json()
    assert json.dumps(one, sort_keys=True) == json.dumps(seven, sort_keys=True)


def test_merge_equals_moments_of_the_union():
    rng = np.random.default_rng(1)
    values = [rng.normal(1e4, 1e-2, n) for n in (5, 1000, 1, 77)]  # mean far above spread: sums of squares would fail
    merged, whole = Moments.merge(Moments.of(v) for v in [*values, np.empty(0)]), np.concatenate(values)
    assert merged.n == whole.size
    assert merged.mean == pytest.approx(whole.mean(), rel=1e-15)
    assert merged.std == pytest.approx(whole.std(), rel=1e-8)


def test_zero_spread_names_the_band(samples):
    flat = [(s1, np.where(np.arange(5) == 4, 0.25, s2).astype(np.float32), use) for s1, s2, use in samples]
    with pytest.raises(ScalerError, match="B12"):
        Scaler.fit(moments_of(flat), SAR, OPTICAL, 0.2, 1 / 7)
    with pytest.raises(ScalerError, match="VV"):
        Scaler.fit([], SAR, OPTICAL, 0.2, 1 / 7)


def test_standard_values_by_hand(standard):
    s1 = np.full((3, 3, 2), 0.1, np.float32)
    s2 = np.full((3, 3, 5), 0.3, np.float32)
    x, valid = standard.network_input(s1, 10 * s1, s2)
    group = {g.name: g for g in standard.groups}
    assert x[1, 1, 0] == pytest.approx(0.2 * (-10 - group["VV"].mean) / group["VV"].std, rel=1e-6)
    assert x[1, 1, 3] == pytest.approx(0.2 * (0 - group["VH"].mean) / group["VH"].std, rel=1e-6)
    assert x[1, 1, 7] == pytest.approx((0.3 - group["NIR"].mean) / group["NIR"].std / 7, rel=1e-5)
    assert valid.all() and x.dtype == np.float32 and x.shape == (3, 3, 9)


def test_fixed_values_by_hand():
    fixed = Scaler.fixed(SAR, OPTICAL)
    s1_t0 = np.zeros((2, 2, 2), np.float32)
    s1_t0[...] = 10 ** (np.array([-12.5, -16.25]) / 10)
    s1_t1 = s1_t0 * np.float32(10**0.3)  # 3 dB up
    s1_t1[0, 0, 0] = 10.0  # 10 dB: clipped to 0
    s2 = np.full((2, 2, 5), 0.4, np.float32)
    s2[0, 1, 0] = 1.7
    x, valid = fixed.network_input(s1_t0, s1_t1, s2, {"VV": 1.0, "VH": -1.0})
    assert fixed.input_names == (
        "VV_t0",
        "VH_t0",
        "VV_t1",
        "VH_t1",
        "dVV",
        "dVH",
        "B04_t0",
        "B03_t0",
        "B02_t0",
        "B08_t0",
        "B12_t0",
        "valid",
    )
    np.testing.assert_allclose(x[1, 1], [0, 0, 3 / 12.5, 3 / 16.25, 2 / 6, 4 / 6, 1, 1, 1, 1, 1, 1], atol=2e-6)
    assert x[0, 0, 2] == 1.0 and x[0, 0, 4] == 1.0  # both clips
    assert x[0, 1, 6] == pytest.approx(3.4)  # reflectance cut at 1
    assert valid.all()
    np.testing.assert_allclose(
        fixed.apply_label(np.array([[[0.0, 0.15, 0.4, 1.0, 2.0]]], np.float32)), [[[-0.6, 0, 1, 3.4, 3.4]]], atol=1e-6
    )
    assert (fixed.apply_label(s2, clip=True) <= 1).all()


@pytest.mark.parametrize("mode", ["standard", "fixed"])
def test_inverse_and_round_trip(mode, standard):
    scaler = standard if mode == "standard" else Scaler.fixed(SAR, OPTICAL, fill_k=3, code="x")
    y = np.random.default_rng(0).random((6, 5, 5)).astype(np.float32)
    np.testing.assert_allclose(scaler.invert_label(scaler.apply_label(y)), y, atol=1e-6)
    again = Scaler.from_json(json.loads(json.dumps(scaler.to_json())))
    assert again == scaler
    np.testing.assert_array_equal(again.apply_label(y), scaler.apply_label(y))


@pytest.mark.parametrize("mode", ["standard", "fixed"])
def test_no_nan_outside_nodata(mode, standard):
    scaler = standard if mode == "standard" else Scaler.fixed(SAR, OPTICAL)
    s1, s2, _ = made_up(1)[0]
    s1[0, 5, 5] = -0.2
    s1[1, 3, 3] = np.nan  # nodata, stays
    x, valid = scaler.network_input(s1[0], s1[1], s2[0], {"VV": 0.0, "VH": 0.0})
    assert np.isfinite(x).all()
    expected = np.isfinite(s2[0]).all(-1)
    expected[3, 3] = False
    np.testing.assert_array_equal(valid, expected)


def test_errors():
    fixed = Scaler.fixed(SAR, OPTICAL)
    with pytest.raises(ScalerError, match="VV, VH"):
        fixed.network_input(np.ones((2, 2, 2)), np.ones((2, 2, 2)), np.ones((2, 2, 5)))
    with pytest.raises(ScalerError, match="4 channels"):
        fixed.apply_label(np.ones((2, 2, 4), np.float32))
    with pytest.raises(ScalerError, match="schema"):
        Scaler.from_json({"schema": "other"})
    with pytest.raises(ScalerError, match="B12"):
        Scaler.from_json({**fixed.to_json(), "groups": [g for g in fixed.to_json()["groups"] if g["unit"] == "dB"]})
    with pytest.raises(ScalerError, match="the data VV"):
        fixed.check_bands(SAR, OPTICAL[:4])
    assert fixed.clipped_share(np.array([[[0.1, 0.1, 0.1, 0.5, np.nan]]], np.float32)) == 0.25


def test_fill_happens_before_decibels():
    power = np.full((5, 5, 2), 0.05, np.float32)
    power[2, 2] = 0.0
    db, n = module.sar_db(power, 5)
    np.testing.assert_allclose(db, to_db(np.full((5, 5, 2), 0.05)), rtol=1e-6)
    assert n == 2


def test_impossible_fills_are_counted_and_stay_nan():
    power = np.full((6, 6, 2), 0.05, np.float32)
    power[..., 1] = -0.01
    power[0, :4, 1] = 0.02  # four good pixels, five are needed
    power[5, :, :] = np.nan  # outside the swath: not counted
    db, filled = module.sar_db(power, 5)
    assert filled == 0 and module.unfilled(power, db) == 5 * 6 - 4
    assert np.isnan(db[..., 1]).sum() == 36 - 4 and np.isfinite(db[:5, :, 0]).all()
    db, filled = module.sar_db(power, 4)
    assert (filled, module.unfilled(power, db)) == (26, 0)


def test_the_fill_of_a_tile_keeps_planted_zeros_and_negatives_out_of_the_network(standard):
    """No NaN or infinity outside nodata, in both modes, for any planted mixture."""
    rng = np.random.default_rng(6)
    s1 = rng.gamma(4, 0.03, (2, 32, 32, 2)).astype(np.float32)
    s1[rng.random(s1.shape) < 0.3] = 0.0
    s1[rng.random(s1.shape) < 0.1] = -0.004
    s2 = rng.beta(2, 8, (32, 32, 5)).astype(np.float32)
    for scaler in (standard, Scaler.fixed(SAR, OPTICAL)):
        x, valid = scaler.network_input(s1[0], s1[1], s2, {"VV": 0.0, "VH": 0.0})
        assert valid.all() and np.isfinite(x).all() and np.abs(x[..., :4]).min() > 0


def test_dates_are_in_json_and_checked(standard):
    fixed = Scaler.fixed(SAR, OPTICAL, n_dates=3)
    again = Scaler.from_json(json.loads(json.dumps(fixed.to_json())))
    assert again == fixed and again.n_dates == 3 and fixed.to_json()["dates"] == ["t0", "t1", "t2"]
    assert fixed.n_inputs == 6 + 2 + 10 + 1
    old = {key: value for key, value in standard.to_json().items() if key != "dates"}
    assert Scaler.from_json(old) == standard  # written before there were more than two dates
    with pytest.raises(ScalerError, match="for 3 dates, the data have 2"):
        fixed.check_bands(SAR, OPTICAL, 2)
    ones = np.ones((2, 2, 2), np.float32)
    with pytest.raises(ScalerError, match="for 3 dates, the data have 2"):
        fixed.network_input(ones, ones, np.ones((2, 2, 5), np.float32), {"VV": 0.0, "VH": 0.0})
