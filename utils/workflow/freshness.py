"""Keys, manifests and the question whether a stage is up to date."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from utils.workflow import config
from utils.workflow.errors import InputError
from utils.workflow.files import json_bytes, sha256_file
from utils.workflow.layout import Layout
from utils.workflow.schema import Conf
from utils.workflow.stages import STAGES, chain, upstream_of

SCHEMA = "s2cr.manifest/1"


@dataclass(frozen=True)
class State:
    """Whether a stage is fresh, and if not, why."""

    stage: str
    fresh: bool
    reason: str
    key: str | None
    had_result: bool
    remedy: str = ""  # of the error that left no key


def read_manifest(layout: Layout, stage: str) -> dict[str, Any] | None:
    """The manifest of a stage, or None when there is none.

    raises  InputError when it is unreadable or of another schema
    """
    path = layout.manifest(stage)
    try:
        data = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise InputError(f"{path}: not readable as JSON.", f"Delete it and run the stage {stage} again.") from error
    if not isinstance(data, dict) or data.get("schema") != SCHEMA:
        raise InputError(
            f"{path}: unknown schema {data.get('schema') if isinstance(data, dict) else None!r}.",
            f"Delete it and run {stage} again.",
        )
    return data


def digest_of(outputs: dict[str, list[Any]]) -> str:
    """One hash over the names and hashes of all outputs."""
    lines = "".join(f"{name} {outputs[name][1]}\n" for name in sorted(outputs))
    return hashlib.sha256(lines.encode()).hexdigest()


def _fingerprint(path: Path, known: dict[str, list[Any]]) -> dict[str, list[Any]]:
    """name -> [size, mtime_ns, sha256 or empty] of a file or of every file below a folder.

    A file is hashed, unless size and time equal the known ones. Files inside folders (archives may hold terabytes) are
    told apart by size and time only.
    """
    if path.is_file():
        stat, name = path.stat(), str(path)
        old = known.get(name)
        same = old is not None and old[0] == stat.st_size and old[1] == stat.st_mtime_ns
        return {name: [stat.st_size, stat.st_mtime_ns, old[2] if same and old else sha256_file(path)]}
    out: dict[str, list[Any]] = {}
    for folder, folders, files in os.walk(path):
        folders.sort()
        for name in sorted(files):
            stat = os.stat(os.path.join(folder, name))  # noqa: PTH116,PTH118 - archives hold many files
            out[os.path.join(folder, name)] = [stat.st_size, stat.st_mtime_ns, ""]  # noqa: PTH118
    return out


def _external_paths(conf: Conf, stage: str) -> list[Path]:
    paths: list[Path] = []
    for dotted in STAGES[stage].external:
        value = config.value_at(conf, dotted)
        texts = [value] if isinstance(value, str) else []
        for run in value if isinstance(value, list) else []:
            texts += [run["model"], run["train"]]
        paths += [config.resolve(conf, text) for text in texts if text]
    if conf.search.archive and "search.archive" in STAGES[stage].external and conf.search.archive.endswith(".json"):
        # the top file of a static catalogue: its items and data lie below
        paths = [path.parent if path == config.resolve(conf, conf.search.archive) else path for path in paths]
    scene = config.scene_dir(conf)
    # what make_scene wrote is covered by that stage's digest
    return [path for path in paths if not (conf.scene.enabled and path.is_relative_to(scene))]


def externals(conf: Conf, layout: Layout, stage: str) -> dict[str, list[Any]]:
    """Fingerprints of everything outside the work directory that the stage reads."""
    manifest = read_manifest(layout, stage) or {}
    known = manifest.get("external", {})
    out: dict[str, list[Any]] = {}
    for path in _external_paths(conf, stage):
        if not path.exists():
            raise InputError(
                f"{path}: no such file or folder (needed by {stage}).", "Correct the path in the configuration."
            )
        out.update(_fingerprint(path, known))
    return out


# Keys that change how fast a result comes, never the result, or that another stage has in its own slice: no reason to
# make it again.
_NEUTRAL = {"preprocess": ("threads", "row_block", "multitemporal")}


def slice_of(conf: Conf, stage: str) -> dict[str, Any]:
    """Configuration that a stage's result depends on, by dotted key."""
    found: dict[str, Any] = {}
    for dotted in STAGES[stage].slice:
        value = config.value_at(conf, dotted)
        without = _NEUTRAL.get(dotted, ())
        found[dotted] = {k: v for k, v in value.items() if k not in without} if without else value
    return found


