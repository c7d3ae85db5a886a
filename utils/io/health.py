"""Checks of the environment and of the machine, for `./s2cr doctor`."""

from __future__ import annotations

import importlib
import importlib.util
import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

_PACKAGES = {
    "numpy": "numpy",
    "scipy": "scipy",
    "scikit-learn": "sklearn",
    "GDAL": "osgeo.gdal_array",
    "tensorflow": "tensorflow",
    "keras": "keras",
    "numba": "numba",
    "shapely": "shapely",
    "pydantic": "pydantic",
    "PyYAML": "yaml",
    "click": "click",
    "matplotlib": "matplotlib",
}


@dataclass(frozen=True)
class Check:
    """One finding: what was found, and what to do when it is not ok."""

    name: str
    ok: bool
    found: str
    remedy: str = ""
    optional: bool = False


def _try(name: str, test: Callable[[], str], remedy: str, optional: bool = False) -> Check:
    try:
        return Check(name, True, test())
    except Exception as error:
        reason = str(error).strip().split("\n", maxsplit=1)[0]
        return Check(name, False, f"{type(error).__name__}: {reason}", remedy, optional)


def _import(distribution: str, module: str) -> Callable[[], str]:
    def test() -> str:
        if module in ("tensorflow", "keras"):  # importing takes seconds; the specification is enough here
            if importlib.util.find_spec(module) is None:
                raise ModuleNotFoundError(module)
            names = [n for n in ("tensorflow-cpu", "tensorflow") if module == "tensorflow" and _version(n)]
            return f"{names[0]} {_version(names[0])}" if names else _version(distribution)
        importlib.import_module(module)
        return _version(distribution) or "found"

    return test


def _version(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return ""


def _projection() -> str:
    from osgeo import osr

    osr.UseExceptions()
    reference = osr.SpatialReference()
    reference.ImportFromEPSG(32755)
    return str(reference.GetName())


def _round_trip() -> str:
    import numpy as np

    from utils.io import raster
    from utils.science.grid import Grid

    array = np.arange(12, dtype=np.float32).reshape(1, 3, 4)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.tif"
        raster.write(path, array, Grid(32755, 7e5, 6.1e6, 10.0, -10.0, 3, 4))
        if not np.array_equal(raster.read(path), array):
            raise OSError("a GeoTIFF did not come back as written")
    return "GeoTIFF round trip"


def _jp2() -> str:
    from osgeo import gdal

    if gdal.GetDriverByName("JP2OpenJPEG") is None:
        raise LookupError("GDAL has no JP2OpenJPEG driver")
    return "JP2OpenJPEG driver"


def environment_checks() -> list[Check]:
    """Imports, EPSG:32755, JPEG 2000, one GeoTIFF round trip."""
    again = "Run: rm -r .venv; make env"
    checks = [_try(name, _import(name, module), again) for name, module in _PACKAGES.items()]
    checks.append(_try("buzzard", _buzzard, "Only footprints use it, and they work without.", optional=True))
    checks.append(_try("projections", _projection, "Unset PROJ_LIB and PROJ_DATA, then make env again."))
    checks.append(_try("rasters", _round_trip, again))
    checks.append(_try("JPEG 2000", _jp2, "Install a GDAL with OpenJPEG (Debian: libgdal-dev)."))
    return checks


def _buzzard() -> str:
    from utils.io import buzzard_compat

    buzzard_compat.load()
    return _version("buzzard")


def _snap() -> Check:
    """gpt with its version, heap, cache and parallelism."""
    from utils.io import snap_gpt

    gpt = snap_gpt.find_gpt()
    if gpt is None:
        return Check("SNAP gpt", False, "none", "Not needed: the native engine is the default.", optional=True)
    return _try(
        "SNAP gpt",
        lambda: f"{gpt}: {snap_gpt.diagnose(gpt)}",
        "Only needed for preprocess.backend: snap.",
        optional=True,
    )


def machine_checks() -> list[Check]:
    """Cores, disk, scheduler, SNAP, sample data, python-fmask."""
    cores = len(os.sched_getaffinity(0))
    free_gib = shutil.disk_usage(Path.cwd()).free / 2**30
    scheduler = next((name for name in ("sbatch", "qsub") if shutil.which(name)), None)
    data = os.environ.get("S2CR_DATA")
    fmask = shutil.which("fmask_sentinel2Stacked")
    return [
        Check("cores", True, str(cores)),
        Check("disk", free_gib > 5, f"{free_gib:.0f} GiB free here", "Free some space, or set `work` to another disk."),
        Check(
            "scheduler",
            scheduler is not None,
            scheduler or "none",
            "Without one, stages run where you call them.",
            optional=True,
        ),
        _snap(),
        Check(
            "python-fmask",
            fmask is not None,
            fmask or "none",
            "Only in conda; the default cloud mask does not need it.",
            optional=True,
        ),
        Check(
            "S2CR_DATA",
            bool(data),
            data or "not set",
            "Real sample data for tests; they are skipped without.",
            optional=True,
        ),
    ]
