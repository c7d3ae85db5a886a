"""The models that the strict split compares, fitted for one fold from its drawn pixels."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from utils.science import gated, linear, metrics
from utils.science.gated import Bagged
from utils.science.pixel_net import PixelNet
from utils.science.strict import Dated, Fold, date_groups, distant
from utils.science.strict_rows import Pair, Rows, Sheet
from utils.science.trees import Forest, Recipe, fit_bands, predict_bands

Matrix = NDArray[np.float64]
Positions = NDArray[np.intp]
NetFitter = Callable[[NDArray[np.float32], NDArray[np.float32], int], PixelNet]  # features, change, seed

RES = Recipe()
CTX = Recipe(iterations=150, rate=0.1, leaves=31, min_leaf=20, l2=0.0)
# method -> features, recipe, only clear dates
PLAIN: dict[str, tuple[str, Recipe, bool]] = {
    "histgbm_ctx": ("ctx", CTX, True),
    "no_s1": ("no_s1", RES, False),
    "season_only": ("season", RES, False),
    "histgbm_res": ("res", RES, False),
    "res_no_calendar": ("res_no_calendar", RES, False),
}
FROZEN = {"res_s1_frozen": "histgbm_res", "res_no_calendar_s1_frozen": "res_no_calendar", "net_s1_frozen": "net_res"}
NETS = ("net_res", "trees_net", "trees_net_s1_frozen")
BAGGED = ("histgbm_res_shrink", "histgbm_bag", "histgbm_bag_gated", "ensemble", "ensemble_net")
LINEAR = ("linear_gain", "ridge_ctx")  # clear dates only, as histgbm_ctx
METHODS = ("copy_t0", *LINEAR, *PLAIN, *FROZEN, *NETS, *BAGGED)
SETS = ("res", "res_no_calendar", "season", "means", "ctx", "no_s1")


@dataclass(frozen=True)
class Settings:
    """How many pixels a model, a member of a bag, and each fit behind gate and shrink factor see."""

    pixels: int = 60000
    bag_pixels: int = 20000
    inner_pixels: int = 10000
    guard_days: int = 15
    seed: int = 1


@dataclass(frozen=True)
class SetModel:
    """Trees of the change on one set of features, one forest a band."""

    features: str
    forests: tuple[Forest, ...]

    def predict(self, sheet: Sheet) -> Matrix:
        """(N, n) change of reflectance."""
        return predict_bands(self.forests, sheet.of_set(self.features))


@dataclass(frozen=True)
class NetModel:
    """A pixel network of the change on one set of features."""

    features: str
    net: PixelNet

    def predict(self, sheet: Sheet) -> Matrix:
        """(N, n) change of reflectance."""
        return self.net.predict(sheet.of_set(self.features))


@dataclass(frozen=True)
class GainModel:
    """A gain and an offset of each band."""

    gain: linear.Gain

    def predict(self, sheet: Sheet) -> Matrix:
        """(N, n) change of reflectance."""
        return self.gain.change(sheet.columns(sheet.bands))


@dataclass(frozen=True)
class RidgeModel:
    """Ridge regression of the change on one set of features."""

    features: str
    ridge: linear.Ridge

    def predict(self, sheet: Sheet) -> Matrix:
        """(N, n) change of reflectance."""
        return self.ridge.predict(sheet.of_set(self.features))


Model = SetModel | NetModel | GainModel | RidgeModel


@dataclass(frozen=True)
class Bag:
    """Members of a bag, and the probability of a change."""

    members: tuple[SetModel, ...]
    p_changed: SetModel

    def predict(self, sheet: Sheet) -> Bagged:
        members = [member.predict(sheet) for member in self.members]
        return gated.bagged(members, np.clip(self.p_changed.predict(sheet)[:, 0], 0.0, 1.0))


def changed_rows(sheet: Sheet, change: NDArray[np.floating]) -> Matrix:
    """(N, 1) 1.0 where the true pair counts as changed."""
    before = np.stack([sheet.one(name) for name in sheet.bands], axis=-1)[None]
    return np.asarray(metrics.changed_mask(before, before + change[None], sheet.bands)[0], dtype=np.float64)[:, None]


def learn(rows: Rows, at: Positions, features: str, recipe: Recipe, seed: int) -> SetModel:
    """Fit one model on some rows."""
    return SetModel(features, fit_bands(rows.sheet(at).of_set(features), rows.y[at], recipe, seed))


def fit_linear(rows: Rows, at: Positions) -> dict[str, Model]:
    """Both linear rivals on some rows."""
    sheet, change = rows.sheet(at), rows.y[at].astype(np.float64)
    before = sheet.columns(sheet.bands).astype(np.float64)
    gain = linear.fit_gain(linear.gain_sums(before, before + change))
    return {
        "linear_gain": GainModel(gain),
        "ridge_ctx": RidgeModel("ctx", linear.fit_ridge(sheet.of_set("ctx"), change)),
    }


def fit_bag(
    rows: Rows, pairs: Sequence[Pair], pixels: int, seed: int, rounds: int = gated.BAG_ROUNDS, recipe: Recipe = RES
) -> Bag:
    """Fits on random 60 % of the t1 dates, `rounds` of each of the four sets of features; p_changed sees all dates."""
    members = []
    for number, dates in enumerate(gated.date_draws([t1 for _, t1 in pairs], seed, rounds * len(gated.BAG_SETS))):
        at = rows.of_pairs({pair for pair in pairs if pair[1] in dates}, pixels)
        members.append(learn(rows, at, gated.BAG_SETS[number % len(gated.BAG_SETS)], recipe, seed + number))
    at = rows.of_pairs(set(pairs), pixels)
    sheet = rows.sheet(at)
    changed = SetModel("res", fit_bands(sheet.of_set("res"), changed_rows(sheet, rows.y[at]), recipe, seed))
    return Bag(tuple(members), changed)


def gate_sheet(bag: Bagged, sheet: Sheet) -> NDArray[np.float32]:
    return gated.gate_inputs(bag, sheet.one("B08"), sheet.one("B04"), sheet.one("NDVI"))


@dataclass
class Half:
    """All that is fitted on one half of a place; bags without two groups of dates serve both of their folds."""

    rows: Rows
    dates: tuple[Dated, ...]
    settings: Settings
    kept: dict[frozenset[str], tuple[Bag, SetModel]] = field(default_factory=dict)

    @property
    def clear(self) -> set[str]:
        return {date.id for date in self.dates if date.clear}

    def groups(self) -> list[tuple[Dated, ...]]:
        """Groups of the clear dates, as the folds have them."""
        clear = [date for date in self.dates if date.clear]
        days = date_groups((date.day for date in clear), self.settings.guard_days)
        return [tuple(date for date in clear if date.day in group) for group in days]

    def inner(self, fold: Fold, group: Sequence[Dated]) -> tuple[Pair, ...]:
        """Training pairs of a fold that keep away from one more group as well."""
        known = {date.id: date for date in self.dates}
        kept = {d.id for d in distant(known.values(), [date.day for date in group], self.settings.guard_days)}
        return tuple(pair for pair in fold.train_pairs if set(pair) <= kept)

    def unseen(self, fold: Fold) -> tuple[Bagged, Matrix, Matrix, Sheet]:
        """Predictions of dates that the model had not seen, all within the training of the fold.

        returns  bag, change by histgbm_res, true change and features of the rows
        """
        parts: list[tuple[Bagged, Matrix, Positions]] = []
        for group in self.groups():
            names = frozenset(date.id for date in group)
            tested = [pair for pair in fold.train_pairs if pair[1] in names and set(pair) <= self.clear]
            inner = self.inner(fold, group)
            if names & set(fold.group) or not tested or not inner:
                continue
            key = names | set(fold.group)
            if key not in self.kept:
                self.kept[key] = self._fit_inner(inner)
            at = self.rows.of_pairs(set(tested), self.settings.pixels // 4)
            sheet = self.rows.sheet(at)
            bag, res = self.kept[key]
            parts.append((bag.predict(sheet), res.predict(sheet), at))
        if not parts:
            raise ValueError(f"{fold.name}: no date group is left to fit the gate on")
        joined = Bagged(
            *(np.concatenate([getattr(p[0], name) for p in parts]) for name in ("mean", "spread", "p_changed"))
        )
        at = np.concatenate([part[2] for part in parts])
        return (
            joined,
            np.concatenate([part[1] for part in parts]),
            self.rows.y[at].astype(np.float64),
            self.rows.sheet(at),
        )

    def _fit_inner(self, pairs: Sequence[Pair]) -> tuple[Bag, SetModel]:
        """A bag and histgbm_res without two groups of dates."""
        pixels, seed = self.settings.inner_pixels, self.settings.seed
        at = self.rows.of_pairs(set(pairs), pixels)
        return fit_bag(self.rows, pairs, pixels, seed, gated.INNER_ROUNDS), learn(self.rows, at, "res", RES, seed)


@dataclass(frozen=True)
class FoldModels:
    """Every fitted model of a fold."""

    plain: Mapping[str, Model]
    bag: Bag
    gate: Forest
    shrink: float

    def predict(self, sheet: Sheet, frozen: Sheet) -> dict[str, Matrix]:
        """Change of reflectance (N, n) by each method but copy_t0; frozen = the same pixels with S1(t1) := S1(t0)."""
        out = {name: model.predict(sheet) for name, model in self.plain.items()}
        out |= {name: self.plain[of].predict(frozen) for name, of in FROZEN.items()}
        bag = self.bag.predict(sheet)
        out["trees_net"] = self._with_trees(sheet, out["histgbm_res"])
        out["trees_net_s1_frozen"] = self._with_trees(frozen, out["res_s1_frozen"])
        out["histgbm_res_shrink"] = self.shrink * out["histgbm_res"]
        out["histgbm_bag"] = bag.mean
        out["histgbm_bag_gated"] = gated.gated(self.gate, gate_sheet(bag, sheet), bag.mean)
        out["ensemble"] = (out["histgbm_bag_gated"] + out["season_only"] + out["histgbm_res"]) / 3
        out["ensemble_net"] = (out["histgbm_bag_gated"] + out["season_only"] + out["trees_net"]) / 3
        return out

    def _with_trees(self, sheet: Sheet, trees: Matrix) -> Matrix:
        network = self.plain["net_res"]
        assert isinstance(network, NetModel)
        return network.net.with_trees(sheet.of_set(network.features), trees)


def fit_fold(half: Half, fold: Fold, fit_net: NetFitter) -> FoldModels:
    """Fit all methods of a fold; nothing of its test is looked at.

    fit_net  trains the pixel network on rows
    raises  ValueError when a method has nothing to learn from
    """
    rows, settings = half.rows, half.settings
    clear_pairs = {pair for pair in fold.train_pairs if set(pair) <= half.clear}
    plain = fit_linear(rows, rows.of_pairs(clear_pairs, settings.pixels))
    for name, (features, recipe, only_clear) in PLAIN.items():
        at = rows.of_pairs(clear_pairs if only_clear else set(fold.train_pairs), settings.pixels)
        plain[name] = learn(rows, at, features, recipe, settings.seed)
    at = rows.of_pairs(set(fold.train_pairs), settings.pixels)
    plain["net_res"] = NetModel("res", fit_net(rows.sheet(at).of_set("res"), rows.y[at], settings.seed))
    bag = fit_bag(rows, fold.train_pairs, settings.bag_pixels, settings.seed)
    unseen, res, truth, sheet = half.unseen(fold)
    gate = gated.fit_gate(gate_sheet(unseen, sheet), unseen.mean, truth, settings.seed)
    return FoldModels(plain, bag, gate, gated.shrink(res, truth))
