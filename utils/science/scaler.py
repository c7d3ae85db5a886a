"""Normalisation of network inputs and labels; its JSON form is the scaler that travels with every run.

Two modes, one formula: z = factor * (v - mean) / std for each group of bands. `standard` measures mean and std on the
train set; `fixed` has constants (4 rho - 0.6 for reflectance, clip range to -1..1 for dB) and adds the difference of
the SAR dates, recentred by its scene median. Arrays are (H, W, C), channel last.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from utils.science.moments import Moments
from utils.science.sar import CLIP_DB, fill_non_positive_knn, needs_fill, to_db

F32 = NDArray[np.float32]
BoolArray = NDArray[np.bool_]
Mode = Literal["standard", "fixed"]

SCHEMA = "s2cr.scaler/1"
CHANGE_CLIP_DB = 6.0  # differences of the SAR dates are cut here and divided by it
RGB = ("B04", "B03", "B02")
_FIXED_MEAN, _FIXED_STD = 0.15, 0.25  # (rho - 0.15) / 0.25 = 4 rho - 0.6


class ScalerError(ValueError):
    """A scaler that cannot be fitted, read or used on these bands."""


@dataclass(frozen=True)
class Group:
    """Bands that share one mean, one std (in `unit`) and one factor; n values were seen in fitting, 0 = constants."""

    name: str
    bands: tuple[str, ...]
    mean: float
    std: float
    factor: float
    unit: str
    n: int = 0


def group_name(band: str) -> str:
    """Group of a band: VV, VH, "R,G,B" (pooled), NIR, or the band itself."""
    return "R,G,B" if band in RGB else "NIR" if band == "B08" else band


def groups_of(bands: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Group name -> its bands, in channel order."""
    found: dict[str, tuple[str, ...]] = {}
    for band in bands:
        found[group_name(band)] = (*found.get(group_name(band), ()), band)
    return found


def list_digest(ids: Iterable[str]) -> str:
    """SHA-256 of a list of sample ids, independent of their order: names the set that a scaler was fitted on."""
    return hashlib.sha256("\n".join(sorted(ids)).encode()).hexdigest()


def sar_db(power: F32, fill_k: int) -> tuple[F32, int]:
    """Fill non-positive power, then dB.

    power    (H, W, C) linear, NaN outside the swath
    returns  (H, W, C) float32 dB, NaN outside the swath and where no fill was possible; number of filled values
    """
    planes, n_filled = [], 0
    for plane in np.moveaxis(np.asarray(power, dtype=np.float32), -1, 0):
        valid = ~np.isnan(plane)
        holes = needs_fill(plane, valid)
        filled = fill_non_positive_knn(plane, valid, fill_k) if holes.any() else plane
        n_filled += int((holes & np.isfinite(filled)).sum())
        planes.append(to_db(filled))
    return np.stack(planes, axis=-1).astype(np.float32), n_filled


def unfilled(power: F32, db: F32) -> int:
    """Number of values inside the swath that sar_db could not fill: fewer than k good pixels were there.

    power, db  (H, W, C) argument and result of sar_db
    """
    return int((~np.isnan(power) & ~np.isfinite(db)).sum())


def sample_moments(
    s1: Sequence[tuple[F32, BoolArray]],
    s2: Sequence[tuple[F32, BoolArray]],
    sar_bands: Sequence[str],
    optical_bands: Sequence[str],
    fill_k: int,
) -> dict[str, Moments]:
    """Moments of one sample by group.

    s1  per date: (H, W, len(sar_bands)) linear power and (H, W) pixels to use
    s2  per image, input and label alike: (H, W, len(optical_bands)) reflectance and (H, W) pixels to use
    """
    out: dict[str, list[Moments]] = {}
    decibels = [(sar_db(power, fill_k)[0], use) for power, use in s1]
    for images, bands in ((decibels, sar_bands), (list(s2), optical_bands)):
        for name, members in groups_of(bands).items():
            channels = [list(bands).index(band) for band in members]
            out[name] = [Moments.of(image[use][:, channels]) for image, use in images]
    return {name: Moments.merge(parts) for name, parts in out.items()}


