"""Small Earth Engine collections for tests: seeded images with clouds, their shadows, water, snow and swath edges."""

from __future__ import annotations

import datetime as dt
from typing import Any

import numpy as np

from tests.fakes.ee_eval import World, source_image
from utils.io import gee_graph
from utils.science.cloud_score import TOA_BANDS

SHAPE = (90, 110)
AREA = [[[149.0, -35.0], [149.1, -35.0], [149.1, -35.1], [149.0, -35.1], [149.0, -35.0]]]
RING = [[148.9, -34.9], [149.9, -34.9], [149.9, -35.9], [148.9, -35.9], [148.9, -34.9]]
GEOMETRY = {"type": "Polygon", "coordinates": AREA}


def inside() -> np.ndarray:
    """The area: a part of the pixels that is no rectangle."""
    rows, cols = np.indices(SHAPE)
    return (rows - 45) ** 2 / 1600 + (cols - 50) ** 2 / 2100 < 1


def digital_numbers(seed: int) -> dict[str, np.ndarray]:
    """L1C digital numbers (0..10000) of a place with clouds, dark patches, a lake and snow; the swath ends in the west."""
    rng = np.random.default_rng(seed)
    clear = {"B1": 1200, "B2": 1000, "B3": 1000, "B4": 800, "B8": 3000, "B10": 20, "B11": 2000, "B12": 1000}
    cloud = {"B1": 5000, "B2": 5500, "B3": 5500, "B4": 5500, "B8": 6000, "B10": 500, "B11": 4000, "B12": 3000}
    dark = {"B1": 1000, "B2": 700, "B3": 500, "B4": 400, "B8": 900, "B10": 20, "B11": 800, "B12": 500}
    water = {"B1": 1000, "B2": 700, "B3": 600, "B4": 500, "B8": 200, "B10": 20, "B11": 100, "B12": 80}
    snow = {"B1": 6000, "B2": 7000, "B3": 7000, "B4": 7000, "B8": 6500, "B10": 30, "B11": 500, "B12": 400}
    bands = {name: rng.normal(clear[name], clear[name] * 0.1, SHAPE) for name in TOA_BANDS}
    for spectrum, size, count in ((dark, 14, 5), (water, 12, 2), (snow, 10, 1), (cloud, 18, 3)):
        for _ in range(count):
            row, col = rng.integers(0, SHAPE[0] - size), rng.integers(0, SHAPE[1] - size)
            for name in TOA_BANDS:
                part = rng.normal(spectrum[name], spectrum[name] * 0.15, (size, size))
                bands[name][row : row + size, col : col + size] = part
    edge = 8 + (np.arange(SHAPE[0]) // 9)[:, None] > np.arange(SHAPE[1])[None, :]
    return {name: np.where(edge, np.nan, np.clip(np.rint(band), 1, 12000)) for name, band in bands.items()}


def surface_bands(toa: dict[str, np.ndarray], seed: int) -> dict[str, np.ndarray]:
    """L2A digital numbers and classes of the same place."""
    rng = np.random.default_rng(seed)
    bands = {name: np.rint(band * 0.9) for name, band in toa.items() if name != "B10"}
    bands["SCL"] = np.where(np.isfinite(toa["B2"]), rng.integers(0, 12, SHAPE), np.nan)
    return bands


def s2_properties(index: str, tile: str, level: str, cloud: float = 10.0, baseline: str = "0500") -> dict[str, Any]:
    """Properties of an image; the start in the name is the first part of the index."""
    start, time, _ = index.split("_")
    dotted = f"{baseline[:2]}.{baseline[2:]}"
    taken = dt.datetime.strptime(time, "%Y%m%dT%H%M%S").replace(tzinfo=dt.UTC)
    return {
        "PRODUCT_ID": f"S2A_MSI{level}_{start}_N{baseline}_R030_T{tile}_{start[:8]}T235959",
        "CLOUDY_PIXEL_PERCENTAGE": cloud, "MGRS_TILE": tile, "SENSING_ORBIT_NUMBER": 30,
        "SENSING_ORBIT_DIRECTION": "DESCENDING", "DATATAKE_IDENTIFIER": f"GS2A_{start}_023718_N{dotted}",
        "PROCESSING_BASELINE": dotted, "MEAN_SOLAR_AZIMUTH_ANGLE": 62.5, "MEAN_SOLAR_ZENITH_ANGLE": 27.25,
        "system:index": index, "system:time_start": taken.timestamp() * 1000 + 500,
        "system:footprint": {"type": "LinearRing", "coordinates": RING},
    }  # fmt: skip


def make_world(indices: dict[str, int], csp: tuple[str, ...], probability: tuple[str, ...],
               toa: tuple[str, ...] | None = None) -> World:  # fmt: skip
    """Collections with these images: index -> seed. csp, probability, toa: which of them the other collections hold."""
    collections: dict[str, list[Any]] = {name: [] for name in (
        *gee_graph.S2.values(), gee_graph.CLOUD_SCORE_PLUS, gee_graph.CLOUD_PROBABILITY, gee_graph.S1_GRD)}  # fmt: skip
    for index, seed in indices.items():
        tile = index.split("_")[2][1:]
        dn, rng = digital_numbers(seed), np.random.default_rng(seed + 1000)
        valid = np.isfinite(dn["B2"])
        collections[gee_graph.S2["L2A"]].append(
            source_image(s2_properties(index, tile, "L2A"), surface_bands(dn, seed))
        )
        if toa is None or index in toa:
            collections[gee_graph.S2["L1C"]].append(source_image(s2_properties(index, tile, "L1C"), dn))
        if index in csp:
            bands = {"cs": np.where(valid, rng.uniform(0, 1, SHAPE) ** 0.3, np.nan)}
            collections[gee_graph.CLOUD_SCORE_PLUS].append(source_image({"system:index": index}, bands))
        if index in probability:
            bands = {"probability": np.where(dn["B2"] > 3500, 90.0, np.where(valid, rng.uniform(0, 30, SHAPE), np.nan))}
            collections[gee_graph.CLOUD_PROBABILITY].append(source_image({"system:index": index}, bands))
    return World(collections, inside(), AREA)


def planes(world: World, collection: str, index: str) -> dict[str, np.ndarray]:
    """The 20 m arrays of an image of the world."""
    image = next(i for i in world.collections[collection] if i.properties["system:index"] == index)
    return {name: plane.data for name, plane in image.at(20).items()}
