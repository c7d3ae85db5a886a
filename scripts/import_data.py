"""Bring analysis-ready rasters (GeoTIFF or netCDF) into the layout, so that work starts at `tile`.

Reads   your rasters as import_data says: items listed one by one, or the layout of a known public sample
Writes  preprocessed/sentinel1/<name>/{gamma0_vv,gamma0_vh,mask}.tif  float32 linear power, uint8 bits, nodata NaN
        preprocessed/sentinel2/<name>/{B04,...,cloud}.tif  float32 reflectance 0..1, uint8 codes; product.json
        search/pairs.json  provider "import"
Items   one per product                         Fails  65 items, 66 raster missing or malformed, 72 no pair
Example  ./s2cr import_data confs/real_belgium.yaml
"""

if not __package__:
    import _direct  # noqa: F401
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from scripts._stage import Context, Report, stage

if TYPE_CHECKING:
    from utils.io.importer import Acquisition, DatedSet, Rules
    from utils.science.grid import Grid


@stage("import_data")
def run(ctx: Context) -> Report:
    from utils.io import importer
    from utils.workflow.files import atomic_json

    conf = ctx.conf.import_data
    rules = importer.Rules(**{field.name: getattr(conf, field.name) for field in fields(importer.Rules)})
    sets = _dated_sets(ctx, rules)
    pairs = importer.make_pairs(sets, conf.pairs == "both", conf.min_gap_days, conf.max_pairs)
    used = sorted(
        {dated.id: dated for pair in pairs for dated in pair}.values(), key=lambda dated: (dated.site, dated.id)
    )
    first_band = ctx.conf.dataset.optical[0]
    grids = {
        site: importer.site_grid([d for d in used if d.site == site], first_band, rules)
        for site in sorted({dated.site for dated in used})
    }
    products = {f"{a.sensor}/{a.name}": a for dated in used for a in (dated.s1, dated.s2) if a is not None}
    for item in ctx.todo(products, unit="product"):
        with item:
            _import(ctx, item, products[item.id], grids[products[item.id].site], rules)
    if not ctx.partial:
        atomic_json(ctx.output(ctx.layout.pairs_json), _pairs_json(pairs))
    tracks = sorted({str(dated.s1.relative_orbit or "unknown") for dated in used})
    return ctx.report(
        metrics={"dates": len(used), "pairs": len(pairs), "sites": len(grids)},
        summary=f"{len(used)} dates, {len(pairs)} pairs, {len(grids)} sites, track {', '.join(tracks)}",
    )


def _dated_sets(ctx: Context, rules: "Rules") -> "list[DatedSet]":
    from utils.io import import_layouts, importer
    from utils.workflow.errors import ConfigError

    conf = ctx.conf.import_data
    if conf.root is None:
        raise ConfigError("import_data.root is not set.", "Set it to the folder of the rasters.")
    root = ctx.resolve(conf.root)
    if conf.layout == "belgium":
        return import_layouts.belgium(root, conf.site, rules, conf.min_clear, conf.relative_orbit, conf.s1_average)
    if conf.layout == "finland":
        return import_layouts.finland(root, rules, conf.direction, conf.min_clear)
    if conf.layout == "simulator":
        return import_layouts.simulator(root)
    if conf.layout == "two_dates":
        sets = import_layouts.two_dates(root, conf.s1_average)
    else:
        sets = import_layouts.listed(conf.items, root, conf.site, conf.cloud_band, conf.s1_average)
    return [
        d for d in sets if conf.min_clear == 0 or d.s2 is None or importer.clear_share(d.s2, rules) >= conf.min_clear
    ]


def _import(ctx: Context, item: Any, acquisition: "Acquisition", grid: "Grid", rules: "Rules") -> None:
    """Write one product as preprocessing would."""
    import numpy as np

    from utils.io import importer, raster
    from utils.workflow.files import atomic_json

    folder = ctx.layout.preprocessed(acquisition.sensor, acquisition.name)
    facts: dict[str, Any] = {
        "product": acquisition.name, "provider": "import", "site": acquisition.site, "start": acquisition.start,
        "start_is_nominal": acquisition.nominal, "platform": acquisition.platform, "pass": acquisition.direction,
        "relative_orbit": acquisition.relative_orbit, "grid": grid.to_dict(),
        "files": sorted({p.path.name for one in (acquisition, *acquisition.members) for p in one.planes}),
    }  # fmt: skip
    if acquisition.members:
        facts["averaged"] = [{"name": one.name, "start": one.start} for one in acquisition.members]

    def write(name: str, array: Any, units: str, nodata: float | None) -> None:
        tags = ctx.tags(units, [acquisition.name], ACQ_START=acquisition.start)
        raster.write(item.output(folder / f"{name}.tif"), array, grid, band_names=[name], nodata=nodata, tags=tags)

    if acquisition.sensor == "sentinel1":
        power = importer.load_s1(acquisition, grid, rules)
        for band, plane in power.items():
            write(f"gamma0_{band.lower()}", plane, "linear power", float("nan"))
        lost = np.isnan(np.stack(list(power.values()))).any(axis=0)
        write("mask", (lost * importer.NO_SAR_SAMPLE_BIT).astype(np.uint8), "bits", None)
        facts |= {
            "radiometry": "as given by the source, not flattened here",
            "nodata_fraction": round(float(lost.mean()), 6),
        }
    else:
        reflectance, cloud = importer.load_s2(acquisition, ctx.conf.dataset.optical, grid, rules)
        for band, plane in reflectance.items():
            write(band, plane, "reflectance", float("nan"))
        write("cloud", cloud, "code", 255)
        has_cloud = acquisition.plane(importer.CLOUD) is not None
        facts |= {"cloud_source": rules.cloud_kind if has_cloud else importer.NO_CLOUD_SOURCE}
        facts |= {
            "cloud_fraction": round(float((cloud == 1).mean()), 6),
            "nodata_fraction": round(float((cloud == 255).mean()), 6),
        }
    atomic_json(item.output(folder / "product.json"), facts)
    item.data.update({key: facts[key] for key in ("site", "nodata_fraction")})


def _pairs_json(pairs: "list[tuple[DatedSet, DatedSet]]") -> dict[str, Any]:
    """The pair list in the form that find_images writes."""
    products = {a.name: a for pair in pairs for dated in pair for a in (dated.s1, dated.s2) if a is not None}
    return {
        "schema": "s2cr.pairs/1",
        "provider": {"search": "import", "download": "import"},
        "pairs": [
            {"id": f"p{rank:03d}", "rank": rank, "site": first.site, "date1": _date(first), "date2": _date(second)}
            for rank, (first, second) in enumerate(pairs, start=1)
        ],
        "products": {name: _record(acquisition) for name, acquisition in products.items()},
    }


def _date(dated: "DatedSet") -> dict[str, Any]:
    s1: dict[str, Any] = {"products": [dated.s1.name]} | _record(dated.s1)
    s2 = {"products": [dated.s2.name], "start": f"{dated.s2.start}Z"} if dated.s2 else {"products": []}
    return {"id": dated.id, "s1": s1, "s2": s2}


def _record(acquisition: "Acquisition") -> dict[str, Any]:
    return {
        "mission": acquisition.sensor.replace("sentinel", "S"), "platform": acquisition.platform,
        "start": f"{acquisition.start}Z", "start_is_nominal": acquisition.nominal,
        "relative_orbit": acquisition.relative_orbit, "direction": acquisition.direction, "provider": "import",
    }  # fmt: skip
