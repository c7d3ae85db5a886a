"""Prediction of whole scenes: a run and rasters to rows of reflectance, and the items of stage predict."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scripts._stage import Context, Report
from utils.workflow.errors import ConfigError, InputError

if TYPE_CHECKING:
    from utils.science.scene_windows import WindowPlan


@dataclass(frozen=True)
class Sizes:
    """Side and distance of windows, pixels; None = those of the run."""

    window_px: int | None = None
    stride_px: int | None = None


def load_run(folder: Path, batch_size: int, runtime: Any, index: Any = None, scenes: bool = False) -> Any:
    """A finished run, ready to predict: a network or boosted trees.

    index   the samples, where there are some; scenes: this process predicts whole scenes
    """
    from models.trees import KIND, TreePredictor, card_kind

    if card_kind(folder) != KIND:
        from models import backend
        from models.predictor import Predictor

        backend.start(side_by_side=scenes)
        return Predictor(folder, batch_size, runtime)
    if index is None:
        return TreePredictor(folder)
    from utils.io import samples

    return TreePredictor(folder, index, samples.reader(index.set_dir))


def plan_of(predictor: Any, shape: tuple[int, int], sizes: Sizes, log: logging.Logger) -> WindowPlan:
    """Windows over a scene.

    raises  ConfigError for a window that the network cannot take, InputError for a scene that is too small for any
    """
    from utils.science.scene_windows import WindowPlan, fitting_window

    multiple = predictor.size_multiple
    step = multiple * (1 + multiple % 2)
    wanted = sizes.window_px or -(-predictor.window_px // step) * step
    if wanted % step:
        raise ConfigError(f"predict.window_px {wanted} is no multiple of {step}, as this run needs.", "Change it.")
    if sizes.stride_px and sizes.stride_px > wanted:
        raise ConfigError(
            f"predict.stride_px {sizes.stride_px} is more than the window, {wanted} px.", "Take half the window."
        )
    try:
        window = fitting_window(*shape, wanted, multiple)
    except ValueError as error:
        raise InputError(f"{error}.", "Predict a larger area, or its tiles (predict.method: tiles).") from error
    if window < wanted:
        log.warning("a scene of %d x %d px is too small for windows of %d px: %d px", *shape, wanted, window)
    stride = sizes.stride_px if sizes.stride_px and sizes.stride_px <= window else window // 2
    return WindowPlan(*shape, window, stride)


class SceneModel:
    """One run on one scene: rows of reflectance, any stripe. A context manager.

    known  of a network the scene medians of dS1 in dB by band, of trees the place
    """

    def __init__(self, predictor: Any, scene: Any, known: Any, sizes: Sizes, log: logging.Logger) -> None:
        from utils.io.filled_rows import CHUNK_ROWS, FilledRows
        from utils.io.read_ahead import Ahead
        from utils.science.scene_windows import RowFlow

        self.scene, self._predictor, self._known = scene, predictor, known
        self.tags: dict[str, str] = {"MODEL": predictor.card["model"], "RUN": predictor.card["name"]}
        self.bands: tuple[str, ...] = getattr(predictor, "scene_bands", predictor.bands)
        if hasattr(predictor, "place_tags"):
            self.tags |= predictor.place_tags(known)
            self._ahead = Ahead(self._raw, scene.grid.rows, 512)
            self._flow = RowFlow(self._trees)
            return
        self._plan = plan_of(predictor, scene.grid.shape, sizes, log)
        self.tags |= {"WINDOW_PX": str(self._plan.window_px), "STRIDE_PX": str(self._plan.stride_px)}
        self.tags |= predictor.sigma_tags
        self._filled: Any = FilledRows(scene, predictor.scaler.fill_k)
        ahead, self._chunk_rows = self._plan.stride_px // CHUNK_ROWS, CHUNK_ROWS
        self._chunks: list[Any] = [None] * (ahead + 2)
        self._ahead = Ahead(self._inputs, scene.grid.rows, CHUNK_ROWS, ahead)
        self._flow = RowFlow(self._network)

    def __enter__(self) -> SceneModel:
        return self

    def __exit__(self, *error: Any) -> None:
        self._ahead.__exit__(*error)
        del self._flow, self._ahead  # hundreds of megabytes, in circles of references
        self._filled, self._chunks = None, []

    def take(self, first: int, last: int) -> Iterator[tuple[int, Any]]:
        """Rows first .. last - 1, from top to bottom: row and (rows, cols, bands) float32 reflectance, NaN = nodata."""
        return self._flow.take(first, last)

    def _inputs(self, first: int, last: int) -> tuple[Any, Any]:
        rows = self._filled.read(first, last)
        place = first // self._chunk_rows % len(self._chunks)  # what lay there was copied long ago
        if self._chunks[place] is None:
            self._chunks[place] = self._predictor.scene_room(self._chunk_rows, self.scene.grid.cols)
        x, valid = (one[: last - first] for one in self._chunks[place])
        self._predictor.scene_input(rows, self._known, x, valid)
        return x, valid

    def _network(self, first: int) -> Iterator[tuple[int, Any]]:
        from utils.science.scene_windows import predict_rows

        one, plan = self._predictor, self._plan
        batch, (scale, offset) = one.scene_batch(plan.window_px), one.scene_units()
        return predict_rows(
            plan, self._ahead.read, one.windows, len(self.bands), batch, first,
            scale=scale, offset=offset, workers=one.scene_workers,
        )  # fmt: skip

    def _raw(self, first: int, last: int) -> tuple[Any, ...]:
        import numpy as np

        from utils.io.scene_reader import rows_of

        rows = rows_of(self.scene, first, last)
        images = (rows.s1[-2], rows.s1[-1], rows.s2[-1])
        return *(np.moveaxis(image, 0, -1) for image in images), rows.cloud == 0

    def _trees(self, first: int) -> Iterator[tuple[int, Any]]:
        from utils.science.scene_windows import predict_blocks

        @lru_cache(maxsize=1)
        def around(top: int, bottom: int) -> tuple[Any, ...]:
            return self._ahead.read(top, bottom)

        def make(place: tuple[slice, slice], own: tuple[slice, slice]) -> Any:
            rows, cols = place
            inputs = [one[:, cols] for one in around(rows.start, rows.stop)]
            return self._predictor.predict_part(*inputs, self._known)[own]

        return predict_blocks(self.scene.grid.shape, make, 512, self._predictor.halo_px, first)


class _Current:
    """The run and the scene that are open; changed when an item asks for others."""

    def __init__(self, ctx: Context, index: Any) -> None:
        from scripts._dates import load_dates

        self._ctx, self._index = ctx, index
        self.dates = load_dates(ctx.conf, ctx.layout, ctx.conf.preprocess.sar_folder)
        self._run = self._pair = ""
        self._predictor: Any = None
        self._open: SceneModel | None = None

    def model(self, run: str, pair_id: str) -> SceneModel:
        if (run, pair_id) != (self._run, self._pair) or self._open is None:
            self.close()
            conf = self._ctx.conf.predict
            if run != self._run or self._predictor is None:
                self._predictor = load_run(
                    self._ctx.layout.run(run), conf.batch_size, conf.runtime, self._index, scenes=True
                )
                self._predictor.check_bands(self._index.bands_sar, self._index.bands_optical, self._index.n_dates)
            self._run, self._pair = run, pair_id
            self._open = self._model(self._index.pairs[pair_id])
        return self._open

    def _model(self, pair: Any) -> SceneModel:
        from utils.io.scene_reader import WorkScene

        dates = [self.dates[name] for name in pair.all_dates]
        scene = WorkScene(self._ctx.layout.preprocessed_root, dates, self._index.bands_optical)
        trees = hasattr(self._predictor, "place_tags")
        known = self._predictor.scenes.place(pair.id) if trees else pair.ds1_median_db
        conf = self._ctx.conf.predict
        return SceneModel(self._predictor, scene, known, Sizes(conf.window_px, conf.stride_px), self._ctx.log)

    def close(self) -> None:
        """Let go of the scene; the run stays for the next one."""
        if self._open is not None:
            self._open.__exit__(None, None, None)
            self._open.scene.__exit__()
        self._open = None

    def __enter__(self) -> _Current:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def run_scenes(ctx: Context) -> Report:
    """Stage predict with predict.method scene."""
    from utils.io import samples
    from utils.io.scene_files import stripes

    conf = ctx.conf.predict
    index = samples.load_index(ctx.layout.dataset_set(conf.set))
    wanted = {sample.pair for sample in index.samples} & set(conf.pairs or index.pairs)
    runs, pairs = [one.name for one in ctx.conf.train.runs], sorted(wanted)
    parts = {
        f"{run}/{pair}/{first:05d}": (run, pair, first, last)
        for run in runs for pair in pairs for first, last in stripes(index.pairs[pair].grid.rows, conf.stripe_rows)
    }  # fmt: skip
    with _Current(ctx, index) as current:
        for item in ctx.todo(parts, unit="stripe"):
            with item:
                try:
                    _write(ctx, item, current, index.pairs[parts[item.id][1]], *parts[item.id])
                except BaseException:
                    current.close()  # what it had read ahead is of no use any more
                    raise
    if not ctx.partial:
        for run in runs:
            _finish(ctx, index, run, pairs, parts)
    return ctx.report({"scenes": len(pairs) * len(runs)}, f"{len(pairs)} scenes a run")


def _write(ctx: Context, item: Any, current: _Current, info: Any, run: str, pair: str, first: int, last: int) -> None:
    import numpy as np

    from utils.io.row_writer import writer
    from utils.io.scene_files import file_name
    from utils.science.grid import Window

    model = current.model(run, pair)
    dates = [current.dates[name] for name in info.all_dates]
    sources = [name for date in dates for name in date.s1] + [name for date in dates[:-1] for name in date.s2]
    tags = ctx.tags("reflectance", sources, **model.tags, PAIR=pair, DATE_T0=info.t0, DATE_T1=info.t1)
    path = item.output(ctx.layout.scene(run, pair) / file_name(first, last))
    grid, valid = info.grid.window(Window(first, 0, last - first, info.grid.cols)), 0
    with writer(
        path, grid, len(model.bands), "float32", band_names=model.bands, nodata=float("nan"), tags=tags, quick=True
    ) as out:
        for row, image in model.take(first, last):
            valid += int(np.isfinite(image[..., 0]).sum())
            out.write(np.moveaxis(image, -1, 0), row - first, 0)
    item.data.update(valid_px=valid, bands=list(model.bands))


def _finish(ctx: Context, index: Any, run: str, pairs: list[str], parts: dict[str, Any]) -> None:
    """index.json of every complete scene, and its tiles cut out: evaluate judges what the map shows."""
    from utils.io import scene_files

    complete = []
    for pair in pairs:
        ids = [name for name, one in parts.items() if one[:2] == (run, pair)]
        if any(ctx.status_of(name) != "done" for name in ids):
            continue
        found = [ctx.data_of(name) for name in ids]
        if not sum(one["valid_px"] for one in found):
            raise InputError(
                f"pair {pair}: no pixel has data in all inputs of run {run}, so nothing was predicted.",
                "Choose other dates, or leave the pair out (predict.pairs).",
            )
        bands = [band for band in found[0]["bands"] if not band.startswith("sigma_")]
        facts = {"run": run, "pair": pair, "bands": bands, "sigma": len(bands) < len(found[0]["bands"])}
        folder, shape = ctx.layout.scene(run, pair), index.pairs[pair].grid.shape
        ctx.output(scene_files.write_index(folder, facts, shape, ctx.conf.predict.stripe_rows))
        complete.append(pair)
    _tiles(ctx, index, run, complete)


def _tiles(ctx: Context, index: Any, run: str, pairs: list[str]) -> None:
    from utils.io import raster, scene_files
    from utils.workflow.files import atomic_json

    scenes = {pair: scene_files.load_index(ctx.layout.scene(run, pair)) for pair in pairs}
    chosen = [s for s in index.samples if s.pair in scenes and not s.train_only]
    for sample in chosen:
        scene, pair = scenes[sample.pair], index.pairs[sample.pair]
        image, count = scene.read(sample.window), len(scene.bands)
        tags = ctx.tags("reflectance", [pair.date1, pair.date2], RUN=run, CUT_FROM="scene")
        told = scene.sigma_tags()
        for folder, planes, bands, more in (
            (ctx.layout.pred(run), image[:count], scene.bands, {}),
            (ctx.layout.pred(run) / "sigma", image[count:], scene.all_bands[count:], told),
        ):
            if bands:
                path = ctx.output(folder / f"{sample.id}.tif")
                raster.write(path, planes, pair.grid.window(sample.window), band_names=bands, nodata=float("nan"), tags=tags | more)  # fmt: skip
    info = {
        "schema": "s2cr.prediction/1", "run": run, "set": ctx.conf.predict.set, "bands": list(index.bands_optical),
        "samples": [sample.id for sample in chosen],
    }  # fmt: skip
    atomic_json(ctx.output(ctx.layout.pred(run) / "index.json"), info)