@dataclass(frozen=True)
class Scaler:
    """See the module. train_sha256 is list_digest of the train set; code is provenance only; n_dates counts the label."""

    mode: Mode
    bands_sar: tuple[str, ...]
    bands_optical: tuple[str, ...]
    groups: tuple[Group, ...]
    fill_k: int = 5
    train_sha256: str = ""
    code: str = ""
    n_dates: int = 2

    @classmethod
    def fit(
        cls,
        moments: Iterable[Mapping[str, Moments]],
        bands_sar: Sequence[str],
        bands_optical: Sequence[str],
        s1_scale: float,
        s2_scale: float,
        **more: Any,
    ) -> Scaler:
        """Mode standard from the moments of all train samples, in any order.

        raises  ScalerError naming the bands when a group has no value or std 0
        """
        parts = list(moments)
        groups = []
        for bands, factor, unit in ((bands_sar, s1_scale, "dB"), (bands_optical, s2_scale, "reflectance")):
            for name, members in groups_of(bands).items():
                total = Moments.merge(part[name] for part in parts if name in part)
                if total.n == 0 or total.std <= 1e-12 * max(abs(total.mean), 1.0):
                    raise ScalerError(
                        f"band {','.join(members)}: {total.n} values with standard deviation 0 in the train set"
                    )
                groups.append(Group(name, members, total.mean, total.std, factor, unit, total.n))
        return cls("standard", tuple(bands_sar), tuple(bands_optical), tuple(groups), **more)

    @classmethod
    def fixed(cls, bands_sar: Sequence[str], bands_optical: Sequence[str], **more: Any) -> Scaler:
        """Mode fixed: constants only."""
        groups = [
            Group(name, members, sum(CLIP_DB[name]) / 2, (CLIP_DB[name][1] - CLIP_DB[name][0]) / 2, 1.0, "dB")
            for name, members in groups_of(bands_sar).items()
        ]
        groups += [
            Group(name, members, _FIXED_MEAN, _FIXED_STD, 1.0, "reflectance")
            for name, members in groups_of(bands_optical).items()
        ]
        return cls("fixed", tuple(bands_sar), tuple(bands_optical), tuple(groups), **more)

    # -- shape of the network --------------------------------------------------------------------------------------

    @property
    def input_names(self) -> tuple[str, ...]:
        """Channels of x in order; the last date is the one to simulate, so it has no optical channel."""
        sar = tuple(f"{band}_t{date}" for date in range(self.n_dates) for band in self.bands_sar)
        optical = tuple(f"{band}_t{date}" for date in range(self.n_dates - 1) for band in self.bands_optical)
        if self.mode == "standard":
            return sar + optical
        return sar + tuple(f"d{band}" for band in self.bands_sar) + optical + ("valid",)

    @property
    def n_inputs(self) -> int:
        return len(self.input_names)

    @property
    def n_outputs(self) -> int:
        return len(self.bands_optical)

    # -- applying --------------------------------------------------------------------------------------------------

    def _group(self, band: str) -> Group:
        return next(group for group in self.groups if band in group.bands)

    def _affine(self, bands: Sequence[str]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """(slope, offset) of the channels: z = slope * v + offset."""
        groups = [self._group(band) for band in bands]
        slope = np.array([group.factor / group.std for group in groups])
        return slope, -slope * np.array([group.mean for group in groups])

    def _forward(self, values: NDArray[Any], bands: Sequence[str]) -> F32:
        if values.shape[-1] != len(bands):
            raise ScalerError(
                f"array {values.shape} has {values.shape[-1]} channels, the scaler {len(bands)}: {', '.join(bands)}"
            )
        slope, offset = self._affine(bands)
        return np.asarray(values.astype(np.float64) * slope + offset, dtype=np.float32)

    def _clip_db(self, db: F32) -> F32:
        low, high = (np.array([CLIP_DB[band][end] for band in self.bands_sar], dtype=np.float32) for end in (0, 1))
        return np.clip(db, low, high)

    def affine_and_clip(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """(4, bands) of the radar bands in dB and of the optical bands: slope, offset, lower and upper clip.

        For scene_kernels.network_input, which does what network_input does, faster
        """
        fixed = self.mode == "fixed"
        ends = np.array([CLIP_DB[band] if fixed else (-np.inf, np.inf) for band in self.bands_sar])
        light = np.array([(0.0, 1.0) if fixed else (-np.inf, np.inf)] * len(self.bands_optical))
        radar, optical = self._affine(self.bands_sar), self._affine(self.bands_optical)
        return np.stack([*radar, *ends.T]), np.stack([*optical, *light.T])

    def network_input(
        self,
        s1_t0: F32,
        s1_t1: F32,
        s2_t0: F32,
        ds1_median_db: Mapping[str, float] | None = None,
        earlier: Sequence[tuple[F32, F32]] = (),
    ) -> tuple[F32, BoolArray]:
        """Normalised input of the networks.

        s1_t0, s1_t1   (H, W, n_sar) linear power of the last two dates, NaN = nodata; values <= 0 are filled first
        s2_t0          (H, W, n_optical) reflectance of the date before the last, NaN = nodata
        ds1_median_db  scene median of S1(t1) - S1(t0) by band, dB; needed in mode fixed
        earlier        (S1, S2) of the dates before those, oldest first: n_dates - 2 of them
        returns        x (H, W, n_inputs) float32, finite: 0 where a channel has no data; valid (H, W), True where
                       every channel has data
        raises         ScalerError when bands, dates or the median do not fit
        """
        if len(earlier) != self.n_dates - 2:
            raise ScalerError(f"the scaler is for {self.n_dates} dates, the data have {len(earlier) + 2}")
        radar = [sar_db(power, self.fill_k)[0] for power in (*(s1 for s1, _ in earlier), s1_t0, s1_t1)]
        optical = [*(s2 for _, s2 in earlier), s2_t0]
        fixed = self.mode == "fixed"
        channels = [self._forward(self._clip_db(db) if fixed else db, self.bands_sar) for db in radar]
        if fixed:
            channels.append(self._change(radar[-2], radar[-1], ds1_median_db))
        channels += [self._forward(np.clip(s2, 0.0, 1.0) if fixed else s2, self.bands_optical) for s2 in optical]
        x = np.concatenate(channels, axis=-1)
        valid: BoolArray = np.asarray(np.isfinite(x).all(axis=-1))
        x = np.where(np.isfinite(x), x, np.float32(0.0))
        if fixed:
            x = np.concatenate([x, valid[..., None].astype(np.float32)], axis=-1)
        return np.ascontiguousarray(x, dtype=np.float32), valid

    def _change(self, db0: F32, db1: F32, ds1_median_db: Mapping[str, float] | None) -> F32:
        """S1(t1) - S1(t0) minus its scene median, cut at 6 dB: rain shifts the whole scene."""
        missing = [band for band in self.bands_sar if band not in (ds1_median_db or {})]
        if missing or ds1_median_db is None:
            raise ScalerError(f"mode fixed needs the scene median of dS1 for {', '.join(missing)}")
        median = np.array([ds1_median_db[band] for band in self.bands_sar], dtype=np.float32)
        return np.asarray(
            np.clip(db1 - db0 - median, -CHANGE_CLIP_DB, CHANGE_CLIP_DB) / CHANGE_CLIP_DB, dtype=np.float32
        )

    def apply_label(self, y: F32, clip: bool = False) -> F32:
        """(H, W, n) reflectance to network units; NaN stays NaN. clip cuts at -1..1, for training labels only."""
        reflectance = np.clip(y, 0.0, 1.0) if self.mode == "fixed" else y
        z = self._forward(reflectance, self.bands_optical)
        return np.clip(z, -1.0, 1.0) if clip else z

    def invert_label(self, z: F32) -> F32:
        """(H, W, n) network units to reflectance, float32."""
        slope, offset = self._affine(self.bands_optical)
        return np.asarray((z.astype(np.float64) - offset) / slope, dtype=np.float32)

    def clipped_share(self, y: F32) -> float:
        """Share of finite label values that apply_label(clip=True) would cut."""
        z = self.apply_label(y)
        z = z[np.isfinite(z)]
        return float((np.abs(z) > 1.0).mean()) if z.size else 0.0

    def check_bands(self, bands_sar: Sequence[str], bands_optical: Sequence[str], n_dates: int | None = None) -> None:
        """raises  ScalerError naming both when the bands or the number of dates differ from the scaler's"""
        if n_dates is not None and n_dates != self.n_dates:
            raise ScalerError(f"the scaler is for {self.n_dates} dates, the data have {n_dates}")
        mine, theirs = (*self.bands_sar, *self.bands_optical), (*bands_sar, *bands_optical)
        if mine != theirs:
            raise ScalerError(f"the scaler has bands {', '.join(mine)}, the data {', '.join(theirs)}")

    # -- JSON ------------------------------------------------------------------------------------------------------

    def to_json(self) -> dict[str, Any]:
        """JSON values; from_json(to_json()) is equal to self."""
        return {
            "schema": SCHEMA,
            "mode": self.mode,
            "bands": {"sar": list(self.bands_sar), "optical": list(self.bands_optical)},
            "groups": [{**vars(group), "bands": list(group.bands)} for group in self.groups],
            "clip": {"db": {band: list(CLIP_DB[band]) for band in self.bands_sar}, "label_training": [-1.0, 1.0]},
            "fill": {"method": "knn_inverse_distance", "k": self.fill_k},
            "recentre": {"applied": self.mode == "fixed", "clip_db": CHANGE_CLIP_DB},
            "dates": [f"t{date}" for date in range(self.n_dates)],
            "inputs": list(self.input_names),
            "train_sha256": self.train_sha256,
            "code": self.code,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Scaler:
        """raises  ScalerError for another schema, another mode or missing parts"""
        if data.get("schema") != SCHEMA or data.get("mode") not in ("standard", "fixed"):
            raise ScalerError(f"not a scaler: schema {data.get('schema')!r}, mode {data.get('mode')!r}")
        try:
            groups = tuple(Group(**{**group, "bands": tuple(group["bands"])}) for group in data["groups"])
            scaler = cls(
                data["mode"], tuple(data["bands"]["sar"]), tuple(data["bands"]["optical"]), groups,
                int(data["fill"]["k"]), data["train_sha256"], data["code"], len(data.get("dates", ("t0", "t1"))),
            )  # fmt: skip
        except (KeyError, TypeError) as error:
            raise ScalerError(f"scaler is incomplete: {error!r}") from error
        known = {band for group in groups for band in group.bands}
        if lost := [band for band in (*scaler.bands_sar, *scaler.bands_optical) if band not in known]:
            raise ScalerError(f"scaler has no group for {', '.join(lost)}")
        return scaler
