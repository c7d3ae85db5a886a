"""Which Sentinel-1 track passed at a time: for series that give times only.

Both satellites repeat after 12 days and 175 orbits on the same tracks, half a repeat (6 days, 87.5 orbits) apart, and
are kept in a tube of 100 m, so one known ascending node fixes all others as long as both flew (2016-04 to 2021-12).
"""

from __future__ import annotations

import datetime as dt
import math

REPEAT_ORBITS = 175
_ORBIT_S = 12 * 86400.0 / REPEAT_ORBITS
_INCLINATION_DEG = 98.18
# S1A absolute orbit 32904: ascending node time from its product metadata.
_NODE_TIME = dt.datetime(2020, 6, 7, 0, 27, 16, 263000)
_NODE_ORBIT = 32904


def pass_at(start: dt.datetime, latitude_deg: float, direction: str) -> tuple[str, int]:
    """Platform (S1A or S1B) and relative orbit of the pass over a latitude at a time.

    start      UTC without zone; direction ascending or descending
    raises     ValueError when neither satellite was within a tenth of an orbit of that latitude then
    """
    beyond_node = math.asin(math.sin(math.radians(latitude_deg)) / math.sin(math.radians(_INCLINATION_DEG)))
    expected = beyond_node / (2 * math.pi) if direction == "ascending" else 0.5 - beyond_node / (2 * math.pi)
    orbits = (start - _NODE_TIME).total_seconds() / _ORBIT_S
    for platform, ahead in (("S1A", 0.0), ("S1B", REPEAT_ORBITS / 2)):
        count = orbits + ahead - expected
        if abs(count - round(count)) < 0.1:
            return platform, (_NODE_ORBIT + round(count) - 73) % REPEAT_ORBITS + 1
    raise ValueError(f"no Sentinel-1 pass over latitude {latitude_deg:.1f} ({direction}) at {start.isoformat()}")
