"""Filter speckle over all dates of a Sentinel-1 track.

Reads   preprocessed/sentinel1/<product>/gamma0_*.tif of all products of search/pairs.json, not filtered before
Writes  preprocessed/sentinel1_mt/<product>/gamma0_vv.tif, gamma0_vh.tif  float32 linear power, nodata NaN
        mask.tif (as it was), product.json
Items   one per track (relative orbit and direction); --part i/N
Fails   66 raster missing, a product that does not say its track, or a date whose products were all skipped
Example  ./s2cr multitemporal confs/demo.yaml
"""

if not __package__:
    import _direct  # noqa: F401
from typing import TYPE_CHECKING, Any

from scripts._stage import Context, Report, stage

if TYPE_CHECKING:
    from utils.io.series import Series


@stage("multitemporal")
def run(ctx: Context) -> Report:
    from scripts._dates import load_dates
    from utils.io.series import find_series
    from utils.science.threads import use_threads

    use_threads(ctx.conf.preprocess.threads)
    dates = load_dates(ctx.conf, ctx.layout, stages=("preprocess_s1",))
    products = sorted({name for date in dates.values() for name in date.s1})
    series = {one.id: one for one in find_series(ctx.layout.preprocessed_root / "sentinel1", products)}
    for item in ctx.todo(series, unit="track"):
        with item:
            _filter(ctx, item, series[item.id])
    return ctx.report(summary=f"{len(products)} products of {len(series)} tracks")


def _filter(ctx: Context, item: Any, series: "Series") -> None:
    """All products of one track."""
    from utils.io import series as files
    from utils.workflow.files import atomic_bytes, atomic_json

    conf = ctx.conf.preprocess
    window = conf.multitemporal.window
    if series.dates(series.products) < 2:
        ctx.warn(f"{series.id}: one date only, {', '.join(series.products)}; it gains no looks")
    means: dict[str, dict[str, Any]] = {name: {} for name in series.products}
    for pol in files.POLARISATIONS:
        names = [n for n in series.products if (_source(ctx, n) / files.file_of(pol)).is_file()]
        if not names:
            continue
        found = files.filter_files(
            [_source(ctx, name) / files.file_of(pol) for name in names],
            [item.output(_target(ctx, name) / files.file_of(pol)) for name in names],
            series.grid, window, polarisation=pol, tags=[_tags(ctx, name, pol, series.dates(names)) for name in names],
            threads=conf.threads,
        )  # fmt: skip
        for name, figures in zip(names, found, strict=True):
            means[name][pol] = {key: round(value, 9) for key, value in figures.items()}
    for name in series.products:
        mask = item.output(_target(ctx, name) / "mask.tif")
        atomic_bytes(mask, (_source(ctx, name) / "mask.tif").read_bytes())
        record = {"window": window, "series": list(series.products), "means": means[name]}
        atomic_json(
            item.output(_target(ctx, name) / "product.json"),
            {**files.facts_of(_source(ctx, name)), "multitemporal": record},
        )
    item.data.update(dates=series.dates(series.products), products=len(series.products))


def _source(ctx: Context, name: str) -> Any:
    return ctx.layout.preprocessed("sentinel1", name)


def _target(ctx: Context, name: str) -> Any:
    return ctx.layout.preprocessed("sentinel1_mt", name)


def _tags(ctx: Context, name: str, polarisation: str, dates: int) -> dict[str, str]:
    """Tags of the input, with what was done now."""
    from utils.io import raster
    from utils.io.series import file_of

    window = ctx.conf.preprocess.multitemporal.window
    old = dict(raster.info(_source(ctx, name) / file_of(polarisation)).tags)
    own = ctx.tags(old.get("UNITS", "m2/m2"), [name], SPECKLE=f"multitemporal {window}x{window} of {dates} dates")
    return {**old, **own}


if __name__ == "__main__":
    run()
