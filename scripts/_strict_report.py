"""Reports of the strict split: collected from the results of the folds, written as JSON, plot and page."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from scripts import _strict_networks
from scripts._provenance import code_version, package_versions
from scripts._strict import Strict, as_sums, chosen_place, load_places
from utils.io import strict_plot
from utils.science import strict_report
from utils.science.evaluation import plain
from utils.science.strict_methods import METHODS
from utils.science.strict_scores import merged
from utils.workflow import config
from utils.workflow.errors import InputError, UsageError
from utils.workflow.files import atomic_json, atomic_text

MARKS = ("<!-- strict split: begin, written by ./s2cr strict -->", "<!-- strict split: end -->")
REDUCED = {
    "strict.pixels": 6000, "strict.bag_pixels": 2000, "strict.inner_pixels": 1000, "strict.partly_clear": 1.0,
    "strict.networks": [],
}  # fmt: skip
REDUCED_WORDS = " REDUCED FORM: a tenth of the pixels, clear dates only, left to right only; networks only where named."


def overrides(seeds: str | None, reduced: bool, networks: str | None, steps: int | None) -> dict[str, Any]:
    """Configuration keys that options replace.

    networks  names with commas, "none" for none of them
    raises    UsageError for seeds that are no whole numbers, and for unknown networks
    """
    out: dict[str, Any] = dict(REDUCED) if reduced else {}
    if networks is not None:
        names = [name.strip() for name in networks.split(",") if name.strip() not in ("", "none")]
        out["strict.networks"] = list(_strict_networks.check_names(names))
    if steps is not None:
        out["strict.network_steps"] = steps
    if seeds is not None:
        try:
            out["strict.seeds"] = [int(text) for text in seeds.split(",")]
        except ValueError as error:
            raise UsageError(f"--seeds {seeds}: not whole numbers.", "Write --seeds 1,2,3.") from error
    return out


class PlaceRun:
    """One configuration: its place, results and report."""

    def __init__(self, path: Path, changes: Mapping[str, Any], reduced: bool, log: logging.Logger) -> None:
        self.path, self.reduced = path, reduced
        self.conf = config.load(path, changes)
        _strict_networks.check_names(self.conf.strict.networks)  # before hours of trees, not after them
        self.layout = config.layout_of(self.conf)
        self.place = chosen_place(self.conf, load_places(self.conf))
        folder = "strict_reduced" if reduced else "strict"
        self.judged = Strict(self.conf, self.place, self.layout.work / folder / self.place.name, log)
        if reduced:
            self.judged.folds = [fold for fold in self.judged.folds if fold.side == "right"]

    def folds(self) -> list[dict[str, Any]]:
        """Facts of every fold: what a training elsewhere must keep to."""
        return [
            {
                "fold": fold.name, "place": fold.site, "tests": fold.side, "group": list(fold.group),
                "train_pairs": [list(pair) for pair in fold.train_pairs],
                "test_pairs": [list(pair) for pair in fold.test_pairs],
                "train_columns": _span(fold.train_area), "test_columns": _span(fold.test_area),
            }
            for fold in self.judged.folds
        ]  # fmt: skip

    def fit_part(self, part: tuple[int, int]) -> None:
        """Fit and judge one part of the folds, for runs side by side; no report."""
        for _ in self.judged.results(self.conf.strict.seeds, part):
            pass
        for _ in self._networks(part):
            pass

    def _networks(self, part: tuple[int, int] = (1, 1)) -> Iterator[dict[str, Any]]:
        own = self.conf.strict
        return _strict_networks.results(self.judged, own.networks, own.network_steps, own.network_seeds, part)

    def report(self, predictions: Mapping[str, Path]) -> dict[str, Any]:
        """Fit and judge what is missing, write strict.json and strict.png, return the report.

        raises  InputError when a folder of predictions holds none of this place's folds and there is no other place
        """
        sums: dict[str, dict[int, Any]] = {}
        shrink = []
        for _, seed, result in self.judged.results(self.conf.strict.seeds):
            shrink.append(result["shrink"])
            for name, parts in result["methods"].items():
                sums.setdefault(name, {}).setdefault(seed, []).append(as_sums(parts))
        networks = list(self._networks())
        for result in networks:
            sums.setdefault(result["network"], {}).setdefault(result["seed"], []).append(as_sums(result["sums"]))
        order = [*METHODS, *sorted(set(sums) - set(METHODS))]
        pooled = {name: {seed: merged(parts) for seed, parts in sums[name].items()} for name in order if name in sums}
        told: dict[str, str] = {}
        for name, folder in predictions.items():
            found = self.judged.judged_files(folder)
            if found is not None:
                pooled[name], told[name] = {0: as_sums(found)}, _about(folder)
        judge = self.conf.evaluate
        report = strict_report.build(
            self.place.name,
            pooled,
            self._facts(shrink, networks, told),
            len(self.place.bands),
            judge.bootstrap,
            judge.seed,
        )
        report = dict(plain(report))
        name = "strict_reduced" if self.reduced else "strict"
        atomic_json(self.layout.reports / f"{name}.json", report)
        strict_plot.write(self.layout.reports / f"{name}.png", [report], goals())
        return report

    def _facts(
        self, shrink: Sequence[float], networks: Sequence[Mapping[str, Any]], told: Mapping[str, str]
    ) -> dict[str, Any]:
        own, dates = self.conf.strict, self.place.dates
        clear = [date for date in dates if date.clear]
        folds = self.judged.folds
        pairs = len({pair for fold in folds for pair in fold.test_pairs})
        return {
            "title": f"{self.place.name}: {pairs} pairs of {len(clear)} clear dates, {len(folds)} folds",
            "facts": {
                "place": self.place.name, "shape": list(self.place.shape), "bands": list(self.place.bands),
                "clear_dates": len(clear), "further_training_dates": len(dates) - len(clear), "test_pairs": pairs,
                "groups": len({fold.group for fold in folds}), "folds": len(folds), "guard_px": own.guard_px,
                "guard_days": self.conf.split.date_guard_days, "block_px": own.block_px, "pixels": own.pixels,
                "bag_pixels": own.bag_pixels, "inner_pixels": own.inner_pixels, "seeds": list(own.seeds),
                "score": own.score, "draws": self.conf.evaluate.bootstrap, "reduced": self.reduced,
                "s1_average": self.conf.import_data.s1_average,
                "train_pairs": [min(len(f.train_pairs) for f in folds), max(len(f.train_pairs) for f in folds)],
                "shrink": [min(shrink), max(shrink)], "networks": _strict_networks.facts_of(networks),
                "from_files": dict(told),
            },
            "provenance": {"code": code_version(), "packages": package_versions(), "date": time.strftime("%Y-%m-%d")},
        }  # fmt: skip


def check_given(predictions: Mapping[str, Path], runs: Sequence[PlaceRun]) -> None:
    """raises  UsageError for predictions that bear the name of a method: one row would hide the other"""
    taken = {*METHODS, *(name for one in runs for name in one.conf.strict.networks)}
    for name, folder in predictions.items():
        if name in taken:
            raise UsageError(f"--predictions {name}={folder}: {name} is in the table already.", "Give it another name.")


def _about(folder: Path) -> str:
    """First line of about.txt beside predictions, which tells how they were made; empty where there is none."""
    try:
        return (folder / "about.txt").read_text(encoding="utf-8").partition("\n")[0].strip()
    except (OSError, UnicodeDecodeError):
        return ""


def _span(area: Any) -> list[int]:
    """First and last column (inclusive) of an area."""
    columns = area.any(axis=0).nonzero()[0]
    return [int(columns[0]), int(columns[-1])]


def goals() -> dict[str, float]:
    return {place: goal.changed for place, goal in strict_report.GOALS.items()}


def lines(report: Mapping[str, Any]) -> list[str]:
    return [f"== {report['title']}", provenance(report), *strict_report.text_lines(report)]


def place_lines(cases: Sequence[Mapping[str, Any]]) -> list[str]:
    """Figures of the places left out for a terminal."""
    return ["  ".join(row) for row in strict_report.place_rows(cases)] if cases else []


def provenance(report: Mapping[str, Any]) -> str:
    """What a table is of, in one paragraph."""
    facts, source = report["facts"], report["provenance"]
    form = REDUCED_WORDS if facts["reduced"] else ""
    seeds = ", ".join(map(str, facts["seeds"]))
    return (
        f"{facts['groups']} groups of dates, guard {facts['guard_days']} days and {facts['guard_px']} px,"
        f" {facts['further_training_dates']} partly cloudy dates also train, {facts['train_pairs'][0]} to"
        f" {facts['train_pairs'][1]} training pairs a fold; {facts['pixels']} pixels a model, {facts['bag_pixels']} a member"
        f" of a bag, {facts['inner_pixels']} out of fold; seeds {seeds}; blocks of {facts['block_px']} px,"
        f" {facts['draws']} draws; shrink factor {facts['shrink'][0]:.2f} to {facts['shrink'][1]:.2f}."
        f" Code {source['code']}, scikit-learn {source['packages'].get('scikit-learn')}, {source['date']}.{form}"
    )


def places(runs: Sequence[PlaceRun], log: logging.Logger) -> list[dict[str, Any]]:
    """Figures of the places left out, with the first seed."""
    from scripts._strict_places import Places

    first = runs[0]
    folder = first.layout.work / ("strict_reduced" if first.reduced else "strict") / "places"
    return Places([run.conf for run in runs], log).results(folder, first.conf.strict.seeds[0])


def write_page(
    page: Path, reports: Sequence[Mapping[str, Any]], words: Sequence[str], cases: Sequence[Mapping[str, Any]]
) -> None:
    """Put the tables between the two marks of a page (made where it is missing) and the plot beside it.

    words   of the command that made the reports, without --page: they stand above the tables
    raises  InputError for a page without the marks
    """
    picture = page.with_name(f"{page.stem}_strict.png")
    command = f"./s2cr strict {' '.join(words)} --page {page}"
    body = strict_report.markdown(reports, picture.name, provenance)
    if cases:
        body += "\n" + strict_report.places_markdown(cases)
    section = (
        f"{MARKS[0]}\n## Strict split: unseen ground and unseen season\n\nWritten by `{command}`.\n\n{body}{MARKS[1]}\n"
    )
    text = page.read_text(encoding="utf-8") if page.exists() else f"# Results\n\n{MARKS[0]}\n{MARKS[1]}\n"
    if not all(mark in text for mark in MARKS):
        text = f"{text.rstrip()}\n\n{MARKS[0]}\n{MARKS[1]}\n"
    before, _, rest = text.partition(MARKS[0])
    _, found, after = rest.partition(MARKS[1])
    if not found:
        raise InputError(f"{page}: the closing mark comes before the opening one.", "Delete both marks.")
    strict_plot.write(picture, reports, goals())
    atomic_text(page, before + section + after.lstrip("\n"))
