"""Generate the products of a synthetic scene: an archive of real-format Sentinel products, heights and the hidden truth.

Reads   section scene of the configuration
Writes  <scene.dir>/archive/<product>.zip  Sentinel-1 IW GRDH and Sentinel-2 L2A of both dates, and decoys
        <scene.dir>/area.geojson, dem.tif (ellipsoidal heights, m), preview.png, scene.json
        <scene.dir>/truth/*.tif  clear reflectance of both dates, gamma nought without speckle, severity, cover
        with scene.form rasters: <scene.dir>/rasters/sim<nnn>_{S1,S2,CLOUD}_{t0,t1}.tif, sim<nnn>_truth.tif, scene.json
Items   one per product, and `ground`; with rasters one per scene; --part i/N
Fails   65 origin or size that does not fit the Sentinel-2 grid, 69 disk full
Example  ./s2cr make_scene confs/demo.yaml
Example  ./s2cr make_scene confs/simulator.yaml --part 1/4
"""

if not __package__:
    import _direct  # noqa: F401
import os
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scripts._stage import Context, Report, stage

if TYPE_CHECKING:
    from utils.io.synth_products import SceneProducts


@stage("make_scene")
def run(ctx: Context) -> Report:
    from utils.io.synth_plans import DECOYS, S1_PLANS, S2_PLANS
    from utils.io.synth_products import SceneProducts, SceneSettings
    from utils.workflow.files import atomic_json

    folder = ctx.layout.work / ctx.conf.scene.dir
    if ctx.conf.scene.form == "rasters":
        return _rasters(ctx, folder)
    settings = {field.name: getattr(ctx.conf.scene, field.name) for field in fields(SceneSettings)}
    products = SceneProducts(SceneSettings(**settings))
    plans = [*S2_PLANS, *S1_PLANS]
    wanted = ["ground", *(name for name in plans if ctx.conf.scene.decoys or name not in DECOYS)]
    # one product of each track first: no thread waits for another's track
    wanted.sort(key=lambda name: name not in ("s1_t0", "s1_wrong_pass"))
    with _Makers(ctx, products, folder) as makers:
        for item in ctx.todo(wanted, unit="product", announce=makers.begin):
            with item:
                paths, data = makers.made(item.id)
                for path in paths:
                    item.output(path)
                item.data |= data
    names = {name: ctx.data_of(name).get("name", "") for name in wanted if name != "ground"}
    if not ctx.partial:
        atomic_json(ctx.output(folder / "scene.json"), _description(ctx, products, names, DECOYS))
    return ctx.report(
        summary=f"{ctx.conf.scene.size_px} x {ctx.conf.scene.size_px} px, {len(names)} products in {folder.name}/archive"
    )


class _Makers:
    """Products made on threads, two at most, before their turn comes: a product keeps one processor busy."""

    def __init__(self, ctx: Context, products: "SceneProducts", folder: Path) -> None:
        from concurrent.futures import Future, ThreadPoolExecutor

        self._ctx, self._products, self._folder = ctx, products, folder
        self._pool = ThreadPoolExecutor(min(2, len(os.sched_getaffinity(0))), "products")
        self._coming: dict[str, Future[tuple[list[Path], dict[str, Any]]]] = {}

    def __enter__(self) -> "_Makers":
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def begin(self, names: list[str]) -> None:
        self._products.prepare()
        self._coming = {name: self._pool.submit(self._make, name) for name in names}

    def made(self, name: str) -> tuple[list[Path], dict[str, Any]]:
        """Files of an item and its data."""
        return self._coming.pop(name).result()

    def _make(self, name: str) -> tuple[list[Path], dict[str, Any]]:
        from utils.io.synth_plans import S2_PLANS

        if name == "ground":
            return _ground(self._ctx, self._products, self._folder), {}
        if name in S2_PLANS:
            path, shares = self._products.write_s2(name, self._folder / "archive")
            return [path], {"name": path.stem, **shares}
        path = self._products.write_s1(name, self._folder / "archive")
        return [path], {"name": path.stem}


