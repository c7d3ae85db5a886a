"""The model card: what a run was made from, what it reached, where it must not be trusted. JSON first, Markdown from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

FIGURES = (
    ("skill_changed", "change skill, changed pixels", "", 2), ("psnr", "PSNR", "dB", 2), ("psnr_changed", "PSNR, changed pixels", "dB", 2),
    ("psnr_unchanged", "PSNR, unchanged pixels", "dB", 2), ("mae", "MAE", "reflectance", 4), ("sam_deg", "SAM", "degrees", 2),
    ("ssim", "SSIM (range 1)", "", 3), ("kappa_dndvi", "kappa of dNDVI classes", "", 2),
)  # fmt: skip


UNKNOWN_DATA: dict[str, Any] = {"sites": 0, "pairs": 0, "t0": ["?", "?"], "t1": ["?", "?"], "split": {}}


def limits(data: Mapping[str, Any], val_samples: int) -> list[str]:
    """Sentences that every reader of the scores must know."""
    out = [
        "Validation tiles chose the exported step, so their scores are somewhat better than on unseen ground; "
        "the test set is judged by ./s2cr evaluate.",
        f"Trained on {data['sites']} place(s) and {data['pairs']} pair(s) of dates: outside that landscape, season or sensor the "
        "image may be worse than S2(t0) itself.",
        "Sentinel-1 does not see everything that changes in the optical image; colours of unseen changes are guesses.",
        "Scores are surface reflectance on clear pixels with all inputs; SSIM at range 1 hardly moves, read it beside copy_t0.",
    ]
    if data.get("split", {}).get("method") in (None, "tiles"):
        out.append("How the samples were split is not known: neighbouring tiles in both sets report memory, not skill.")
    if data.get("mixed_orbit"):
        out.append("Some pairs mix orbit directions or tracks of Sentinel-1: part of their radar change is geometry.")
    if data.get("synthetic"):
        out.append("The data are synthetic: these scores say nothing about real ground.")
    if val_samples < 20:
        out.append(f"Only {val_samples} validation samples: intervals are wide or missing.")
    return out


def text(card: Mapping[str, Any], test: Mapping[str, Any] | None = None) -> str:
    """The card as Markdown.

    card  model_card.json
    test  rows of the test set as ./s2cr evaluate stored them: method -> figures of judged_figures; None = not judged
    """
    data = {**UNKNOWN_DATA, **card.get("data", {})}
    lines = [
        f"# {card['name']}: {card['model']}", "", _what(card), "",
        "## Data", "",
        f"- {card['train_samples']} training and {card['val_samples']} validation samples from {data['sites']} place(s), "
        f"{data['pairs']} pair(s), t0 {data['t0'][0]} to {data['t0'][1]}, t1 {data['t1'][0]} to {data['t1'][1]}",
        f"- radar bands {', '.join(card.get('bands_sar', []))}" + ("; **synthetic data**" if data.get("synthetic") else ""),
        f"- split: {_split(data.get('split', {}))}", "",
        "## Training", "", *_how(card), "",
        "## Validation scores", "",
        *_table(card["validation"], card.get("validation_intervals", {})), "",
    ]  # fmt: skip
    lines += _phase2(card.get("phase2")) + _sigma(card.get("uncertainty"))
    lines += ["## Test scores", "", *_test(card["name"], test), ""]
    lines += ["## Limits", "", *(f"- {sentence}" for sentence in card.get("limits", [])), ""]
    lines += ["## Provenance", "", *(f"- {name}: {value}" for name, value in _provenance(card))]
    return "\n".join(lines) + "\n"


def _what(card: Mapping[str, Any]) -> str:
    bands = ", ".join(card["bands"])
    if "trees" in card:
        return f"Boosted trees of {card['parameters']:,} nodes, bands {bands}, tiles of {card['size_px']} px."
    return (
        f"{card['parameters']:,} parameters, {card['channels_in']} input channels, bands {bands}, tiles of "
        f"{card['size_px']} px, scaler mode {card['scaler_mode']}."
    )


def _how(card: Mapping[str, Any]) -> list[str]:
    if "trees" in card:
        trees, recipe = card["trees"], card["trees"]["recipe"]
        bag = f"a bag of {len(trees['bag'])} fits with a learned gate" if trees["bag"] else "one fit, no gate"
        if trees.get("net"):
            bag += f", averaged with a network of {trees['net']['parameters']:,} parameters on the same features"
        return [
            f"- {recipe['iterations']} trees a band, rate {recipe['rate']:g}, {recipe['leaves']} leaves; {bag}; shrink factor "
            f"{trees['shrink']:.2f}, outside the landscape of the training {trees['outside_shrink']:.2f}"
        ]
    training: dict[str, Any] = {
        "global_batch": 1,
        "devices": "unknown",
        "seed": "?",
        "precision": "?",
        "ema": None,
        "loss": {},
    }
    training |= card.get("training", {})
    loss = ", ".join(f"{name} {weight:g}" for name, weight in training["loss"].items() if weight)
    return [
        f"- {card['steps']} steps of {training['global_batch']} tiles ({training['devices']}), seed {training['seed']}; exported: step {card['exported_step']}",
        f"- {training['precision']}, moving average {training['ema'] or 'off'}, loss {loss}",
    ]


def _phase2(facts: Mapping[str, Any] | None) -> list[str]:
    if not facts:
        return []
    first, second = (_number(facts[f"psnr_changed_phase{n}"], 2) for n in (1, 2))
    sentence = (
        f"Exported are the weights of {facts['exported']}. PSNR on changed validation pixels: {first} dB after phase 1 "
        f"(step {facts['phase1_step']}), {second} dB after the adversarial phase 2, which may cost {facts['max_loss_db']:g} dB."
    )
    return ["## Adversarial phase", "", sentence, ""]


def _sigma(facts: Mapping[str, Any] | None) -> list[str]:
    if not facts:
        return []
    out = [
        "## Uncertainty", "",
        f"Standard deviation of each band ({facts['file']}, {facts['steps']} steps after the mean); temperature "
        + ", ".join(f"{band} {value:.2f}" for band, value in facts["temperature"].items())
        + "; the interval of 95 % reaches "
        + ", ".join(f"{band} {value:.2f}" for band, value in facts["width_95"].items())
        + " sigmas either way (normal errors: 1.96)"
        + (", judged by halves with the figures of the other" if facts["cross_fitted"] else ", judged on the tiles that gave them")
        + ".", "",
        "| validation pixels | number | within 68 % | within 95 % | AUSE | AUSE of one sigma |", "|---|---|---|---|---|---|",
    ]  # fmt: skip
    for name, found in facts["strata"].items():
        shares = [_number(found["coverage"].get(level), 3) for level in ("68", "95")]
        areas = [_number(found[which], 3) for which in ("ause", "ause_constant")]
        out.append(f"| {name} | {found['pixels']} | {' | '.join([*shares, *areas])} |")
    return [*out, ""]


def _split(split: Mapping[str, Any]) -> str:
    if not split:
        return "unknown"
    counts = ", ".join(f"{name} {count}" for name, count in split["counts"].items())
    return f"method {split['method']}, buffer {split['buffer_m']:g} m, seed {split['seed']}; {counts}" + (
        f"; {split['note']}" if split.get("note") else ""
    )


def _number(value: Any, digits: int, interval: Sequence[float] | None = None) -> str:
    if value is None:
        return "-"
    shown = f"{float(value):.{digits}f}"
    if interval and None not in interval:
        shown += f" [{float(interval[0]):.{digits}f}, {float(interval[1]):.{digits}f}]"
    return shown


def _table(figures: Mapping[str, Any], intervals: Mapping[str, Any]) -> list[str]:
    out = ["| figure | this run [95 %] | copy_t0 |", "|---|---|---|"]
    for name, words, unit, digits in FIGURES:
        if name in figures:
            copied = 0.0 if name == "skill_changed" else figures.get(f"{name}_copy_t0")
            shown = _number(figures[name], digits, intervals.get(name))
            out.append(f"| {words}{f' ({unit})' if unit else ''} | {shown} | {_number(copied, digits)} |")
    return out if len(out) > 2 else ["No validation sample: nothing was scored."]


JUDGED = (
    ("skill_changed", "changed", "skill", 2), ("psnr", "all", "psnr", 2), ("psnr_changed", "changed", "psnr", 2),
    ("psnr_unchanged", "unchanged", "psnr", 2), ("mae", "all", "mae", 4), ("sam_deg", "all", "sam_deg", 2),
)  # fmt: skip


def judged_figures(table: Mapping[str, Any]) -> dict[str, dict[str, list[Any]]]:
    """method -> figure -> [value, low, high] of reports/evaluate.json, from the strictest truth; None = undefined."""
    truth = "hidden" if table["facts"].get("hidden_truth") else "observed"
    out: dict[str, dict[str, list[Any]]] = {}
    for method in table["order"]:
        strata = table["methods"][method].get(truth, {}).get("strata", {})
        found = {}
        for name, stratum, figure, _ in JUDGED:
            values = strata.get(stratum, {})
            if values.get(figure) is not None:
                low, high = values.get("interval", {}).get(figure) or (None, None)
                found[name] = [values[figure], low, high]
        if found:
            out[method] = found
    return out


def _test(name: str, test: Mapping[str, Any] | None) -> list[str]:
    if not test or name not in test:
        return ["Not judged yet: `./s2cr evaluate CONF`, then `./s2cr runs CONF --card " + name + "`."]
    out = [
        "| method | skill changed [95 %] | PSNR | PSNR changed | PSNR unchanged | MAE | SAM |",
        "|---|---|---|---|---|---|---|",
    ]
    for method, found in test.items():
        cells = []
        for figure, _, _, digits in JUDGED:
            value, low, high = found.get(figure, (None, None, None))
            cells.append(_number(value, digits, (low, high) if figure == "skill_changed" and low is not None else None))
        out.append(f"| {f'**{method}**' if method == name else method} | {' | '.join(cells)} |")
    return out


def _provenance(card: Mapping[str, Any]) -> list[tuple[str, Any]]:
    versions = ", ".join(f"{name} {version}" for name, version in sorted(card.get("versions", {}).items()))
    return [
        ("configuration, scaler and data", card.get("fingerprint", "-")),
        ("software", versions),
        ("schema", card["schema"]),
    ]
