"""Where orbit files are looked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from utils.io.download_lock import orbit_files


def orbit_paths(ctx: Any) -> list[Path]:
    """Orbit files that were fetched, then those of preprocess.orbit_dir."""
    folder = ctx.conf.preprocess.orbit_dir
    more = sorted(ctx.resolve(folder).glob("*.EOF")) if folder else []
    return [*orbit_files(ctx.layout.raw), *more]
