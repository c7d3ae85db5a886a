"""Burned-area maps of real fires against their perimeters and against dNBR, beside the figures known before.

Reads   DIR/{pre_fire,post_fire,masks}/NAME.tif and dnbr/NAME.tif where given; by default the folder fires of S2CR_DATA
Writes  a table to stdout: F1 with the known figure and how far it is off (0.01), F1 of all_burned, IoU, kappa, hectares
A perimeter is no severity truth: unburned islands lie inside it. Fails  66 no fires, rasters missing or off grid
Example  ./s2cr fires
Example  ./s2cr fires /data/fires
"""

from __future__ import annotations

if not __package__:
    import _direct  # noqa: F401
import os
from pathlib import Path
from typing import Any

import click

from scripts._stage import guarded

COLUMNS = (
    ("f1", "F1", 3), ("reference", "known", 2), ("off", "off", 3), ("all_burned", "F1 all_burned", 2), ("iou", "IoU", 2),
    ("kappa", "kappa", 2), ("commission", "commission", 2), ("omission", "omission", 2), ("area_bias", "area bias", 2),
    ("map_ha", "map ha", 1), ("truth_ha", "truth ha", 1), ("mean_inside", "mean inside", 3),
)  # fmt: skip


@click.command(
    "fires",
    help=(__doc__ or "").split("\n\n", maxsplit=1)[0],
    epilog="\b\nExample:\n  ./s2cr fires\n  ./s2cr fires /data/fires",
)
@click.argument("folder", required=False, type=click.Path(path_type=Path))
def run(folder: Path | None) -> None:
    with guarded("fires"):
        for line in table(folder or _default()):
            click.echo(line)


def _default() -> Path:
    from utils.workflow.errors import InputError

    root = os.environ.get("S2CR_DATA")
    if not root:
        raise InputError(
            "No folder of fires is named.", "./s2cr fires DIR, or set S2CR_DATA to the folder above fires/."
        )
    return Path(root) / "fires"


def table(folder: Path) -> list[str]:
    """Lines of the table and what it says."""
    from utils.io import fires
    from utils.science import fire_scores
    from utils.science.score_table import aligned

    rows: list[dict[str, Any]] = []
    notes = []
    for name in _ordered(fires.names(folder), list(fire_scores.REFERENCE)):
        fire = fires.read(folder, name)
        change = fire_scores.differences(fire.before, fire.after)
        rows += fire_scores.rows(name, change, fire.perimeter, fire.grid.pixel_area_m2())
        notes += _notes(fire, change["NBR"])
    head = ["fire", "map", "truth", *(title for _, title, _ in COLUMNS)]
    lines = aligned(head, [[row["fire"], row["map"], row["truth"], *_cells(row)] for row in rows])
    return [*lines, *notes, _verdict(rows, fire_scores.TOLERANCE)]


def _ordered(found: list[str], first: list[str]) -> list[str]:
    return [*(name for name in first if name in found), *(name for name in found if name not in first)]


def _cells(row: dict[str, Any]) -> list[str]:
    return ["-" if row[key] is None or row[key] != row[key] else f"{row[key]:.{digits}f}" for key, _, digits in COLUMNS]


def _notes(fire: Any, change: Any) -> list[str]:
    """What a reader should know of a fire: extents that differ, and how far the given dNBR is from ours."""
    import numpy as np

    found = []
    if fire.cut != (0, 0):
        found.append(
            f"{fire.name}: the image before has {fire.cut[0]} rows and {fire.cut[1]} columns more; joined by place"
        )
    if fire.given_dnbr is None:
        found.append(f"{fire.name}: no dNBR is given; the one of the true pair stands for it")
    else:
        apart = float(np.nanmax(np.abs(fire.given_dnbr - change)))
        found.append(f"{fire.name}: the given dNBR differs from ours by {apart:.1e} at most")
    return found


def _verdict(rows: list[dict[str, Any]], tolerance: float) -> str:
    known = [row for row in rows if row["off"] is not None]
    off = [f"{row['fire']} {row['map']} ({row['off']:.3f})" for row in known if row["off"] > tolerance]
    if off:
        return f"off by more than {tolerance}: {', '.join(off)}"
    largest = max((row["off"] for row in known), default=0.0)
    return f"{len(known)} known F1 figures, the largest difference {largest:.3f} (limit {tolerance})"


if __name__ == "__main__":
    run()
