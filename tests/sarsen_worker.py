"""sarsen in a process of its own: `python -m tests.sarsen_worker REQUEST.json`, the answer is one JSON line on stdout.

sarsen reads rasters through rasterio, whose wheel carries a second GDAL: it must never share a process with osgeo, so
nothing of this project is imported here. Request:
product   SAFE folder;  group  such as IW/VV;  dem  GeoTIFF of ellipsoidal heights on a UTM grid, north up
task      oracle: zero Doppler to 1 mm; writes azimuth_s, slant_m, ground_m, beta0 and ratio (float64, rows, cols,
          north up) as .npy into `out`
          run: sarsen's own do_terrain_correction with `method` (gamma_bilinear, gamma_nearest or null) on the part of
          dem inside `bounds` (xmin, ymin, xmax, ymax), in memory; a small square comes first and is timed apart
The number of threads comes from DASK_NUM_WORKERS.
"""

from __future__ import annotations

import json
import re
import sys
import time
from pathlib import Path
from typing import Any

CHUNK_PX = 1024  # sarsen's default
ZERO_DOPPLER_M = 1e-3  # the default stops at 1 m of the zero-Doppler plane: up to 0.01 lines off


def _oracle(product: Any, dem: Any, out: Path) -> dict[str, Any]:
    """The steps of sarsen's do_terrain_correction, with the strict stop that it does not hand through."""
    import numpy as np
    import xarray as xr
    from sarsen import apps, chunking, orbit, radiometry, scene

    dem_ecef = xr.map_blocks(scene.convert_to_dem_ecef, dem)
    interpolator = orbit.OrbitPolyfitInterpolator.from_position(product.state_vectors())
    seen = apps.map_simulate_acquisition(
        dem_ecef, interpolator, correct_radiometry="gamma_bilinear", zero_doppler_distance=ZERO_DOPPLER_M
    ).persist()
    template = dem_ecef.isel(axis=0).drop_vars(["axis", "spatial_ref"]) * 0.0
    ratio = chunking.map_overlap(
        obj=seen, function=radiometry.gamma_weights_bilinear, chunks=2048, bound=128,
        kwargs=product.grid_parameters((3.0, 3.0)), template=template,
    )  # fmt: skip
    beta0 = xr.map_blocks(apps.geocode_grd_chunk, seen, kwargs={"product": product, "method": "linear"})
    first = np.datetime64(product.measurement.attrs["product_first_line_utc_time"], "ns")
    seen = seen.compute()
    arrays = {
        "azimuth_s": (seen.azimuth_time - first) / np.timedelta64(1, "s"),
        "slant_m": seen.slant_range_time * apps.SPEED_OF_LIGHT / 2,
        "ground_m": product.slant_range_time_to_ground_range(seen.azimuth_time, seen.slant_range_time),
        "beta0": beta0,
        "ratio": ratio,
    }
    for name, values in arrays.items():
        # sarsen turns the heights south up
        np.save(out / f"{name}.npy", values.transpose("y", "x").sortby("y", ascending=False).values.astype(np.float64))
    return {"shape": list(seen.slant_range_time.shape)}


def _run(request: dict[str, Any], dem: Any) -> dict[str, Any]:
    import numpy as np
    import sarsen
    from sarsen import apps

    def correct(xmin: float, ymin: float, xmax: float, ymax: float) -> Any:
        # a new object each time: it keeps what it has read
        product = sarsen.Sentinel1SarProduct(request["product"], measurement_group=request["group"])
        part = dem.sel(x=slice(xmin, xmax), y=slice(ymin, ymax)).chunk(x=CHUNK_PX, y=CHUNK_PX)
        image, _ = apps.do_terrain_correction(
            product, part, correct_radiometry=request["method"], interp_method="linear"
        )
        return image.values

    begin = time.perf_counter()
    xmin, ymin, xmax, ymax = request["bounds"]
    x, y = (xmin + xmax) / 2, (ymin + ymax) / 2
    correct(x, y, x + 1920, y + 1920)  # sarsen takes no chunk below 128 px
    warm = time.perf_counter()
    values = correct(xmin, ymin, xmax, ymax)
    done = time.perf_counter()
    return {"warm_s": warm - begin, "work_s": done - warm, "median": float(np.nanmedian(values)), "shape": values.shape}


def peak_gib() -> float:
    """Largest resident memory of this process. Not ru_maxrss: it starts with the memory of the process that forked."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    return int(found.group(1)) / 2**20 if found else float("nan")


def main(request: dict[str, Any]) -> dict[str, Any]:
    """Do one request; seconds are wall time."""
    begin = time.perf_counter()
    import sarsen
    from sarsen import apps, scene  # noqa: F401

    imported = time.perf_counter()
    dem = scene.open_dem_raster(request["dem"], chunks=CHUNK_PX)
    if request["task"] == "oracle":
        product = sarsen.Sentinel1SarProduct(request["product"], measurement_group=request["group"])
        found = _oracle(product, dem, Path(request["out"]))
    else:
        found = _run(request, dem)
    work_s = time.perf_counter() - imported
    return {"import_s": imported - begin, "work_s": work_s, "peak_gib": peak_gib(), **found}


if __name__ == "__main__":
    print(json.dumps(main(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))))
