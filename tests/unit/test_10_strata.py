"""Strata by hand: lags, what a composite holds, classes, slopes and directions."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pytest

from utils.science import composite, strata

EDGES = (16, 32, 64)


@pytest.mark.parametrize(
    ("days", "label"),
    [(0, "0-15 d"), (15, "0-15 d"), (16, "16-31 d"), (-31, "16-31 d"), (63, "32-63 d"), (64, "64+ d")],
)
def test_lags(days: int, label: str) -> None:
    first = dt.date(2020, 3, 1)
    assert strata.lag_label(first, first + dt.timedelta(days), EDGES) == f"lag:{label}"


def test_a_lag_without_a_day_or_edges() -> None:
    day = dt.date(2020, 3, 1)
    assert strata.lag_label(None, day, EDGES) == "lag:unknown" and strata.lag_label(day, day, ()) == "lag:0+ d"


def test_order() -> None:
    names = ["slope:25-35 deg", "lag:64+ d", "all", "class:wood", "aspect:flat", "lag:0-15 d", "changed", "slope:0-10 deg",
             "class:grass", "aspect:N", "source:clear", "lag:16-63 d", "lag:unknown", "unchanged"]  # fmt: skip
    assert strata.order_of(names) == [
        "all", "changed", "unchanged", "lag:0-15 d", "lag:16-63 d", "lag:64+ d", "lag:unknown", "source:clear",
        "class:grass", "class:wood", "slope:0-10 deg", "slope:25-35 deg", "aspect:N", "aspect:flat",
    ]  # fmt: skip
    assert strata.kind_of("class:a:b") == "class" and strata.kind_of("changed") == "" == strata.kind_of("other:x")


def test_sources_are_those_of_the_composite() -> None:
    cloud = np.zeros((60, 70), np.uint8)
    cloud[20:30, 25:40], cloud[50, 5], cloud[0:3, 60:], cloud[40, 40:45] = 1, 2, 255, 3
    image = np.random.default_rng(0).random((2, 60, 70))
    _, source = composite.composite(image, image + 0.1, np.isin(cloud, composite.HIDDEN_CODES), strata.FEATHER_PX)
    found = strata.source_strata(cloud, 6)
    inner, known = source[6:-6, 6:-6], cloud[6:-6, 6:-6] != 255
    for name, code in (
        ("under_cloud", composite.SIMULATED),
        ("feather", composite.FEATHERED),
        ("clear", composite.OBSERVED),
    ):
        np.testing.assert_array_equal(found[f"source:{name}"], (inner == code) & known)
    assert found["source:clear"].any() and found["source:feather"].sum() > 100
    assert found["source:feather"][44, :5].all()  # a pixel of shadow outside the piece feathers into it
    assert all(mask.any() == (name == "source:clear") for name, mask in strata.source_strata(0 * cloud, 6).items())


def test_classes() -> None:
    codes = np.array([[1, 2], [300, 65535]], np.uint16)
    found = strata.class_strata(codes, {1: "water", 300: "forest"}, 65535)
    assert {name: mask.tolist() for name, mask in found.items()} == {
        "class:water": [[True, False], [False, False]], "class:class 2": [[False, True], [False, False]],
        "class:forest": [[False, False], [True, False]],
    }  # fmt: skip


@pytest.mark.parametrize(("east", "north", "towards"), [
    (0, -1, 0), (-1, -1, 45), (-1, 0, 90), (0, 1, 180), (1, 0, 270), (1, -1, 315),
])  # fmt: skip
def test_direction_of_a_plane(east: int, north: int, towards: float) -> None:
    """A plane that rises to the south looks north."""
    y, x = -np.mgrid[:5, :6][0], np.mgrid[:5, :6][1]
    height = 20.0 * (0.3 * east * x + 0.3 * north * y)
    slope, aspect = strata.slope_aspect_deg(height, 20.0, 20.0)
    assert slope.shape == (3, 4)
    np.testing.assert_allclose(slope, np.degrees(np.arctan(0.3 * np.hypot(east, north))), atol=1e-9)
    np.testing.assert_allclose((aspect - towards + 180) % 360 - 180, 0, atol=1e-9)


def test_pixels_that_are_not_square() -> None:
    height = np.mgrid[:4, :4][1] * 5.0
    slope, _ = strata.slope_aspect_deg(height, 10.0, 40.0)
    np.testing.assert_allclose(slope, np.degrees(np.arctan(0.5)))


@pytest.mark.parametrize(
    ("tangent_deg", "label"), [(9.99, "0-10 deg"), (10.01, "10-25 deg"), (34.9, "25-35 deg"), (50, "35-90 deg")]
)
def test_slope_classes_partition_the_ground(tangent_deg: float, label: str) -> None:
    height = np.mgrid[:6, :6][0] * 10.0 * np.tan(np.radians(tangent_deg))
    height[0, 0] = np.nan
    found = strata.terrain_strata(height, 10.0, 10.0)
    known = np.ones((4, 4), bool)
    known[0, 0] = False
    np.testing.assert_array_equal(found[f"slope:{label}"], known)
    for kind, count in (("slope", 4), ("aspect", 9)):
        masks = [mask for name, mask in found.items() if strata.kind_of(name) == kind]
        assert len(masks) == count
        np.testing.assert_array_equal(np.sum(masks, axis=0), known.astype(int))
    np.testing.assert_array_equal(found["aspect:N"], known)  # heights grow southwards


def test_north_spans_both_ends_of_the_circle_and_flat_has_no_direction() -> None:
    y, x = -np.mgrid[:4, :4][0], np.mgrid[:4, :4][1]
    for degrees, label in ((338, "N"), (22, "N"), (23, "NE"), (337, "NW")):
        down = np.radians(degrees)
        height = -10.0 * (np.sin(down) * x + np.cos(down) * y)
        assert strata.terrain_strata(height, 10.0, 10.0)[f"aspect:{label}"].all(), degrees
    assert strata.terrain_strata(np.ones((4, 4)), 10.0, 10.0)["aspect:flat"].all()
