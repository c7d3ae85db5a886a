"""Where public samples keep their bands: folder layouts turned into acquisitions. No pixel is read here but SCL.

belgium    netCDF cubes S2_L2A_10m_*, S2_L2A_20m_*, S1_GRD-ASCENDING_20m_* of one place (variables by band, time)
finland    chips <chip>_S1_MM.tif (VV asc, VH asc, VV desc, VH desc) and <chip>_S2_MM.tif (10 bands, cloud probability)
simulator  scenes of make_scene with scene.form rasters: <site>_{S1,S2,CLOUD}_{t0,t1}.tif
two_dates  s1/<place>/<product>/{VV,VH}.tif and s2a/<place>/<scene>/B*.tif with metadata.json beside them
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from utils.io.importer import CLOUD, Acquisition, DatedSet, Plane, Rules, around, clear_share, nearest_in_time
from utils.io.netcdf import Cube
from utils.science.synth_optical import BANDS as SIMULATED
from utils.science.tracks import pass_at
from utils.workflow.errors import ConfigError, InputError, NothingFoundError

_FINE = ("B02", "B03", "B04", "B08")
_COARSE = ("B05", "B06", "B07", "B8A", "B11", "B12")
_FINLAND_S2 = ("B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12", CLOUD)
_FINLAND_S1 = {"ascending": (1, 2), "descending": (3, 4)}
_BELGIUM_LATITUDE_DEG = 50.8


def _one(root: Path, pattern: str) -> Path:
    found = sorted(root.glob(pattern))
    if len(found) != 1:
        raise InputError(
            f"{root}: {len(found)} files {pattern}, expected one.", "Set import_data.root to the folder of the sample."
        )
    return found[0]


def _folder(root: Path) -> Path:
    if not root.is_dir():
        raise InputError(f"{root}: no such folder.", "Set import_data.root, or the environment variable it uses.")
    return root


def _metadata(folder: Path) -> dict[str, Any]:
    path = folder / "metadata.json"
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: not readable as JSON ({error}).", "Fetch the sample again.") from error


def belgium(
    root: Path, site: str, rules: Rules, min_clear: float, relative_orbit: int | None, s1_average: int = 1
) -> list[DatedSet]:
    """Optical dates whose surely clear share (SCL vegetation, bare, water over the patch) is at least min_clear.

    The times of the radar series give its tracks (utils.science.tracks). All dates take the nearest acquisition in
    time of ONE track, so that no pair mixes viewing geometries: the given track, else the one whose distances to the
    optical dates add up to the least. s1_average > 1 takes the mean of so many of that track around each date.
    raises  ConfigError for a track that is not there, NothingFoundError when no date is clear enough
    """
    root = _folder(root)
    fine, coarse, radar = (_one(root, f"{stem}_*.nc") for stem in ("S2_L2A_10m", "S2_L2A_20m", "S1_GRD-ASCENDING_20m"))
    optical, shares = [], []
    for index, time in enumerate(_times(fine)):
        planes = [Plane(band, fine, 1, band, index) for band in _FINE]
        planes += [Plane(band, coarse, 1, band, index) for band in _COARSE] + [Plane(CLOUD, coarse, 1, "SCL", index)]
        scene = Acquisition(site, "sentinel2", f"S2_{time:%Y%m%dT%H%M%S}", tuple(planes), time.isoformat())
        shares.append(clear_share(scene, rules))
        if shares[-1] >= min_clear:
            optical.append(scene)
    if not optical:
        raise NothingFoundError(
            f"No optical date is clear to {min_clear:g}; the best is {max(shares):.3f}.", "Lower import_data.min_clear."
        )
    track = _tracks(radar, site)
    if relative_orbit is not None and relative_orbit not in track:
        raise ConfigError(
            f"import_data.relative_orbit: no track {relative_orbit}; there are {sorted(track)}.", "Choose one of them."
        )
    chosen = relative_orbit or min(track, key=lambda number: (_total_gap_s(optical, track[number]), number))
    return [DatedSet(f"{s2.day:%Y%m%d}", site, around(track[chosen], s2.start, s1_average), s2) for s2 in optical]


def _times(path: Path) -> list[dt.datetime]:
    with Cube(path) as cube:
        return cube.times()


def _tracks(radar: Path, site: str) -> dict[int, list[Acquisition]]:
    """Relative orbit -> its acquisitions."""
    found: dict[int, list[Acquisition]] = {}
    for index, time in enumerate(_times(radar)):
        platform, orbit = pass_at(time, _BELGIUM_LATITUDE_DEG, "ascending")
        planes = tuple(Plane(band, radar, 1, band, index) for band in ("VV", "VH"))
        name = f"{platform}_{time:%Y%m%dT%H%M%S}_R{orbit:03d}"
        found.setdefault(orbit, []).append(
            Acquisition(site, "sentinel1", name, planes, time.isoformat(), platform, "ascending", orbit)
        )
    return found


def _total_gap_s(optical: Sequence[Acquisition], radar: Sequence[Acquisition]) -> float:
    at = dt.datetime.fromisoformat
    return sum(abs((at(nearest_in_time(radar, s2.start).start) - at(s2.start)).total_seconds()) for s2 in optical)


def finland(root: Path, rules: Rules, direction: str | None, min_clear: float) -> list[DatedSet]:
    """Every chip is a site of its own, every month a date id `<chip>-<MM>`; the grid has no georeference.

    The chips state months only (00 = September .. 11 = August): `start` is the 15th of that month of the seasons
    2000/2001, marked nominal. The track is not stated either.
    """
    chosen = direction or "ascending"
    sets = []
    for optical in sorted(_folder(root).glob("*_S2_[0-9][0-9].tif")):
        chip, _, month = optical.stem.rsplit("_", 2)
        radar = optical.with_name(f"{chip}_S1_{month}.tif")
        if not radar.is_file():
            raise InputError(f"{radar}: no such file.", "Every <chip>_S2_MM.tif needs its <chip>_S1_MM.tif.")
        start = f"{2000 if int(month) < 4 else 2001}-{(int(month) + 8) % 12 + 1:02d}-15T00:00:00"
        vv, vh = _FINLAND_S1[chosen]
        s1 = Acquisition(
            chip, "sentinel1", f"{chip}_S1_{month}", (Plane("VV", radar, vv), Plane("VH", radar, vh)), start,
            "S1", chosen, None, True,
        )  # fmt: skip
        planes = tuple(Plane(name, optical, band) for band, name in enumerate(_FINLAND_S2, start=1))
        s2 = Acquisition(chip, "sentinel2", f"{chip}_S2_{month}", planes, start, nominal=True)
        if clear_share(s2, rules) >= min_clear:
            sets.append(DatedSet(f"{chip}-{month}", chip, s1, s2))
    if not sets:
        raise NothingFoundError(
            f"{root}: no chip <chip>_S2_MM.tif is clear to {min_clear:g}.", "Check import_data.root and min_clear."
        )
    return sets


def simulator(root: Path) -> list[DatedSet]:
    """Every generated scene is a site of its own with the dates `<site>-t0` and `<site>-t1`, of one track."""
    sets = []
    for radar in sorted(_folder(root).glob("*_S1_t[01].tif")):
        site, _, date = radar.stem.rsplit("_", 2)
        start = {"t0": "2019-11-06T19:15:00", "t1": "2020-02-04T19:15:00"}[date]
        planes = tuple(Plane(band, radar, number) for number, band in enumerate(("VV", "VH"), start=1))
        s1 = Acquisition(site, "sentinel1", f"{site}_S1_{date}", planes, start, "S1A", "descending", 147)
        optical, cloud = (radar.with_name(f"{site}_{kind}_{date}.tif") for kind in ("S2", "CLOUD"))
        bands = [Plane(band, optical, number) for number, band in enumerate(SIMULATED, start=1)]
        s2 = Acquisition(site, "sentinel2", f"{site}_S2_{date}", (*bands, Plane(CLOUD, cloud)), start, "S2A")
        sets.append(DatedSet(f"{site}-{date}", site, s1, s2))
    if not sets:
        raise NothingFoundError(f"{root}: no scene <site>_S1_t0.tif.", "Run make_scene with scene.form rasters.")
    return sets


def two_dates(root: Path, s1_average: int = 1) -> list[DatedSet]:
    """Every L2A scene of the one place with the radar acquisition nearest in time; orbits from the metadata."""
    root = _folder(root)
    radar, optical = [], []
    place = _one(root / "s2a", "*").name
    for folder in sorted((root / "s1" / place).iterdir()):
        facts = _metadata(folder)
        planes = tuple(Plane(band, folder / f"{band}.tif") for band in ("VV", "VH"))
        radar.append(
            Acquisition(
                place, "sentinel1", folder.name, planes, _iso(facts["system:time_start"]), folder.name[:3],
                str(facts["orbitProperties_pass"]).lower(), int(facts["relativeOrbitNumber_start"]),
            )
        )  # fmt: skip
    for folder in sorted((root / "s2a" / place).iterdir()):
        facts = _metadata(folder)
        bands = [path for path in sorted(folder.glob("B*.tif"))]
        planes = tuple(Plane(f"B{path.stem[1:]:0>2}", path) for path in bands)
        name = str(facts["PRODUCT_ID"])
        optical.append(Acquisition(place, "sentinel2", name, planes, _iso(facts["system:time_start"]), name[:3]))
    return [DatedSet(f"{s2.day:%Y%m%d}", place, around(radar, s2.start, s1_average), s2) for s2 in optical]


def _iso(milliseconds: float) -> str:
    epoch = dt.datetime(1970, 1, 1)
    return (epoch + dt.timedelta(seconds=round(float(milliseconds) / 1000))).isoformat()


def listed(items: Sequence[Any], root: Path, site: str, cloud_band: str | None, s1_average: int = 1) -> list[DatedSet]:
    """Acquisitions written out in import_data.items: one of each sensor a date; Sentinel-2 may be absent at t1.

    With s1_average > 1 a date may have several Sentinel-1 items: those around Sentinel-2 are averaged.
    raises  ConfigError naming the item and the key
    """
    by_date: dict[tuple[str, str], dict[str, list[Acquisition]]] = {}
    for number, item in enumerate(items):
        where = f"import_data.items[{number}]"
        if not item.date or not item.files or not item.acquired:
            raise ConfigError(f"{where}: date, files and acquired are required.", "Complete the item.")
        place = item.site or site
        mine = by_date.setdefault((place, item.date), {}).setdefault(item.sensor, [])
        if mine and (item.sensor == "sentinel2" or s1_average == 1):
            raise ConfigError(
                f"{where}: a second {item.sensor} item for date {item.date}.",
                "Give each date one item a sensor, or set import_data.s1_average to average those of Sentinel-1.",
            )
        mine.append(_acquisition(item, place, root, where, cloud_band, len(mine)))
    if not by_date:
        raise ConfigError("import_data.items is empty.", "List the acquisitions, or choose another import_data.layout.")
    dates = [date for _, date in by_date]
    if twice := sorted({date for date in dates if dates.count(date) > 1}):
        raise ConfigError(
            f"import_data.items: date {twice[0]} is at two sites.", "Give every date of every site an id of its own."
        )
    return [
        _dated(date, place, sensors, s1_average)
        for (place, date), sensors in sorted(by_date.items(), key=lambda entry: (entry[0][1], entry[0][0]))
    ]


def _acquisition(item: Any, site: str, root: Path, where: str, cloud_band: str | None, number: int) -> Acquisition:
    try:
        start = dt.datetime.fromisoformat(item.acquired.removesuffix("Z"))
    except ValueError as error:
        raise ConfigError(
            f"{where}: acquired {item.acquired!r} is not an ISO 8601 time.", "Write 2020-02-04T00:02:29."
        ) from error
    name = item.name or f"{item.sensor}_{item.date}{f'_{number + 1}' if number else ''}"
    return Acquisition(
        site, item.sensor, name, _planes(item, root, where, cloud_band), start.isoformat(timespec="seconds"),
        "", item.direction, item.relative_orbit,
    )  # fmt: skip


def _dated(date: str, site: str, sensors: dict[str, list[Acquisition]], s1_average: int) -> DatedSet:
    if "sentinel1" not in sensors:
        raise ConfigError(f"import_data.items: date {date} has no sentinel1 item.", "Give every date Sentinel-1.")
    optical = sensors.get("sentinel2", [None])[0]
    radar = sensors["sentinel1"]
    return DatedSet(date, site, around(radar, optical.start if optical else radar[0].start, s1_average), optical)


def _planes(item: Any, root: Path, where: str, cloud_band: str | None) -> tuple[Plane, ...]:
    """One plane a band name; `-` skips a band, cloud_band becomes the cloud plane."""
    single = len(item.files) == 1
    if not single and len(item.files) != len(item.bands):
        raise ConfigError(
            f"{where}: {len(item.files)} files and {len(item.bands)} bands.",
            "Give one file a band, or one file with all.",
        )
    planes = []
    for place, band in enumerate(item.bands):
        file, colon, variable = item.files[0 if single else place].partition(".nc:")
        path = root / (f"{file}.nc" if colon else file)
        if band != "-":
            name = CLOUD if band == cloud_band else band
            planes.append(
                Plane(name, path, place + 1 if single and not colon else 1, variable or None, item.time_index)
            )
    return tuple(planes)
