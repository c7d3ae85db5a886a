"""Compare the rasters of two engines for the same product: the native one and SNAP.

Reads   preprocessed/<sensor>/<product>/ and the folder --snap of the same product by SNAP, from a second work directory;
        without --product all products of preprocessed_snap/<sensor>/, where such folders may be put together
Writes  reports/engines/<product>.json and .png: both, their difference, its histogram
Pixels  Sentinel-1: no mask bit in either, mean power of both above 3 times the noise of the product; values in dB
        Sentinel-2: all with a value in both
Limits  median of the difference 0.15 dB (1e-4 reflectance), displacement by correlation 0.2 px; a figure beyond its
        limit is printed as short, which is no failure
Fails   66 nothing from the native engine, grids that do not align; 70 nothing from SNAP

Example  ./s2cr compare_engines confs/demo.yaml
Example  ./s2cr compare_engines confs/demo.yaml --product S1A_IW_GRDH_... --snap mine_snap/preprocessed/sentinel1/S1A_IW_GRDH_...
"""

if not __package__:
    import _direct  # noqa: F401
from pathlib import Path
from typing import Any

import click

from scripts._options import CONF
from scripts._stage import guarded

_TEXT, *_EXAMPLES = __doc__.split("\nExample")
_HEAD, _, _REST = _TEXT.partition("\n\n")
_FOLDER = click.Path(path_type=Path, file_okay=False)
_SENSORS = ("sentinel1", "sentinel2")


@click.command(
    "compare_engines",
    help=f"{_HEAD}\n\n\b\n{_REST.strip()}",
    epilog="\b\nExample:\n" + "\n".join(f"  {line.strip()}" for line in _EXAMPLES),
)
@CONF
@click.option("--product", metavar="ID", help="Only this product; without it all that both engines made.")
@click.option("--native", type=_FOLDER, help="Folder of the product by the native engine.")
@click.option("--snap", type=_FOLDER, help="Folder of the product by SNAP.")
@click.option("--noise-db", type=float, help="Noise as gamma0 in dB, instead of the product's own table.")
def run(conf: Path, product: str | None, native: Path | None, snap: Path | None, noise_db: float | None) -> None:
    from utils.workflow import config
    from utils.workflow.errors import InputError

    with guarded("compare_engines") as log:
        layout = config.layout_of(config.load(conf))
        given = next((folder.name for folder in (native, snap) if folder), None)
        for sensor, name in _products(layout, product or given, native, snap, conf):
            folders = (native or layout.preprocessed(sensor, name), snap or _snap_root(layout) / sensor / name)
            if not folders[0].is_dir():
                raise InputError(f"{folders[0]}: nothing from the native engine.", f"Run: make preprocess CONF={conf}")
            for line in _compare(layout, sensor, name, folders, noise_db, log):
                click.echo(line)


def _snap_root(layout: Any) -> Path:
    return Path(layout.work) / "preprocessed_snap"


def _sensor(name: str) -> str:
    return "sentinel2" if name.startswith("S2") else "sentinel1"


def _products(
    layout: Any, wanted: str | None, native: Path | None, snap: Path | None, conf: Path
) -> list[tuple[str, str]]:
    """(sensor, id) of what to compare; the files of SNAP decide."""
    from utils.workflow.errors import ExternalError

    if wanted is not None:
        folder = snap or _snap_root(layout) / _sensor(wanted) / wanted
        found = [(_sensor(wanted), wanted)] if folder.is_dir() else []
    else:
        folder = _snap_root(layout)
        found = _in(folder)
    if not found:
        raise ExternalError(f"{folder}: nothing from SNAP to compare with.", _steps(layout, wanted, conf))
    return found


def _in(folder: Path) -> list[tuple[str, str]]:
    return [(s, path.name) for s in _SENSORS for path in sorted((folder / s).glob("*")) if path.is_dir()]


def _steps(layout: Any, wanted: str | None, conf: Path) -> str:
    """How to come by the files of SNAP, as commands: a work directory holds the files of one engine."""
    import shlex

    work = Path(layout.work)
    native = _in(work / "preprocessed")
    sensor, name = (_sensor(wanted), wanted) if wanted else native[0] if native else ("sentinel1", "ID")
    short = "s1" if sensor == "sentinel1" else "s2"
    here, other, second = (
        shlex.quote(str(p)) for p in (work, f"{work}_snap", conf.with_name(f"{conf.stem}_snap.yaml"))
    )
    folder = shlex.quote(f"{work}_snap/preprocessed/{sensor}/{name}")
    return (
        "Run it through SNAP in a second work directory, then name the folder with --product ID --snap DIR:\n"
        f"  cp -r {here} {other} && rm -rf {other}/preprocessed\n"
        f"  cp {shlex.quote(str(conf))} {second}  # and set in it: work: {other}, preprocess.{short}_backend: snap\n"
        f"  ./s2cr preprocess_{short} {second}\n"
        f"  ./s2cr compare_engines {shlex.quote(str(conf))} --product {name} --snap {folder}"
    )


def _noise(layout: Any, name: str, polarisation: str, noise_db: float | None, log: Any) -> tuple[float, str]:
    """Noise as gamma0 and where the figure comes from."""
    import math

    from utils.io.download_lock import products_of
    from utils.io.engine_folders import noise_of
    from utils.science.engines import NOISE_DB_UNKNOWN
    from utils.workflow.errors import InputError

    if noise_db is not None:
        return 10 ** (noise_db / 10), "--noise-db"
    try:
        archive = products_of(layout.raw, "S1").get(name)
        level = noise_of(archive, polarisation) if archive else float("nan")
    except InputError as error:
        log.warning("%s", error.message)
        level = float("nan")
    if math.isfinite(level):
        return level, "noise table of the product"
    log.warning("W_NOISE: %s %s: no noise table at hand; %g dB is taken", name, polarisation, NOISE_DB_UNKNOWN)
    return 10 ** (NOISE_DB_UNKNOWN / 10), "promise of the mission"


def _compare(
    layout: Any, sensor: str, name: str, folders: tuple[Path, Path], noise_db: float | None, log: Any
) -> list[str]:
    """Figures of one product, one line a raster; writes the report and the picture."""
    import math

    from utils.io import engine_folders as pair
    from utils.workflow.files import atomic_json

    found, noise = [], {}
    for raster_name in pair.rasters_of(*folders, sensor):
        power = None
        if sensor == "sentinel1":
            power, source = _noise(layout, name, raster_name.removeprefix("gamma0_").upper(), noise_db, log)
            noise[raster_name] = {"gamma0_db": round(10 * math.log10(power), 3), "source": source}
        found.append(pair.compare(*folders, raster_name, power))
    report = layout.reports / "engines" / f"{name}.json"
    work = Path(layout.work)
    places = [folder.relative_to(work) if folder.is_relative_to(work) else folder for folder in folders]
    facts = {"product": name, "sensor": sensor, "native": str(places[0]), "snap": str(places[1]), "noise": noise}
    pair.sheet(report.with_suffix(".png"), found, ("native", "SNAP"), name)
    atomic_json(report, pair.report(found, facts))
    return [name, *(f"  {item.line()}" for item in found), f"  {report}"]


if __name__ == "__main__":
    run()
