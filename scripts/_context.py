"""What a stage script works with: configuration, paths, items with resume, tags, the closing report."""

from __future__ import annotations

import logging
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from scripts._item import Item, Skip, progress, raise_failures
from scripts._provenance import code_version, package_versions, utc
from utils.workflow import config, freshness
from utils.workflow.errors import InputError
from utils.workflow.files import atomic_json, sha256_file
from utils.workflow.layout import Layout
from utils.workflow.ledger import Entry, Ledger, read
from utils.workflow.lock import job_id
from utils.workflow.schema import Conf
from utils.workflow.stages import STAGES

__all__ = ["Context", "Item", "Options", "Report", "Skip"]


@dataclass(frozen=True)
class Options:
    """Options shared by all stages."""

    force: bool = False
    dry_run: bool = False
    limit: int | None = None
    part: tuple[int, int] | None = None
    finalise: bool = False
    fail_fast: bool = False
    verbose: int = 0
    quiet: bool = False


@dataclass(frozen=True)
class Report:
    """What a stage hands back: metrics for the manifest and a sentence for the closing line."""

    metrics: dict[str, Any] = field(default_factory=dict)
    summary: str = ""


class Context:
    """Everything a stage script may use. Built by the decorator `stage`."""

    def __init__(self, name: str, conf: Conf, conf_path: Path, options: Options, log: logging.Logger) -> None:
        self.stage, self.conf, self.conf_path, self.options, self.log = STAGES[name], conf, conf_path, options, log
        self.layout: Layout = config.layout_of(conf)
        self.extra: dict[str, Any] = {}
        self.code = code_version()
        self.external = freshness.externals(conf, self.layout, name)
        self.key = freshness.compute_key(conf, self.layout, name, self.external)
        self.began = time.time()
        self.warnings: list[str] = []
        self._ledger: Ledger | None = None
        self._entries: dict[str, Entry] = {}
        self._planned: list[str] = []
        self._extra_outputs: list[Path] = []
        self._stopped = False

    # -- for scripts -------------------------------------------------------------------------------------------

    @property
    def partial(self) -> bool:
        """True when this call does not complete the stage (dry run, part, limit): write no stage-level file then."""
        return self.options.dry_run or self.options.part is not None or self._stopped

    def stop(self) -> None:
        """This call leaves items of the stage to a later one: no manifest is written."""
        self._stopped = True

    def warn(self, text: str) -> None:
        """Log a warning and keep it in the manifest."""
        self.warnings.append(text)
        self.log.warning(text)

    def resolve(self, text: str) -> Path:
        """An input path of the configuration ({scene}, absolute or relative to the repository)."""
        return config.resolve(self.conf, text)

    def manifest(self, stage: str) -> dict[str, Any]:
        """The complete manifest of another stage.

        raises  InputError when it is missing or not finished
        """
        found = freshness.read_manifest(self.layout, stage)
        if found is None or found["status"] != "complete":
            raise InputError(
                f"The result of {stage} is missing or not finished.", f"Run: ./s2cr {stage} {self.conf_path}"
            )
        return found

    def results(self, stage: str) -> dict[str, dict[str, Any]]:
        """Items of another stage: id -> {status, reason, data, outputs}."""
        return dict(self.manifest(stage)["items"])

    def tags(self, units: str, sources: Iterable[str], **more: object) -> dict[str, str]:
        """Provenance tags for a GeoTIFF."""
        base = {
            "SOURCE_PRODUCTS": ",".join(sources),
            "STAGE": self.stage.name,
            "KEY": self.key,
            "CODE": self.code,
            "UNITS": units,
        }
        if self.conf.report.synthetic:
            base["SYNTHETIC"] = "yes"
        return base | {name: str(value) for name, value in more.items()}

    def output(self, path: Path) -> Path:
        """Register a stage-level result (one that belongs to no item)."""
        self._extra_outputs.append(Path(path))
        return Path(path)

    def todo(
        self, ids: Iterable[str], unit: str = "item", announce: Callable[[list[str]], None] | None = None
    ) -> Iterator[Item]:
        """Items that are still to be done, in order, with progress. Done ones with intact outputs are left out.

        announce  hears the names of all that will come, before the first: their work may begin on threads
        """
        new = list(dict.fromkeys(ids))
        self._planned += new
        mine = self._share(new)
        waiting = [name for name in mine if not self._is_done(name)]
        if len(waiting) < len(mine):
            self.log.info("%d of %d %ss are done already", len(mine) - len(waiting), len(mine), unit)
        if self.options.dry_run:
            self.log.info(
                "dry run: would do %d %ss%s", len(waiting), unit, f" ({', '.join(waiting[:5])} ...)" if waiting else ""
            )
            return
        if self.options.finalise and waiting:
            raise InputError(
                f"{len(waiting)} of {len(mine)} {unit}s are not done, first {waiting[0]}.",
                "Run the missing parts, then --finalise again.",
            )
        if self.options.limit is not None and len(waiting) > self.options.limit:
            waiting, self._stopped = waiting[: self.options.limit], True
        if announce is not None and waiting:
            announce(waiting)
        for name in progress(waiting, self.stage.name, unit, self.log, self.options.quiet):
            yield Item(self, name)

    def report(self, metrics: dict[str, Any] | None = None, summary: str = "") -> Report:
        """End of the stage."""
        return Report(metrics or {}, summary)

    def data_of(self, item_id: str) -> dict[str, Any]:
        """Data that an item of this stage recorded, in this or an earlier call; empty when it has none."""
        entry = self._entries.get(item_id)
        return dict(entry.data) if entry else {}

    def status_of(self, item_id: str) -> str:
        """done, skipped, failed or empty for an item of this stage."""
        entry = self._entries.get(item_id)
        return entry.status if entry else ""

    def reason_of(self, item_id: str) -> str:
        """Why an item of this stage was skipped or failed; empty otherwise."""
        entry = self._entries.get(item_id)
        return entry.reason if entry else ""

    # -- for the frame -----------------------------------------------------------------------------------------

    def describe(self, paths: Iterable[Path]) -> dict[str, list[Any]]:
        """Relative name -> [size, sha256].

        raises  InputError when a registered output was not written
        """
        out: dict[str, list[Any]] = {}
        for path in paths:
            if not path.is_file():
                raise InputError(f"{path}: the stage did not write it.", "This is a bug; please report it.")
            out[path.relative_to(self.layout.work).as_posix()] = [path.stat().st_size, sha256_file(path)]
        return out

    def record(self, entry: Entry) -> None:
        """Append an item to the ledger."""
        if self._ledger is None:
            raise RuntimeError("items only inside a running stage")
        self._ledger.append(entry)
        self._entries[entry.item] = entry

    def open_ledger(self) -> Ledger:
        """Open this call's ledger and load what is done under the current key."""
        part = self.options.part[0] if self.options.part else None
        path = self.layout.ledger(self.stage.name, part)
        self._ledger = Ledger(path)
        self._ledger.__enter__()
        entries = read(path)
        if entries and (self.options.force or any(entry.key != self.key for entry in entries.values())):
            self._ledger.restart()
            entries = {}
        if not self.options.part:
            for other in sorted(self.layout.items.glob(f"{self.stage.name}.part-*.jsonl")):
                entries = {**read(other), **entries}
        self._entries = {
            name: entry for name, entry in entries.items() if entry.key == self.key and not self.options.force
        }
        return self._ledger

    def _share(self, ids: list[str]) -> list[str]:
        if self.options.part is None:
            return ids
        index, count = self.options.part
        return ids[index - 1 :: count]

    def _is_done(self, name: str) -> bool:
        entry = self._entries.get(name)
        if entry is None or entry.status == "failed":
            return self.options.finalise and entry is not None
        return freshness.outputs_intact(self.layout, dict(entry.outputs)) is None

    def finish(self, report: Report) -> tuple[Path, str]:
        """Write the manifest and judge the failures.

        returns  manifest path and the closing line
        raises   PartialError (71) or the common error when too many items failed
        """
        entries = [self._entries[name] for name in self._planned if name in self._entries]
        counts = Counter(entry.status for entry in entries)
        failed = [entry for entry in entries if entry.status == "failed"]
        seconds = time.time() - self.began
        line = f"{counts['done']} done, {counts['skipped']} skipped, {counts['failed']} failed, {seconds:.0f} s"
        line = f"{self.stage.name}: {line}{'; ' + report.summary if report.summary else ''}"
        path = self.layout.manifest(self.stage.name)
        complete = len(failed) <= self.conf.max_failed
        if self.options.part and not complete:  # the job record of the part then says so; --finalise judges the stage
            self.log.info("%s", line)
            raise_failures(failed, len(entries))
        if self.partial:
            return path, f"{line} (no manifest: this call does not complete the stage)"
        outputs = {name: list(value) for entry in entries for name, value in entry.outputs.items()}
        outputs.update(self.describe(self._extra_outputs))
        self._write_manifest(path, report, entries, outputs, counts, complete)
        if not complete:
            raise_failures(failed, len(entries))
        self._remove_orphans(outputs)
        return path, line

    def _write_manifest(
        self,
        path: Path,
        report: Report,
        entries: list[Entry],
        outputs: dict[str, list[Any]],
        counts: Counter[str],
        complete: bool,
    ) -> None:
        previous = freshness.read_manifest(self.layout, self.stage.name) or {}
        self._former = set(previous.get("outputs", {}))
        items = {
            e.item: {
                "status": e.status,
                "reason": e.reason,
                "data": dict(e.data),
                "outputs": sorted(e.outputs),
                "seconds": e.seconds,
                "steps": dict(e.steps),
                "peak_mib": e.peak_mib,
            }
            for e in entries
        }
        atomic_json(
            path,
            {
                "schema": freshness.SCHEMA, "stage": self.stage.name, "version": self.stage.version, "key": self.key,
                "status": "complete" if complete else "failed",
                "slice": freshness.slice_of(self.conf, self.stage.name),
                "external": self.external, "code": self.code, "versions": package_versions(), "host": socket.gethostname(), "job": job_id(),
                "started": utc(self.began), "ended": utc(time.time()), "counts": dict(counts), "warnings": self.warnings,
                "metrics": report.metrics, "items": items, "outputs": outputs, "outputs_digest": freshness.digest_of(outputs),
                "configuration": str(self.conf_path),
            },
        )  # fmt: skip

    def _remove_orphans(self, outputs: dict[str, list[Any]]) -> None:
        """Delete files that an earlier configuration of this stage wrote and this one does not: a tile left behind in
        another set would leak for anybody who lists folders."""
        old_ledger = self.layout.ledger(self.stage.name).with_suffix(".old")
        orphans = self._former | {name for entry in read(old_ledger).values() for name in entry.outputs}
        for name in orphans - set(outputs):
            with suppress(OSError):
                (self.layout.work / name).unlink()
        with suppress(OSError):
            old_ledger.unlink()
