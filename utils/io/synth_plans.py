"""Which products a generated scene has: identities, times and orbits of the two dates, and of the decoys."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

from utils.io.synth_s1 import GrdIdentity


@dataclass(frozen=True)
class S1Plan:
    """One radar product. date: 0 or 1, the state of the ground; share: part of the lines that is kept."""

    identity: GrdIdentity
    date: int
    pols: tuple[str, ...] = ("VV", "VH")
    share: float = 1.0


@dataclass(frozen=True)
class S2Plan:
    """One optical product; tile and sun angles of the identity are filled from the scene."""

    platform: str
    sensing: dt.datetime
    absolute_orbit: int
    baseline: str
    generated: dt.datetime
    date: int
    cloud: str | None = None


def _utc(text: str) -> dt.datetime:
    return dt.datetime.fromisoformat(text).replace(tzinfo=dt.UTC)


def _grd(platform: str, centre: str, orbit: int, relative: int, descending: bool, take: int) -> GrdIdentity:
    return GrdIdentity(platform, _utc(centre), orbit, relative, (orbit - 73) // 175 + 15, descending, take)


# absolute orbits obey (n - 73) % 175 + 1 for S1A and (n - 27) % 175 + 1 for S1B; times repeat every 12 days
S1_PLANS: dict[str, S1Plan] = {
    "s1_t0": S1Plan(_grd("S1A", "2019-11-06T19:16:28.750", 29794, 147, True, 0x0364D1), 0),
    "s1_t1": S1Plan(_grd("S1A", "2020-01-29T19:16:27.500", 31019, 147, True, 0x038FD2), 1),
    "s1_wrong_pass": S1Plan(_grd("S1A", "2020-02-03T08:23:15.500", 31085, 38, False, 0x03922B), 1),
    "s1_partial": S1Plan(_grd("S1B", "2020-02-04T19:15:46.500", 20123, 147, True, 0x02618A), 1, share=0.55),
    "s1_no_vh": S1Plan(_grd("S1B", "2019-10-31T19:15:48.250", 18723, 147, True, 0x0234C7), 0, pols=("VV",)),
}


# absolute orbits obey (n - 27) % 143 + 1 for S2B and (n + 2) % 143 + 1 for S2A
S2_PLANS: dict[str, S2Plan] = {
    "s2_t0": S2Plan("S2B", _utc("2019-11-06T00:02:39.024"), 13927, "02.13", _utc("2019-11-06T01:47:22.000"), 0),
    "s2_t1": S2Plan("S2B", _utc("2020-02-04T00:02:41.024"), 15214, "05.00", _utc("2023-04-28T13:05:47.000"), 1, "t1"),
    "s2_cloudy": S2Plan(
        "S2A", _utc("2019-11-01T00:02:41.024"), 22764, "02.13", _utc("2019-11-01T01:30:12.000"), 0, "decoy"
    ),
}


S2_RELATIVE_ORBIT = 30


DECOYS = {
    "s2_cloudy": "too cloudy over the area",
    "s1_wrong_pass": "ascending, a track that has no pass at t0, though nearer in time",
    "s1_partial": "covers a part of the area only, though nearer in time",
    "s1_no_vh": "VV only",
}
