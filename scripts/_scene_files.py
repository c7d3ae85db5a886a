"""`./s2cr predict --scene` without a configuration: rasters that a user names to one georeferenced file."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from scripts._provenance import code_version
from scripts._scene import SceneModel, Sizes, load_run
from utils.workflow.errors import ConfigError, InputError

_USAGE = "./s2cr predict --run-dir RUN --scene --s1-t0 A.tif --s1-t1 B.tif --s2-t0 C.tif --out t1.tif"


def predict_files(values: dict[str, Any], log: logging.Logger) -> Path:
    """Predict and write; returns the path.

    raises  ConfigError for a wrong call or a run of other dates, InputError for rasters that do not fit
    """
    from utils.io.scene_reader import FileScene, median_change_db, sampled

    out = _checked(values)
    bands, n_dates = _reads(values["run_dir"])
    if n_dates != 2:
        raise ConfigError(
            f"The run takes samples of {n_dates} dates; named rasters are those of two.",
            "Predict with a configuration: ./s2cr predict CONF --scene.",
        )
    # rasters first: a wrong one is told at once, a network takes seconds to load
    with FileScene(values["s1_t0"], values["s1_t1"], values["s2_t0"], bands) as scene:
        if out.resolve() in {path.resolve() for path in scene.paths}:
            raise ConfigError(f"--out {out} is one of the inputs.", "Give another name.")
        sample = sampled(scene)
        scene.check(sample)
        medians = median_change_db(scene, sample)
        predictor = load_run(values["run_dir"], 8, values["runtime"] or "tf", scenes=True)
        known = _place(scene, sample, predictor, values) if hasattr(predictor, "place_tags") else medians
        del sample
        with SceneModel(predictor, scene, known, Sizes(), log) as model:
            covered = _write(out, scene, model, values["float32"])
    log.info("predict: %s, %.1f %% of the scene has data", out, 100 * covered)
    return out


def _reads(folder: Path) -> tuple[tuple[str, ...], int]:
    """Optical bands and number of dates that a run reads."""
    from models.run import RunFolder, load_card
    from models.session import load_scaler
    from models.trees import KIND

    card = load_card(RunFolder(folder))
    if card.get("kind") == KIND:
        return tuple(card["bands"]), 2
    scaler = load_scaler(RunFolder(folder).scaler)
    return scaler.bands_optical, scaler.n_dates


def _checked(values: dict[str, Any]) -> Path:
    missing = [
        f"--{name.replace('_', '-')}" for name in ("run_dir", "s1_t0", "s1_t1", "s2_t0", "out") if not values[name]
    ]
    if missing:
        raise ConfigError(f"--scene without CONF also needs {', '.join(missing)}.", _USAGE)
    if values["part"] or values["dataset"]:
        raise ConfigError("--part and --dataset do not go with named rasters.", _USAGE)
    out = Path(values["out"])
    if out.is_dir():
        raise ConfigError(f"--out {out} is a folder; one file is written.", "Give the name of a .tif file.")
    if out.exists() and not values["force"]:
        raise ConfigError(f"--out {out} is there already.", "Give another name, or --force to replace it.")
    return out


def _place(scene: Any, sample: Any, predictor: Any, values: dict[str, Any]) -> Any:
    """What trees ask of a scene, from every n-th row of it."""
    import numpy as np

    from models.tree_scenes import Place, ground_of
    from utils.science.res_features import facts_of

    power0, power1, optical = (np.moveaxis(planes, 0, -1) for planes in sample)
    seen = np.asarray(np.isfinite(optical).all(axis=-1))
    days = [day.date() if (day := values[name]) else None for name in ("day_t0", "day_t1")]
    return Place(facts_of(power0, power1, optical, predictor.bands, seen), ground_of("", scene.grid), *days)


def _write(out: Path, scene: Any, model: SceneModel, float32: bool) -> float:
    """A Cloud Optimized GeoTIFF, by way of one without overviews beside it; returns the share of pixels with data."""
    import numpy as np

    from utils.io.mosaics import NODATA_DN, SCALE, to_dn
    from utils.io.row_writer import cog_from, writer

    tags = {"SOURCE_PRODUCTS": ",".join(path.name for path in scene.paths), "STAGE": "predict", "CODE": code_version()}
    tags |= {"UNITS": "reflectance", **model.tags}
    kind: dict[str, Any] = {"dtype": "float32", "nodata": float("nan")}
    if not float32:
        kind = {"dtype": "int16", "nodata": NODATA_DN, "scale": SCALE, "offset": 0.0}
    rows, valid, plain = scene.grid.rows, 0, out.with_name(f".{out.name}.rows.tif")
    try:
        with writer(plain, scene.grid, len(model.bands), band_names=model.bands, tags=tags, quick=True, **kind) as file:
            for row, image in model.take(0, rows):
                valid += int(np.isfinite(image[..., 0]).sum())
                planes = np.moveaxis(image, -1, 0)
                file.write(planes if float32 else to_dn(planes), row, 0)
            if not valid:
                raise InputError(
                    "No pixel has data in all of --s1-t0, --s1-t1 and --s2-t0, so nothing was predicted.",
                    "Name rasters with data over the same ground.",
                )
        cog_from(plain, out)
    finally:
        plain.unlink(missing_ok=True)
    return float(valid / (rows * scene.grid.cols))