def compute_key(conf: Conf, layout: Layout, stage: str, external: dict[str, list[Any]]) -> str:
    """Key of a stage: name, version, configuration slice, digests of its upstream stages and of external files.

    raises  InputError when an upstream stage has no complete result
    """
    facts = STAGES[stage]
    upstream: dict[str, str] = {}
    names = list(upstream_of(stage, conf))
    if conf.scene.enabled and facts.external and stage != "make_scene":
        names.append("make_scene")
    for name in dict.fromkeys(names):
        manifest = read_manifest(layout, name)
        if manifest is None or manifest.get("status") != "complete":
            raise InputError(
                f"{stage} needs the result of {name}, which is not there or not finished.",
                f"Run first: make {name} CONF=...",
            )
        upstream[name] = manifest["outputs_digest"]
    material = {
        "stage": stage,
        "version": facts.version,
        "slice": slice_of(conf, stage),
        "upstream": upstream,
        # hashed files by content, files of folders by size and time; the folder may have moved
        "external": sorted([Path(name).name, value[2] or value[:2]] for name, value in external.items()),
    }
    return hashlib.sha256(json_bytes(material)).hexdigest()


def outputs_intact(layout: Layout, outputs: dict[str, list[Any]]) -> str | None:
    """None when every output exists with its size, else the first that does not."""
    for name, (size, _) in outputs.items():
        try:
            if os.stat(f"{layout.work}/{name}").st_size != size:  # noqa: PTH116 - thousands of files, Path is slow
                return f"{name} has another size"
        except OSError:
            return f"{name} is missing"
    return None


def state(conf: Conf, layout: Layout, stage: str) -> State:
    """Is the stage up to date? Reads manifests and sizes only."""
    manifest = read_manifest(layout, stage)
    had = manifest is not None and manifest.get("status") == "complete"
    try:
        key = compute_key(conf, layout, stage, externals(conf, layout, stage))
    except InputError as error:
        return State(stage, False, error.message, None, had, error.remedy)
    if manifest is None:
        return State(stage, False, "never ran", key, had)
    if not had:
        return State(stage, False, "not finished", key, had)
    if manifest["key"] != key:
        return State(stage, False, _why(manifest, conf, stage), key, had)
    broken = outputs_intact(layout, manifest["outputs"])
    return State(stage, broken is None, broken or "up to date", key, had)


def _why(manifest: dict[str, Any], conf: Conf, stage: str) -> str:
    """Which configuration key changed, or that an input did."""
    facts = STAGES[stage]
    if manifest.get("version") != facts.version:
        return f"the stage's version is now {facts.version}"
    changed = [d for d, value in slice_of(conf, stage).items() if manifest.get("slice", {}).get(d) != value]
    return f"configuration changed: {', '.join(changed)}" if changed else "an input changed"


def plan(conf: Conf, layout: Layout, until: str) -> list[State]:
    """States of all stages up to `until`; behind a stale stage everything may have to run."""
    states: list[State] = []
    stale: set[str] = set()
    for name in chain(until, conf):
        behind = [up for up in upstream_of(name, conf) if up in stale]
        if behind:
            manifest = read_manifest(layout, name)
            had = manifest is not None and manifest.get("status") == "complete"
            states.append(State(name, False, f"after {', '.join(behind)}", None, had))
            stale.add(name)
            continue
        current = state(conf, layout, name)
        states.append(current)
        if not current.fresh:
            stale.add(name)
    return states
