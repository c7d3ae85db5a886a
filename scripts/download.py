"""Bring the products of the pairs and the height raster into raw/, each verified before it gets its name.

Reads   search/pairs.json, search.archive or the services of search.endpoints, preprocess.dem.path
Writes  raw/date1/<NAME>.zip, raw/date2/<NAME>.zip  read-only; a product of two dates is stored once
        raw/orbits/*.EOF, raw/dem/*.tif              of online providers; the height raster of the configuration
        raw/downloads.lock.json                      sizes, MD5, SHA-256, where from, and the checks passed
Items   one per product                         Fails  66 broken product, 67 network, 68 archived, 69 disk, 71 some failed,
                                                       72 all pairs cloudy, 75 interrupted (resumes), 76 login, 78 never
                                                       verified
Example  ./s2cr download confs/demo.yaml
Example  ./s2cr download confs/nsw_south_coast.yaml --dry-run
Example  ./s2cr download confs/demo.yaml --verify-only
"""

if not __package__:
    import _direct  # noqa: F401
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from scripts._stage import Context, Report, stage
from utils.workflow.errors import NothingFoundError

if TYPE_CHECKING:
    from scripts._download import Online, Wanted

_OPTIONS = (
    click.option("--rank", metavar="N|all", help="Which ranked pair to fetch from an online provider, or all."),
    click.option("--jobs", type=click.IntRange(1, 4), help="Files fetched at once; services allow 4 connections."),
    click.option("--unpack", is_flag=True, help="Unpack zips to .SAFE folders."),
    click.option("--link", type=click.Choice(["copy", "hardlink", "symlink"]), help="How local products enter raw/."),
    click.option("--no-orbits", is_flag=True, help="Fetch no orbit files."),
    click.option("--no-dem", is_flag=True, help="Fetch no height tiles."),
    click.option("--no-recheck-cloud", is_flag=True, help="Take products as they come, without measuring cloud."),
    click.option(
        "--accept-stale-checksum",
        is_flag=True,
        help="Keep a file whose published checksum two identical, intact downloads contradict.",
    ),
    click.option("--reserve-gib", type=click.FloatRange(min=0), help="Disk space to leave free."),
    click.option("--verify-only", is_flag=True, help="Hash everything present again; fetch nothing."),
)


def _overrides(values: Mapping[str, Any]) -> dict[str, Any]:
    """Configuration keys that options of the command line replace."""
    out = {f"download.{key}": values[key] for key in ("jobs", "link", "reserve_gib") if values[key] is not None}
    if values["rank"] is not None:
        out["download.rank"] = int(values["rank"]) if values["rank"].isdigit() else values["rank"]
    out |= {f"download.{key}": True for key in ("unpack", "accept_stale_checksum") if values[key]}
    off = ("orbits", "dem", "recheck_cloud")
    return out | {f"download.{key}": False for key in off if values[f"no_{key}"]}


@stage("download", options=_OPTIONS, always=lambda extra: bool(extra["verify_only"]), overrides=_overrides)
def run(ctx: Context) -> Report:
    from scripts import _download

    if ctx.extra["verify_only"]:
        return _verify(ctx)
    document = _download.read_pairs(ctx)
    online = _download.Online(ctx, document) if document["provider"]["download"] != "local" else None
    pairs = _pairs(ctx, document, online)
    wanted = _download.plan(ctx, document, pairs)
    waiting = _waiting(ctx, wanted)
    if ctx.options.dry_run:
        _say(ctx, waiting, online)
    elif online is not None or ctx.conf.download.link == "copy":
        _need_space(ctx, waiting)
    _fetch_all(ctx, wanted, waiting, online)
    if online is not None:
        _fetch_more(ctx, online)
    return _close(ctx, pairs, wanted, online)


def _waiting(ctx: Context, wanted: "Mapping[str, Wanted]") -> "list[Wanted]":
    return [one for one in wanted.values() if not (ctx.status_of(one.name) == "done" and one.target.exists())]


def _pairs(ctx: Context, document: dict[str, Any], online: "Online | None") -> list[dict[str, Any]]:
    """The pairs to fetch. Where the catalogue knew no cloud over the area, the Sentinel-2 products come first and a
    cloudy pair gives way to the next rank."""
    from scripts import _download, _recheck

    found = _download.candidates(ctx, document)
    if online is None:
        return found
    count = len(found) if ctx.conf.download.rank == "all" else 1
    if not found:
        raise NothingFoundError(
            f"search/pairs.json has no pair of rank {ctx.conf.download.rank}.",
            "Set download.rank: 1, or search.limit higher.",
        )
    if ctx.options.dry_run:
        return found[:count]

    def fetch(pair: dict[str, Any]) -> "Mapping[str, Wanted]":
        wanted = _download.plan(ctx, document, [pair], ("s2",))
        _need_space(ctx, _waiting(ctx, wanted))
        _fetch_all(ctx, wanted, _waiting(ctx, wanted), online)
        return wanted

    return _recheck.settle(ctx, found, count, fetch)


def _say(ctx: Context, waiting: "list[Wanted]", online: "Online | None") -> None:
    """Names, sizes, free disk and the requests that a run would make."""
    from scripts import _download
    from utils.io.local_copy import free_bytes
    from utils.workflow.errors import Error

    for one in waiting:
        size = one.size()
        try:
            place = online.question(one) if online is not None and one.source is None else ""
        except Error as error:
            place = f"{error}"
        ctx.log.info("%s  %s  %s", "  size ?     " if size is None else f"{size / 2**20:8.1f} MiB", one.name, place)
    for name in _download.more(ctx.conf) if online is not None else ():
        ctx.log.info("  size ?      %s, asked for when the products are there", name)
    known = sum(one.size() or 0 for one in waiting)
    requests = sum(one.source is None for one in waiting)
    ctx.log.info("dry run: %d files, %.1f MiB, %.1f GiB free, %d requests", len(waiting), known / 2**20,
                 free_bytes(ctx.layout.raw) / 2**30, requests)  # fmt: skip


