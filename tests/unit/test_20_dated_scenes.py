"""Places in memory: which dates take part, and the mean of several radar acquisitions."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from utils.io import dated_scenes, import_layouts, importer, raster
from utils.io.dated_scenes import Selection
from utils.io.importer import CLOUD, Acquisition, DatedSet, Plane, Rules
from utils.science.grid import Grid
from utils.workflow.errors import NothingFoundError

DATA = os.environ.get("S2CR_DATA", "")
GRID = Grid(32631, 500000.0, 5600000.0, 10.0, -10.0, 20, 20)
RULES = Rules(s1_unit="power")
BANDS = ("B04", "B02")


def write(path: Path, plane: np.ndarray) -> Path:
    raster.write(path, plane, GRID)
    return path


def dated(folder: Path, day: str, blue: float, cloud: np.ndarray, power: tuple[float, ...] = (0.1,)) -> DatedSet:
    values = {"B04": np.full((20, 20), 1000, np.uint16), "B02": np.full((20, 20), blue * 1e4, np.uint16), CLOUD: cloud}
    planes = tuple(Plane(name, write(folder / f"{day}_{name}.tif", plane)) for name, plane in values.items())
    radar = []
    for number, level in enumerate(power):
        files = [
            write(folder / f"{day}_{band}{number}.tif", np.full((20, 20), level, np.float32)) for band in ("VV", "VH")
        ]
        radar.append(
            Acquisition("p", "sentinel1", f"r{number}", tuple(map(Plane, ("VV", "VH"), files)), f"{day}T17:00:00")
        )
    optical = Acquisition("p", "sentinel2", f"s{day}", planes, f"{day}T10:00:00")
    return DatedSet(day, "p", importer.around(radar, optical.start, len(radar)), optical)


def scl(cloudy_rows: int) -> np.ndarray:
    values = np.full((20, 20), 4, np.uint8)
    values[:cloudy_rows] = 9
    return values


def test_partly_cloudy_dates_train_and_hazy_ones_do_not(tmp_path: Path) -> None:
    sets = [
        dated(tmp_path, "2018-01-01", 0.05, scl(0)),
        dated(tmp_path, "2018-02-01", 0.05, scl(4)),  # grown by 2 px: 14 of 20 rows are left
        dated(tmp_path, "2018-03-01", 0.05, scl(7)),  # 11 of 20 rows: not more than 60 %
        dated(tmp_path, "2018-04-01", 0.12, scl(4)),  # haze
        dated(tmp_path, "2018-05-01", 0.12, scl(0)),  # sure: the classes call it clear
    ]
    place = dated_scenes.load_place(sets, BANDS, RULES, Selection(0.97, 0.6, 0.10, 2))
    assert [(s.dated.id, s.dated.clear) for s in place.scenes] == [
        ("2018-01-01", True), ("2018-02-01", False), ("2018-05-01", True),
    ]  # fmt: skip
    seen = place.scene("2018-02-01").seen
    assert not seen[:6].any() and seen[6:].all()
    assert place.shape == (20, 20) and place.scene("2018-01-01").s2[0, 0].tolist() == pytest.approx([0.1, 0.05])
    only = dated_scenes.load_place(sets, BANDS, RULES, Selection(0.97, 1.0, 0.10, 2))
    assert [s.dated.id for s in only.scenes] == ["2018-01-01", "2018-05-01"]
    with pytest.raises(NothingFoundError, match="fewer than two"):
        dated_scenes.load_place(sets[1:4], BANDS, RULES, Selection())


def test_radar_of_a_date_is_the_mean_power(tmp_path: Path) -> None:
    sets = [dated(tmp_path, "2018-01-01", 0.05, scl(0), (0.1, 0.3, 0.2)), dated(tmp_path, "2018-02-01", 0.05, scl(0))]
    place = dated_scenes.load_place(sets, BANDS, RULES, Selection())
    assert np.allclose(place.scenes[0].s1, 0.2) and np.allclose(place.scenes[1].s1, 0.1)
    assert sets[0].s1.name == "r0_mean3"


def test_grown_is_a_disk() -> None:
    mask = np.zeros((9, 9), bool)
    mask[4, 4] = True
    rows, cols = np.indices(mask.shape)
    assert np.array_equal(dated_scenes.grown(mask, 3), (rows - 4) ** 2 + (cols - 4) ** 2 <= 9)
    assert dated_scenes.grown(mask, 0) is mask


@pytest.mark.realdata
@pytest.mark.skipif(not (Path(DATA) / "pairs_belgium").is_dir(), reason="S2CR_DATA does not hold pairs_belgium")
def test_belgian_dates_and_radar_means() -> None:
    rules = Rules(s1_scale=1e-4, s1_nodata=0.0)
    root = Path(DATA) / "pairs_belgium"
    sets = import_layouts.belgium(root, "belgium", rules, 0.97, None, 4)
    place = dated_scenes.load_place(sets, ("B04", "B03", "B02", "B08"), rules, Selection())
    assert len(place.scenes) == 16 and all(scene.dated.clear for scene in place.scenes)
    first, scene = sets[0], place.scenes[0]
    assert len({member.planes[0].time_index for member in first.s1.members}) == 4
    grid = importer.site_grid(sets, "B04", rules)
    single = [importer.load_s1(member, grid, rules)["VH"] for member in first.s1.members]
    assert np.allclose(scene.s1[..., 1], np.mean(single, axis=0), rtol=1e-5)
    noise = [np.diff(10 * np.log10(image[::4, ::4]), axis=1).std() for image in (single[0], scene.s1[..., 1])]
    print(f"VH steps over 40 m: one acquisition {noise[0]:.2f} dB, mean of four {noise[1]:.2f} dB")
    assert noise[1] < noise[0]
