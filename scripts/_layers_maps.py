"""Views of the burned-area maps of a pair: index difference, severity, burned, and their probabilities where there are any."""

from __future__ import annotations

from scripts._layers import PairViews, View
from utils.io import pictures, raster
from utils.science import severity

TABLES = (
    ("DNDVI", "dNDVI", pictures.SEVERITY_RGB, severity.SEVERITY_NAMES),
    ("DNBR", "dNBR", pictures.DNBR_RGB, severity.DNBR_NAMES),
)


def map_views(views: PairViews, run: str, words: str) -> list[View]:
    """Index difference, severity and burned area of a run, of truth or hidden; empty without maps."""
    folder = views.ctx.layout.maps(run, views.pair_id)
    if not (folder / "severity.tif").is_file():
        return []
    group = "Maps of the truth" if run in ("truth", "hidden") else f"Maps of {run}"
    found = []
    for index, table, colours, names in TABLES:
        if index not in raster.info(folder / "severity.tif").band_names:
            continue
        path = folder / f"{index.lower()}.tif"
        change = views.see.mean(views.plain(path))[0]
        picture = pictures.ramp(change, *pictures.DIFFERENCE_RANGE, "change")
        text = f"{table} before minus after, {words}."
        found.append(View(f"{index}:{run}", f"{table} {words}", group, picture, text, ramp=("change", "-0.6", "+0.6")))
        for label, rgb, keys in (
            ("severity", colours, names),
            ("burned", pictures.BURNED_RGB, ("not burned", "burned")),
        ):
            caption = f"{label.capitalize()} from {table}, {words}; grey is no data."
            key, name = f"{label}_{index}:{run}", f"{label} {table} {words}"
            found.append(views.codes(key, name, group, folder / f"{label}.tif", rgb, keys, caption, index))
    return found + _probabilities(views, run, words, group)


def _probabilities(views: PairViews, run: str, words: str, group: str) -> list[View]:
    """How likely burned, and how sure the severity class is; empty where the run tells no sigma."""
    path = views.ctx.layout.maps(run, views.pair_id) / "severity_probability.tif"
    if not path.is_file():
        return []
    bands, found = raster.info(path).band_names, []
    for index, table, _, _ in TABLES:
        for band, name, text in (
            (
                f"{index}_BURNED",
                f"probability burned {table}",
                f"Probability that {table} is over the threshold, from sigma",
            ),
            (
                f"{index}_LIKELIEST",
                f"certainty of severity {table}",
                f"Probability of the likeliest severity class of {table}, from sigma",
            ),
        ):
            if band in bands:
                share = views.see.mean(views.percent(path, band))[0]
                picture = pictures.ramp(share, 0.0, 1.0, "share")
                key, caption = f"{band}:{run}", f"{text}, {words}; grey is no data."
                found.append(View(key, f"{name} {words}", group, picture, caption, ramp=("share", "0", "1")))
    return found


def all_views(views: PairViews) -> list[View]:
    """Every view of the pair: inputs and truth, each run, maps of the first run and of the truth."""
    runs = [run.name for run in views.ctx.conf.train.runs]
    found = views.inputs()
    for run in runs:
        found += views.results(run)
    if runs:
        found += map_views(views, runs[0], f"simulated by {runs[0]}")
    return found + map_views(views, views.truth_run, "of the truth")


def main_views(views: PairViews) -> list[View]:
    """The views of a close look: no infrared and no other run than the first."""
    runs = views.ctx.conf.train.runs
    found = views.inputs()
    if runs:
        found += views.results(runs[0].name) + map_views(views, runs[0].name, f"simulated by {runs[0].name}")
    found += map_views(views, views.truth_run, "of the truth")
    return [view for view in found if not view.key.endswith("_ir")]