def _rasters(ctx: Context, folder: Path) -> Report:
    """Many scenes on their map grids, without products."""
    from utils.io import synth_rasters as files
    from utils.science import synth_rasters as simulator
    from utils.science.synth import SceneParams
    from utils.workflow.files import atomic_json

    conf = ctx.conf.scene
    base = SceneParams(
        conf.seed, conf.size_px, conf.fires, conf.cloud_fraction, conf.relief_m, conf.misregistration_px, conf.burn_vh_db,
        frozenset(conf.confusers),
    )  # fmt: skip
    wanted = {files.NAME.format(n): (n, params) for n, params in enumerate(simulator.scenes(base, conf.scenes))}
    tags = {"STAGE": "make_scene", "SOURCE_PRODUCTS": "synthetic", "SEED": str(conf.seed), "SYNTHETIC": "yes"}
    for item in ctx.todo(wanted, unit="scene"):
        with item:
            number, params = wanted[item.id]
            made = simulator.rasters(params)
            grid = files.grid_of(number, (conf.origin[0], conf.origin[1]), conf.epsg, conf.size_px)
            for path in files.write_scene(folder / "rasters", item.id, made, grid, tags):
                item.output(path)
            item.data |= {"fires": params.fires, "burned": round(float((made.severity > 0).mean()), 6)}
    if not ctx.partial:
        facts = {"schema": "s2cr.scene/1", "synthetic": True, "settings": conf.model_dump(mode="json")}
        atomic_json(ctx.output(folder / "scene.json"), facts | {"scenes": {n: ctx.data_of(n) for n in wanted}})
    return ctx.report(summary=f"{len(wanted)} scenes of {conf.size_px} x {conf.size_px} px in {folder.name}/rasters")


def _ground(ctx: Context, products: "SceneProducts", folder: Path) -> list[Path]:
    """Heights, truth, outline and preview; their paths."""
    from utils.io.synth_products import write_png
    from utils.workflow.files import atomic_json

    # no code version and no key in these tags: one seed gives one set of bytes
    tags = {"STAGE": "make_scene", "SOURCE_PRODUCTS": "synthetic", "SEED": str(ctx.conf.scene.seed), "SYNTHETIC": "yes"}
    paths = products.write_ground(folder, tags)
    # 5 m inside the pixel edges: the bounding box, snapped outwards to 20 m, is then exactly the intended grid
    lon, lat = products.ring(-5.0, per_side=16)
    points = [[round(float(x), 8), round(float(y), 8)] for x, y in zip(lon[::-1], lat[::-1], strict=True)]
    shape = {"type": "Polygon", "coordinates": [points]}
    feature = {"type": "Feature", "properties": {"name": "synthetic scene"}, "geometry": shape}
    outline, preview = folder / "area.geojson", folder / "preview.png"
    atomic_json(outline, {"type": "FeatureCollection", "features": [feature]})
    write_png(preview, products.preview())
    return [*paths, outline, preview]


def _description(
    ctx: Context, products: "SceneProducts", names: dict[str, str], decoys: dict[str, str]
) -> dict[str, Any]:
    """Content of scene.json."""
    conf = ctx.conf.scene
    return {
        "schema": "s2cr.scene/1", "synthetic": True, "grid": products.grid.to_dict(), "settings": conf.model_dump(mode="json"),
        "products": names, "decoys": {names[key]: reason for key, reason in decoys.items() if key in names},
        "dates": {"t0": ["2019-11-01", "2019-11-15"], "t1": ["2020-01-28", "2020-02-12"]},
        "expected": {key: names.get(key, "") for key in ("s2_t0", "s1_t0", "s2_t1", "s1_t1")},
        "track": {"relative_orbit": 147, "direction": "DESCENDING"},
        "truth": {"optical_bands": ["B02", "B03", "B04", "B08", "B12"], "burned_above_severity": 0.0},
    }  # fmt: skip
