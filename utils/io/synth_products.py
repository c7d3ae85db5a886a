"""The products of a generated scene: which there are, and how each is put together from the simulated ground.

Two dates with one Sentinel-1 track and one Sentinel-2 orbit, and decoys that a search must refuse: a cloudy
Sentinel-2 near t0, and near t1 a Sentinel-1 of another track, one that covers only a part, near t0 one without VH.
"""

from __future__ import annotations

import math
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from osgeo import gdal, osr

from utils.io import raster
from utils.io.synth_plans import S1_PLANS, S2_PLANS, S2_RELATIVE_ORBIT
from utils.io.synth_s1 import GrdImage, write_grd
from utils.io.synth_s2 import write_l2a
from utils.io.synth_s2_xml import L2aIdentity
from utils.science import synth_optical as optical
from utils.science import synth_sar as sar
from utils.science.grid import Grid
from utils.science.synth import CONFUSERS, COVER_NAMES, Scene, SceneParams, make_scene
from utils.science.synth_fields import generator
from utils.science.synth_geometry import RadarGrid, Surface, beta_nought, fit_surface, radar_grid
from utils.science.synth_orbit import F64, KeplerOrbit, geodetic_to_ecef, orbit_over
from utils.workflow.errors import ConfigError
from utils.workflow.files import atomic_bytes

S1_MARGIN_M = 1600.0
S2_MARGIN_PX = 150
A_BETA = 474.0
INCIDENCE_DEG = 37.0
TRUTH_BANDS = ("B02", "B03", "B04", "B08", "B12")
_DECOY_CLOUD = 0.62


@dataclass(frozen=True)
class SceneSettings:
    """What to generate; the meaning of each field is that of the configuration section `scene`."""

    seed: int = 20191106
    size_px: int = 1500
    epsg: int = 32755
    origin: tuple[float, ...] = (700000.0, 6100000.0)
    fires: int = 3
    cloud_fraction: float = 0.18
    relief_m: float = 450.0
    speckle: bool = True
    thermal_noise: bool = True
    misregistration_px: float = 0.3
    burn_vh_db: float = -2.0
    confusers: tuple[str, ...] = tuple(sorted(CONFUSERS))


def lonlat(x_m: F64, y_m: F64, epsg: int) -> tuple[F64, F64]:
    """Longitude and latitude in degrees of map coordinates, arrays of one shape."""
    systems = [osr.SpatialReference(), osr.SpatialReference()]
    for system, code in zip(systems, (epsg, 4326), strict=True):
        system.ImportFromEPSG(code)
        system.SetAxisMappingStrategy(osr.OAMS_TRADITIONAL_GIS_ORDER)
    points = np.array(
        osr.CoordinateTransformation(*systems).TransformPoints(np.column_stack([np.ravel(x_m), np.ravel(y_m)]))
    )
    return points[:, 0].reshape(np.shape(x_m)), points[:, 1].reshape(np.shape(x_m))


