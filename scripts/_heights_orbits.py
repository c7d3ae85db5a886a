"""Where heights and orbit files come from, for both engines."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from utils.io.download_lock import fetched_heights, orbit_files
from utils.workflow.errors import ConfigError


def orbit_paths(ctx: Any) -> list[Path]:
    """Orbit files that were fetched, then those of preprocess.orbit_dir."""
    folder = ctx.conf.preprocess.orbit_dir
    more = sorted(ctx.resolve(folder).glob("*.EOF")) if folder else []
    return [*orbit_files(ctx.layout.raw), *more]


def height_raster(ctx: Any) -> Path:
    """Where heights come from: preprocess.dem.path, or its copy in raw/; when it is empty, what download fetched.

    raises  ConfigError when neither is there
    """
    text = ctx.conf.preprocess.dem.path
    if text is not None:
        path: Path = ctx.resolve(text)
        copy: Path = ctx.layout.raw / "dem" / path.name
        return copy if copy.is_file() else path
    fetched = fetched_heights(ctx.layout.raw)
    if fetched is None:
        raise ConfigError(
            "preprocess.dem.path is not set, and no height tiles were fetched.",
            "Run: ./s2cr fetch_dem CONF, or set it to a height raster of the area and its surroundings.",
        )
    return fetched
