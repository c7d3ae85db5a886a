"""Split and provenance of report.html: products, inputs with digests, models, stages, code, configuration.

No times and no host: equal input gives an equal page.
"""

from __future__ import annotations

import json
from collections import Counter
from html import escape
from pathlib import Path
from typing import Any

from scripts._context import Context
from scripts._dates import load_dates
from utils.io import html
from utils.workflow import config, freshness
from utils.workflow.files import sha256_file
from utils.workflow.stages import chain

MOST_ROWS = 400
HASHED_BYTES = 4_000_000_000  # some ten seconds


def split(facts: dict[str, Any]) -> list[str]:
    """Body of the section on training, validation and test ground."""
    sets = facts["sets"]
    rows = [[name, str(len(ids)), str(len({i.split("_r")[0] for i in ids}))] for name, ids in sets.items()]
    dropped = Counter(str(entry["reason"]) for entry in facts.get("dropped", ()))
    text = f"Method {facts['method']}, seed {facts['seed']}, guard {facts['buffer_m']:g} m. {facts.get('note') or ''}"
    lost = "; ".join(f"{count} {reason}" for reason, count in sorted(dropped.items())) or "none"
    return [
        html.paragraph(text),
        html.table(["set", "samples", "pairs"], rows, label="Samples of each set"),
        html.paragraph(f"Dropped: {lost}.", "soft"),
    ]


def provenance(ctx: Context) -> list[str]:
    """Body of the section."""
    dates = load_dates(ctx.conf, ctx.layout)
    products = [
        [d.id, sensor, name]
        for d in dates.values()
        for sensor, names in (("Sentinel-1", d.s1), ("Sentinel-2", d.s2))
        for name in names
    ]
    stages, inputs, versions = _stages(ctx)
    # the work directory is left out: the same chain elsewhere gives the same page
    settings = json.dumps(
        ctx.conf.model_dump(mode="json", exclude={"work": True, "search": {"endpoints"}}), indent=1, sort_keys=True
    )
    used = ", ".join(f"{name} {version}" for name, version in versions.items())
    source = (
        "All inputs were generated; none is Copernicus data."
        if ctx.conf.report.synthetic
        else "Contains modified Copernicus Sentinel data."
    )
    models, files = _models(ctx), _digests(ctx, inputs[:MOST_ROWS])
    return [
        html.paragraph(source),
        html.details(f"Products ({len(products)})", _capped(["date", "sensor", "product"], products, len(products))),
        html.details(
            f"Input files with SHA-256 ({len(inputs)})", _capped(["stage", "file", "SHA-256"], files, len(inputs))
        ),
        *(["<h3>Models</h3>", html.table(MODEL_HEAD, models, words=True)] if models else []),
        "<h3>Stages</h3>",
        html.table(["stage", "key", "digest of outputs", "files", "code", "warnings"], stages, words=True),
        html.paragraph(f"Software: {used}.", "soft"),
        html.details("Configuration", f"<pre tabindex=0>{escape(settings)}</pre>"),
    ]


def _capped(head: list[str], rows: list[list[str]], count: int) -> str:
    """A table of at most MOST_ROWS of `count` rows that says how many are left out."""
    left = count - MOST_ROWS
    more = html.paragraph(f"{left} more in the manifests of the work directory.", "soft") if left > 0 else ""
    return html.table(head, rows[:MOST_ROWS], words=True) + more


def _stages(ctx: Context) -> tuple[list[list[str]], list[tuple[str, str, list[Any]]], dict[str, str]]:
    """Rows of the stages; stage, path and fingerprint of the input files; versions of the software."""
    stages: list[list[str]] = []
    inputs: list[tuple[str, str, list[Any]]] = []
    versions: dict[str, str] = {}
    for name in chain("report", ctx.conf)[:-1]:
        manifest = freshness.read_manifest(ctx.layout, name)
        if manifest is None:
            continue
        versions = manifest["versions"]
        keys = [manifest["key"][:12], manifest["outputs_digest"][:12]]
        stages.append([name, *keys, str(len(manifest["outputs"])), manifest["code"], "; ".join(manifest["warnings"])])
        inputs += [(name, path, value) for path, value in manifest["external"].items()]
        if name == "download":
            fetched = [(path, value) for path, value in manifest["outputs"].items() if path.startswith("raw/")]
            inputs += [(name, path, value) for path, value in fetched]
    return stages, inputs, versions


MODEL_HEAD = ["run", "model", "parameters", "training samples", "SHA-256 of the model", "software"]


def _models(ctx: Context) -> list[list[str]]:
    rows = []
    for run in ctx.conf.train.runs:
        card = card_of(ctx, run.name)
        if card:
            used = ", ".join(f"{name} {version}" for name, version in dict(card.get("versions", {})).items())
            digest = str(card.get("model_sha256") or card.get("fingerprint") or "-")[:32]
            facts = [str(card.get(key, "-")) for key in ("model", "parameters", "train_samples")]
            rows.append([run.name, *facts, digest, used])
    return rows


def card_of(ctx: Context, run: str) -> dict[str, Any]:
    """model_card.json of a run; empty where there is none."""
    path = ctx.layout.run(run) / "model_card.json"
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return {}


def _digests(ctx: Context, inputs: list[tuple[str, str, list[Any]]]) -> list[list[str]]:
    """Rows of input files with the first half of their SHA-256.

    Of files inside folders stages record size and time only: they are hashed here, until HASHED_BYTES are read.
    inputs  stage, path, [size, SHA-256] or [size, time of change in ns, SHA-256 or empty]
    """
    rows, left = [], HASHED_BYTES
    for stage, path, value in inputs:
        digest, file = str(value[-1])[:32], Path(path)
        if (
            not digest
            and file.is_file()
            and [file.stat().st_size, file.stat().st_mtime_ns] == value[:2]
            and value[0] <= left
        ):
            digest, left = sha256_file(file)[:32], left - value[0]
        rows.append([stage, _short(ctx, path), digest or f"{value[0]} bytes, not hashed"])
    return rows


def _short(ctx: Context, text: str) -> str:
    """A path relative to the work directory or the repository; elsewhere its last three parts."""
    path = Path(text)
    for root in (ctx.layout.work, config.ROOT):
        if path.is_absolute() and path.is_relative_to(root):
            return path.relative_to(root).as_posix()
    return "/".join(path.parts[-3:])