def mgrs_tile(lon_deg: float, lat_deg: float, x_m: float, y_m: float, epsg: int) -> str:
    """Name of the 100 km square of the military grid, such as 55HGA, as Sentinel-2 tiles are named."""
    zone = epsg % 100
    column = ("ABCDEFGH", "JKLMNPQR", "STUVWXYZ")[(zone - 1) % 3][int(x_m // 100000) - 1]
    row = "ABCDEFGHJKLMNPQRSTUV"[(int(y_m // 100000) + (0 if zone % 2 else 5)) % 20]
    return f"{zone:02d}{'CDEFGHJKLMNPQRSTUVWX'[min(int((lat_deg + 80) // 8), 19)]}{column}{row}"


@dataclass(frozen=True)
class Track:
    """One viewing geometry and what it sees: beta0[date] is (2, lines, samples) VV, VH."""

    orbit: KeplerOrbit
    grid: RadarGrid
    beta0: tuple[NDArray[np.float32], NDArray[np.float32]]


class SceneProducts:
    """Makes the scene when it is first needed, then any product of it. One object per run of the stage.

    Several threads may write products after one has called `prepare`.
    """

    def __init__(self, conf: SceneSettings) -> None:
        x0, y0 = conf.origin
        if x0 % 20 or y0 % 20 or conf.size_px % 2:
            raise ConfigError(
                f"scene.origin {x0:g}, {y0:g} must be multiples of 20 m and scene.size_px {conf.size_px} even.",
                "Sentinel-2 bands of 10 and 20 m nest only then.",
            )
        unknown = set(conf.confusers) - CONFUSERS
        if unknown:
            raise ConfigError(
                f"scene.confusers: unknown {', '.join(sorted(unknown))}.",
                f"Choose from {', '.join(sorted(CONFUSERS))}.",
            )
        self.conf = conf
        self.grid = Grid(conf.epsg, x0, y0, 10.0, -10.0, conf.size_px, conf.size_px)
        # the radar image is a rotated box around the area and must be filled with ground to its corners
        self.pad_px = max(400, math.ceil((1.46 * (conf.size_px + 320) + 240 - conf.size_px) / 2))
        self._tracks: dict[bool, Track] = {}
        self._locks = {True: threading.Lock(), False: threading.Lock()}  # of the tracks, by descending

    def prepare(self) -> None:
        """Make what all products share."""
        self.scene, self.gamma0, self.surface  # noqa: B018 - properties that keep what they make

    @cached_property
    def scene(self) -> Scene:
        """The simulated ground of both dates."""
        conf = self.conf
        return make_scene(
            SceneParams(
                conf.seed,
                conf.size_px,
                conf.fires,
                conf.cloud_fraction,
                conf.relief_m,
                conf.misregistration_px,
                conf.burn_vh_db,
                frozenset(conf.confusers),
                self.pad_px,
            )
        )

    @cached_property
    def gamma0(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """gamma nought VV, VH of both dates on the domain."""
        scene = self.scene
        with ThreadPoolExecutor(2) as pool:
            first, second = pool.map(lambda date: sar.gamma_nought(scene, date), (0, 1))
        return first, second

    @property
    def domain(self) -> Grid:
        """Grid of the simulated ground: the area and its margin."""
        g, pad = self.grid, self.pad_px
        return Grid(g.epsg, g.x0 - 10 * pad, g.y0 + 10 * pad, 10.0, -10.0, g.rows + 2 * pad, g.cols + 2 * pad)

    @cached_property
    def surface(self) -> Surface:
        """Ellipsoid under the domain as polynomials."""
        xmin, ymin, xmax, ymax = self.domain.bounds
        x, y = np.meshgrid(np.linspace(xmin, xmax, 15), np.linspace(ymin, ymax, 15))
        return fit_surface(x, y, *lonlat(x, y, self.grid.epsg))

    def ring(self, grow_m: float, per_side: int = 1) -> tuple[F64, F64]:
        """Longitudes and latitudes of the closed outline of the area grown by `grow_m`, clockwise from the upper left."""
        xmin, ymin, xmax, ymax = self.grid.bounds
        corners = np.array(
            [
                (xmin - grow_m, ymax + grow_m),
                (xmax + grow_m, ymax + grow_m),
                (xmax + grow_m, ymin - grow_m),
                (xmin - grow_m, ymin - grow_m),
                (xmin - grow_m, ymax + grow_m),
            ]
        )
        place = np.arange(4 * per_side + 1) / per_side
        x, y = (np.interp(place, np.arange(5), corners[:, axis]) for axis in (0, 1))
        return lonlat(x, y, self.grid.epsg)

    def track(self, descending: bool) -> Track:
        """Geometry and expected images of one track, made once."""
        with self._locks[descending]:
            if descending not in self._tracks:
                self._tracks[descending] = self._made_track(descending)
            return self._tracks[descending]

    def _made_track(self, descending: bool) -> Track:
        height = self.scene.height_m
        middle = float(height[self.scene.window()].mean())
        xmin, ymin, xmax, ymax = self.grid.bounds
        lon, lat = lonlat(np.array([(xmin + xmax) / 2]), np.array([(ymin + ymax) / 2]), self.grid.epsg)
        orbit = orbit_over(float(lon[0]), float(lat[0]), middle, INCIDENCE_DEG, descending)
        edge = self.ring(S1_MARGIN_M, per_side=8)
        outline = np.concatenate(
            [geodetic_to_ecef(*edge, level) for level in (float(height.min()), float(height.max()))]
        )
        grid = radar_grid(orbit, outline, round(middle, 3))
        power = np.concatenate(self.gamma0)
        beta0 = beta_nought(height, power, (self.domain.x0, self.domain.y0), 10.0, self.surface, orbit, grid)
        return Track(orbit, grid, (beta0[:2], beta0[2:]))

    def write_s1(self, key: str, folder: Path) -> Path:
        """Write one radar product of S1_PLANS; returns its path."""
        plan, track = S1_PLANS[key], self.track(S1_PLANS[key].identity.descending)
        lines = round(plan.share * track.grid.lines)
        grid = track.grid.crop_lines(0, lines)
        noise = {pol: sar.noise_table(lines, grid.samples, pol) for pol in plan.pols}
        dn = {}
        for pol in plan.pols:
            beta0 = track.beta0[plan.date][("VV", "VH").index(pol), :lines]
            eta = noise[pol].image(lines, grid.samples) if self.conf.thermal_noise else np.float32(0) * beta0
            grain = (
                sar.speckle(generator(self.conf.seed, f"speckle {key} {pol}"), beta0.shape)
                if self.conf.speckle
                else None
            )
            dn[pol] = sar.digital_numbers(beta0, eta, A_BETA, grain)
        start = np.ascontiguousarray(self.surface.coefficients[:3, 0, 0])
        return write_grd(
            folder, GrdImage(plan.identity, track.orbit, grid, dn, noise, A_BETA, not self.conf.thermal_noise, start)
        )

    def write_s2(self, key: str, folder: Path) -> tuple[Path, dict[str, float]]:
        """Write one optical product of S2_PLANS; returns its path and shares of the area under cloud and shadow."""
        plan, scene, margin = S2_PLANS[key], self.scene, S2_MARGIN_PX + 6
        sky = optical.sky(scene, plan.date)
        fraction = {None: 0.0, "t1": self.conf.cloud_fraction, "decoy": _DECOY_CLOUD}[plan.cloud]
        cover = optical.clouds(scene, key, fraction, sky.elevation_deg, margin)
        seen = optical.observe(scene, optical.reflectance(scene, plan.date, margin), plan.date, cover, key)
        scl = optical.scene_classes(scene, seen, cover, margin)
        side = math.ceil((self.conf.size_px + 2 * S2_MARGIN_PX) / 6) * 6
        fine, coarse = (slice(6, 6 + side),) * 2, (slice(3, 3 + side // 2),) * 2
        bands = {
            name: seen[k][fine] if name in ("B02", "B03", "B04", "B08") else optical.halve(seen[k][fine])
            for k, name in enumerate(optical.BANDS)
        }
        g, shift = self.grid, 10.0 * S2_MARGIN_PX
        granule = Grid(g.epsg, g.x0 - shift, g.y0 + shift, 10.0, -10.0, side, side)
        xmin, ymin, xmax, ymax = granule.bounds
        lon, lat = lonlat(np.array([xmin, xmax, xmax, xmin, xmin]), np.array([ymax, ymax, ymin, ymin, ymax]), g.epsg)
        identity = L2aIdentity(
            plan.platform,
            plan.sensing,
            plan.absolute_orbit,
            S2_RELATIVE_ORBIT,
            self.tile,
            plan.baseline,
            plan.generated,
            90 - sky.elevation_deg,
            sky.azimuth_deg,
        )
        ring = [(float(a), float(o)) for a, o in zip(lat, lon, strict=True)]
        path = write_l2a(folder, identity, granule, bands, np.ascontiguousarray(scl[coarse]), ring)
        inside = scl[(slice(margin // 2, (margin + self.conf.size_px) // 2),) * 2]
        return path, {
            "cloud_aoi": round(100 * float(np.isin(inside, (8, 9, 10)).mean()), 4),
            "shadow_aoi": round(100 * float((inside == 3).mean()), 4),
        }

    @property
    def tile(self) -> str:
        """Military grid square of the area's centre."""
        xmin, ymin, xmax, ymax = self.grid.bounds
        x, y = (xmin + xmax) / 2, (ymin + ymax) / 2
        lon, lat = lonlat(np.array([x]), np.array([y]), self.grid.epsg)
        return mgrs_tile(float(lon[0]), float(lat[0]), x, y, self.grid.epsg)

    def write_ground(self, folder: Path, tags: dict[str, str]) -> list[Path]:
        """Write dem.tif and truth/*.tif; returns the paths. The heights are ellipsoidal and reach beyond the area."""
        scene, window, truth = self.scene, self.scene.window(), folder / "truth"
        raster.write(
            folder / "dem.tif",
            scene.height_m,
            self.domain,
            band_names=("height",),
            tags=tags | {"VERTICAL": "ellipsoid"},
            units="m",
        )
        rows = {name: optical.BANDS.index(name) for name in TRUTH_BANDS}
        written = [folder / "dem.tif"]
        layers: list[tuple[str, NDArray[np.float32] | NDArray[np.uint8], tuple[str, ...], str]] = [
            (f"S2_t{date}_clear", optical.reflectance(scene, date)[list(rows.values())], TRUTH_BANDS, "reflectance")
            for date in (0, 1)
        ]
        layers += [
            (f"gamma0_t{date}", self.gamma0[date][(slice(None), *window)], ("VV", "VH"), "linear power")
            for date in (0, 1)
        ]
        layers += [
            ("burn_fraction", scene.severity[window], ("severity",), "fraction"),
            ("height", scene.height_m[window], ("height",), "m"),
            ("cover", scene.cover[window], ("cover",), ", ".join(f"{k} {v}" for k, v in COVER_NAMES.items())),
        ]
        for name, array, bands, units in layers:
            raster.write(
                truth / f"{name}.tif", np.ascontiguousarray(array), self.grid, band_names=bands, tags=tags, units=units
            )
            written.append(truth / f"{name}.tif")
        return written

    def preview(self) -> NDArray[np.uint8]:
        """(3, rows, cols) uint8: t0 and clear t1 in natural colour above; t1 in false colour and VH of t1 below."""
        step = max(1, self.conf.size_px // 600)
        t0, t1 = (optical.reflectance(self.scene, date)[:, ::step, ::step] for date in (0, 1))
        vh = 10 * np.log10(self.gamma0[1][1][self.scene.window()][::step, ::step])
        order = {name: k for k, name in enumerate(optical.BANDS)}
        natural, fire = [order[b] for b in ("B04", "B03", "B02")], [order[b] for b in ("B12", "B08", "B04")]
        upper = np.concatenate([t0[natural] * 4.0, t1[natural] * 4.0], axis=2)
        lower = np.concatenate([t1[fire] * 2.4, np.repeat(((vh + 26) / 16)[None], 3, axis=0)], axis=2)
        return np.asarray(np.clip(np.concatenate([upper, lower], axis=1), 0, 1) * 255, dtype=np.uint8)


def write_png(path: Path, picture: NDArray[np.uint8]) -> None:
    """Write (3, rows, cols) uint8 as PNG, whole or not at all."""
    memory = gdal.GetDriverByName("MEM").Create("", picture.shape[2], picture.shape[1], 3, gdal.GDT_Byte)
    for band, plane in enumerate(picture, start=1):
        memory.GetRasterBand(band).WriteArray(np.ascontiguousarray(plane))
    name = f"/vsimem/s2cr-preview-{os.getpid()}.png"
    try:
        copy = gdal.GetDriverByName("PNG").CreateCopy(name, memory)
        copy = None  # noqa: F841 - closing the dataset writes it
        stream = gdal.VSIFOpenL(name, "rb")
        data = bytes(gdal.VSIFReadL(1, gdal.VSIStatL(name).size, stream))
        gdal.VSIFCloseL(stream)
    finally:
        gdal.Unlink(name)
    atomic_bytes(path, data)
