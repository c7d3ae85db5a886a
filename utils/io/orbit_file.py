"""Precise orbit files (POEORB, RESORB) in raw/orbits: choice for a product, and their state vectors."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from utils.io.safe import parse_xml
from utils.workflow.errors import InputError

ORBIT_NAME = re.compile(r"(S1[A-Z])_OPER_AUX_(POEORB|RESORB)_OPOD_(\d{8}T\d{6})_V(\d{8}T\d{6})_(\d{8}T\d{6})\.EOF")
_MARGIN = np.timedelta64(60, "s")


@dataclass(frozen=True)
class StateVectors:
    """Earth-fixed state vectors around a scene: times (n,) datetime64[ns], position m and velocity m/s (n, 3)."""

    times: NDArray[np.datetime64]
    position_m: NDArray[np.float64]
    velocity_m_s: NDArray[np.float64]


def _stamp(text: str) -> np.datetime64:
    return np.datetime64(f"{text[:4]}-{text[4:6]}-{text[6:8]}T{text[9:11]}:{text[11:13]}:{text[13:15]}", "ns")


def find_precise(files: Iterable[Path], mission: str, first: np.datetime64, last: np.datetime64) -> Path:
    """The orbit file of a mission that covers first .. last with 60 s on both sides: POEORB before RESORB, then newest.

    files   what the download lock names, and the files of preprocess.orbit_dir
    raises  InputError naming what was looked for: a product never falls back to its annotation orbit in silence
    """
    fitting = []
    for path in files:
        match = ORBIT_NAME.fullmatch(path.name)
        if match is None or match[1] != mission or not path.is_file():
            continue
        if _stamp(match[4]) <= first - _MARGIN and _stamp(match[5]) >= last + _MARGIN:
            fitting.append((match[2] == "POEORB", match[3], path))
    if not fitting:
        raise InputError(
            f"no POEORB orbit file of {mission}, fetched or in preprocess.orbit_dir, covers {first} .. {last}.",
            "Run: ./s2cr fetch_orbits CONF, put one into preprocess.orbit_dir, or set preprocess.orbit: annotation.",
        )
    return max(fitting)[2]


def read_orbit_file(path: Path, mission: str, first: np.datetime64, last: np.datetime64) -> StateVectors:
    """State vectors of first - 60 s .. last + 60 s.

    raises  InputError when the file is malformed, of another mission, not earth-fixed, or does not cover the span
    """
    root = parse_xml(path.read_bytes(), path.name)
    found = (root.findtext(".//Fixed_Header/Mission") or "").replace("Sentinel-", "S")
    if found != mission:
        raise InputError(
            f"{path.name}: orbit of {found or 'an unknown mission'}, the product is {mission}.",
            "Use its own orbit file.",
        )
    frame = (root.findtext(".//Variable_Header/Ref_Frame") or "EARTH_FIXED").strip()
    if frame != "EARTH_FIXED":
        raise InputError(f"{path.name}: reference frame is {frame}, not EARTH_FIXED.", "Use another orbit file.")
    times, states = [], []
    for entry in root.iterfind("Data_Block/List_of_OSVs/OSV"):
        try:
            times.append(np.datetime64((entry.findtext("UTC") or "").removeprefix("UTC="), "ns"))
            states.append([float(entry.findtext(name) or "") for name in ("X", "Y", "Z", "VX", "VY", "VZ")])
        except ValueError as error:
            raise InputError(
                f"{path.name}: malformed state vector ({error}).", "Download the orbit file again."
            ) from error
    stamps, table = np.array(times, dtype="datetime64[ns]"), np.array(states)
    inside = (stamps >= first - _MARGIN) & (stamps <= last + _MARGIN)
    if not inside.any() or stamps[inside][0] > first or stamps[inside][-1] < last:
        raise InputError(f"{path.name}: does not cover {first} .. {last}.", "Use the orbit file of that day.")
    return StateVectors(stamps[inside], table[inside, :3], table[inside, 3:])
