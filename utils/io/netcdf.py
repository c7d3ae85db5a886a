"""netCDF cubes through GDAL's multidimensional driver (netCDF-3 and -4): planes, grid and times of a variable.

GDAL's classic netCDF reader drops the georeference of files whose grid mapping is named in `coordinates` (as xarray
writes them), so grid and times are taken from the coordinate variables themselves.
"""

from __future__ import annotations

import datetime as dt
import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from osgeo import gdal

from utils.science.grid import Grid
from utils.workflow.errors import InputError

gdal.UseExceptions()
_UNITS_S = {"second": 1, "seconds": 1, "minutes": 60, "hours": 3600, "days": 86400}
_SINCE = re.compile(r"(\w+) since (\d{4}-\d\d-\d\d)(?:[ T](\d\d:\d\d:\d\d)(?:\.\d+)?)?")


class Cube:
    """An open netCDF file with variables on (time, y, x) or (y, x). Use as a context manager."""

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        try:
            self._dataset = gdal.OpenEx(str(path), gdal.OF_MULTIDIM_RASTER)
            self._root = self._dataset.GetRootGroup()
        except RuntimeError as error:
            reason = "no such file" if not self.path.exists() else f"not a readable netCDF file ({error})"
            raise InputError(f"{path}: {reason}.", "Check the path in import_data.") from error

    def __enter__(self) -> Cube:
        return self

    def __exit__(self, *_: object) -> None:
        self._root = self._dataset = None

    def _array(self, name: str) -> Any:
        names = self._root.GetMDArrayNames() or []
        if name not in names:
            raise InputError(f"{self.path}: no variable {name!r}; it has {', '.join(names)}.", "Name one of them.")
        return self._root.OpenMDArray(name)

    def _coordinate(self, name: str) -> NDArray[np.float64]:
        return np.asarray(self._array(name).ReadAsArray(), dtype=np.float64)

    def planes(self, variable: str, time_index: int | None = None) -> NDArray[Any]:
        """Values as stored, north up: (y, x), or (time, y, x) without time_index.

        raises  InputError for an unknown variable, another number of dimensions or an index that is not there
        """
        array = self._array(variable)
        values = np.asarray(array.ReadAsArray())
        if values.ndim not in (2, 3):
            raise InputError(
                f"{self.path}: {variable} has {values.ndim} dimensions, not (time, y, x).", "Select one plane first."
            )
        if values.ndim == 3 and time_index is not None:
            if not 0 <= time_index < len(values):
                raise InputError(
                    f"{self.path}: {variable} has {len(values)} times, no index {time_index}.", "Correct time_index."
                )
            values = values[time_index]
        y = self._coordinate(array.GetDimensions()[-2].GetName())
        return values[..., ::-1, :] if y[0] < y[-1] else values

    def grid(self, variable: str) -> Grid:
        """Grid of a variable from its coordinate variables, which hold pixel centres.

        raises  InputError when the coordinates are not evenly spaced or too few
        """
        array = self._array(variable)
        y_name, x_name = (dimension.GetName() for dimension in array.GetDimensions()[-2:])
        y, x = np.sort(self._coordinate(y_name))[::-1], self._coordinate(x_name)
        if min(len(x), len(y)) < 2:
            raise InputError(f"{self.path}: {variable} has fewer than 2 pixels a side.", "Give a larger raster.")
        dx, dy = (float(v[-1] - v[0]) / (len(v) - 1) for v in (x, y))
        if not (np.allclose(np.diff(x), dx, rtol=1e-3) and np.allclose(np.diff(y), dy, rtol=1e-3)) or dx <= 0:
            raise InputError(
                f"{self.path}: the coordinates of {variable} are not evenly spaced.", "Warp it to a regular grid first."
            )
        reference = array.GetSpatialRef()
        code = reference.GetAuthorityCode(None) if reference is not None else None
        return Grid(int(code) if code else 0, float(x[0]) - dx / 2, float(y[0]) - dy / 2, dx, dy, len(y), len(x))

    def times(self, name: str = "timestamp") -> list[dt.datetime]:
        """Times of a CF time variable (`seconds since ...`), UTC without zone, to the second.

        raises  InputError for units that are not `<seconds|minutes|hours|days> since <date>`
        """
        array = self._array(name)
        match = _SINCE.match(array.GetUnit() or "")
        if match is None or match.group(1) not in _UNITS_S:
            raise InputError(
                f"{self.path}: time units {array.GetUnit()!r} are not understood.",
                "Use CF units, for example: seconds since 2018-01-01 00:00:00.",
            )
        start = dt.datetime.fromisoformat(f"{match.group(2)}T{match.group(3) or '00:00:00'}")
        step = _UNITS_S[match.group(1)]
        return [start + dt.timedelta(seconds=round(float(value) * step)) for value in np.asarray(array.ReadAsArray())]