def _need_space(ctx: Context, waiting: "list[Wanted]") -> None:
    from utils.io.local_copy import need_space
    from utils.io.transfer import UNKNOWN_BYTES

    sizes = []
    for one in waiting:
        size, part = one.size(), one.target.with_name(f"{one.name}.zip.part")
        there = part.stat().st_size if part.exists() else 0
        sizes.append(max(0, (UNKNOWN_BYTES if size is None else size) - there))
    need_space(ctx.layout.raw, sizes, ctx.conf.download.reserve_gib, ctx.conf.download.unpack)


def _fetch_all(ctx: Context, wanted: "dict[str, Wanted]", waiting: "list[Wanted]", online: "Online | None") -> None:
    """Workers fetch, this thread records in order: what a killed run had finished but not recorded is verified again
    from the disk by the next."""
    from scripts import _download
    from scripts._progress import Progress
    from utils.io import download_lock
    from utils.io.safe import MANIFEST

    progress = Progress({one.name: one.size() for one in waiting}, ctx.log, ctx.options.quiet)
    jobs = ctx.conf.download.jobs if online is not None else 1  # copies share one disk

    def bring(one: "Wanted", stop: Any) -> Any:
        return _download.bring(ctx, online, progress, one, stop)

    interrupt = online.web.interrupt if online is not None else lambda: None
    with _download.Workers(jobs, progress, bring, interrupt) as workers:
        for item in ctx.todo(wanted, unit="file"):
            for one in waiting[: ctx.options.limit]:  # all at once, and only when there is anything to do
                workers.start(one)
            one = wanted[item.id]
            with item:
                received, instead = workers.result(one)
                item.output(one.target / MANIFEST if one.target.is_dir() else one.target)
                item.data.update(received.record(), file=one.target.relative_to(ctx.layout.raw).as_posix(), date=one.date,
                                 mission=one.mission, pairs=list(one.pairs), provider=one.provider)  # fmt: skip
                if instead:
                    item.data["product"] = instead
                    ctx.warn(f"W_SUBSTITUTE: {one.name} is not there any more, {instead} took its place")
            if ctx.status_of(item.id) == "done":
                download_lock.merge_lock(ctx.layout.raw, {item.id: ctx.data_of(item.id)})


def _fetch_more(ctx: Context, online: "Online") -> None:
    """Orbit files and height tiles, by the functions of fetch_orbits and fetch_dem."""
    from scripts import _auxiliary, _download
    from utils.io import download_lock
    from utils.workflow.errors import NetworkError, PartialError

    job = _auxiliary.Job(ctx.conf, ctx.conf_path, ctx.layout, ctx.log, dry_run=False)
    for item in ctx.todo(_download.more(ctx.conf), unit="set"):
        with item:
            mission = download_lock.ORBIT
            try:
                if item.id == _download.ORBITS:
                    _auxiliary.fetch_orbits(job, online.web, online.fetch)
                else:
                    mission = download_lock.DEM_TILE
                    _auxiliary.fetch_heights(job, online.web, online.fetch)
            except (NetworkError, PartialError) as error:
                if item.id != _download.ORBITS or ctx.conf.preprocess.orbit == "poeorb":
                    raise
                ctx.warn(
                    f"{error.message} The annotation's orbits serve (preprocess.orbit); ./s2cr fetch_orbits tries again."
                )
                item.skip(error.message)
            for record in job.records(mission).values():
                item.output(ctx.layout.raw / record["file"])


def _close(ctx: Context, pairs: list[dict[str, Any]], wanted: "dict[str, Wanted]", online: "Online | None") -> Report:
    """The lock as a whole, then what belongs to the products."""
    from utils.io import download_lock, local_copy

    records = {name: ctx.data_of(name) for name in wanted if ctx.status_of(name) == "done"}
    if not ctx.partial:
        fetched = None if online is None else [pair["id"] for pair in pairs]
        download_lock.write_lock(ctx.layout.raw, records, pairs=fetched)
        ctx.output(ctx.layout.raw / download_lock.NAME)
        known = [record["file"] for record in download_lock.read_lock(ctx.layout.raw).values()]
        for stray in local_copy.stray_files(ctx.layout.raw, known):
            ctx.warn(f"raw/{stray} belongs to no pair; no later stage reads it")
    total = sum(record["size"] for record in records.values())
    metrics = {"bytes": total, "files": len(records)}
    if online is not None:
        metrics |= {"requests": online.web.requests_made,
                    "bytes_received": sum(record.get("bytes_received", 0) for record in records.values())}  # fmt: skip
    return ctx.report(metrics, f"{len(records)} files, {total / 2**20:.1f} MiB verified")


def _verify(ctx: Context) -> Report:
    """Hash all files of the lock again; writes nothing."""
    from utils.io import download_lock, local_copy
    from utils.workflow.errors import VerificationError

    raw = ctx.layout.raw
    records = download_lock.read_lock(raw)
    bad = [r["file"] for _, r in sorted(records.items()) if not local_copy.intact(raw / r["file"], r, deep=True)]
    if bad:
        raise VerificationError(
            f"{len(bad)} of {len(records)} files of raw/ differ from {download_lock.NAME}; the first: {bad[0]}.",
            f"Delete it and run: ./s2cr download {ctx.conf_path}",
        )
    ctx.options = replace(ctx.options, dry_run=True)  # a pure look: the manifest stays as it is
    return ctx.report(summary=f"{len(records)} files verified by SHA-256")


if __name__ == "__main__":
    run()
