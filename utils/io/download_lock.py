"""raw/downloads.lock.json: what download verified. Later stages read it, never a folder listing, so that a stray
file cannot enter a data set."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from utils.workflow.errors import InputError
from utils.workflow.files import atomic_json

SCHEMA = "s2cr.downloads/1"
NAME = "downloads.lock.json"
ORBIT, DEM, DEM_TILE, DEM_MOSAIC = "ORBIT", "DEM", "DEM_TILE", "DEM_MOSAIC"
OWN_COMMANDS = (ORBIT, DEM_TILE, DEM_MOSAIC)
_REMEDY = "Run: make download CONF=..."


def write_lock(
    raw: Path,
    files: Mapping[str, Mapping[str, Any]],
    keep: Collection[str] = OWN_COMMANDS,
    pairs: Sequence[str] | None = None,
) -> None:
    """Write the lock; files: name -> record with at least file (relative to raw), mission, size, sha256.

    pairs  ids of the pairs that were fetched; None = all that the search kept
    keep  records of these missions that are there already stay, unless `files` replaces them: they have commands of
          their own
    """
    old = {name: record for name, record in read_lock(raw).items() if record.get("mission") in keep}
    data: dict[str, Any] = {"schema": SCHEMA, "files": {n: dict(r) for n, r in {**old, **files}.items()}}
    atomic_json(raw / NAME, data if pairs is None else {**data, "pairs": list(pairs)})


def merge_lock(raw: Path, files: Mapping[str, Mapping[str, Any]]) -> None:
    """Add or replace records; all others stay."""
    write_lock(raw, {**read_lock(raw), **files}, keep=(), pairs=fetched_pairs(raw))


def read_lock(raw: Path) -> dict[str, dict[str, Any]]:
    """Records by product name; empty when there is no lock yet.

    raises  InputError when it is malformed or of another schema
    """
    return dict(_read(raw)["files"])


def fetched_pairs(raw: Path) -> list[str] | None:
    """Ids of the pairs that were fetched; None = all that the search kept."""
    found = _read(raw).get("pairs")
    return None if found is None else list(found)


def _read(raw: Path) -> dict[str, Any]:
    path = raw / NAME
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {"files": {}}
    except ValueError as error:
        raise InputError(f"{path}: {error}.", f"Delete it. {_REMEDY}") from error
    if not isinstance(data, dict) or data.get("schema") != SCHEMA:
        raise InputError(f"{path}: its schema is not {SCHEMA}.", f"Delete it. {_REMEDY}")
    return data


def products_of(raw: Path, mission: str) -> dict[str, Path]:
    """Product name -> zip or .SAFE folder of one mission (S1, S2, DEM, ORBIT), sorted by name.

    raises  InputError when nothing was downloaded
    """
    files = read_lock(raw)
    found = {name: raw / record["file"] for name, record in sorted(files.items()) if record["mission"] == mission}
    if not files:
        raise InputError(f"{raw / NAME}: missing, no product was downloaded.", _REMEDY)
    return found


def orbit_files(raw: Path) -> list[Path]:
    """Orbit files that the lock names, sorted by name."""
    return [raw / record["file"] for _, record in sorted(read_lock(raw).items()) if record.get("mission") == ORBIT]


def fetched_heights(raw: Path) -> Path | None:
    """The mosaic of fetched height tiles, or None when none was fetched."""
    found = [raw / record["file"] for record in read_lock(raw).values() if record.get("mission") == DEM_MOSAIC]
    return found[0] if found else None
