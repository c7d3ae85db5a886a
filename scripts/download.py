"""Bring the products of the pairs and the height raster into raw/, each verified before it gets its name.

Reads   search/pairs.json, search.archive, preprocess.dem.path
Writes  raw/date1/<NAME>.zip, raw/date2/<NAME>.zip  read-only; a product of two dates is stored once
        raw/dem/<file>.tif, raw/downloads.lock.json  sizes, MD5, SHA-256 and the checks passed
Items   one per file                            Fails  66 broken product, 69 disk, 71 some failed, 78 copy never verified
Example  ./s2cr download confs/demo.yaml
Example  ./s2cr download confs/demo.yaml --verify-only
"""

if not __package__:
    import _direct  # noqa: F401
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click

from scripts._stage import Context, Report, stage

_OPTIONS = (click.option("--verify-only", is_flag=True, help="Hash everything present again; fetch nothing."),)


@dataclass(frozen=True)
class Wanted:
    """One file to fetch: source, target, mission (S1, S2, DEM) and the pairs that need it."""

    source: Path
    target: Path
    mission: str
    pairs: tuple[str, ...]


@stage("download", options=_OPTIONS, always=lambda extra: bool(extra["verify_only"]))
def run(ctx: Context) -> Report:
    from utils.io import download_lock
    from utils.io import local_copy as transfer

    wanted = _wanted(ctx)
    if ctx.extra["verify_only"]:
        return _verify(ctx)
    sizes = {name: transfer.size_of(w.source) for name, w in wanted.items() if w.source.exists()}
    waiting = [name for name in sizes if not (ctx.status_of(name) == "done" and wanted[name].target.exists())]
    if ctx.options.dry_run:
        for name in waiting:
            ctx.log.info("%8.1f MiB  %s", sizes[name] / 2**20, name)
    elif ctx.conf.download.link == "copy":
        transfer.need_space(ctx.layout.raw, [sizes[name] for name in waiting], ctx.conf.download.reserve_gib)
    for item in ctx.todo(wanted, unit="file"):
        with item:
            _fetch(ctx, item, wanted[item.id])
    records = {name: ctx.data_of(name) for name in wanted if ctx.status_of(name) == "done"}
    if not ctx.partial:
        download_lock.write_lock(ctx.layout.raw, records)
        ctx.output(ctx.layout.raw / download_lock.NAME)
        for stray in transfer.stray_files(ctx.layout.raw, [record["file"] for record in records.values()]):
            ctx.warn(f"raw/{stray} belongs to no pair; no later stage reads it")
    total = sum(record["size"] for record in records.values())
    return ctx.report(
        {"bytes": total, "files": len(records)}, f"{len(records)} files, {total / 2**20:.1f} MiB verified"
    )


def _wanted(ctx: Context) -> dict[str, Wanted]:
    """Everything that the pairs name, by item id: S2 first, because a bad scene makes its radar data useless."""
    from utils.workflow.errors import ConfigError

    pairs = json.loads(ctx.layout.pairs_json.read_text(encoding="utf-8"))
    if ctx.conf.search.archive is None:
        raise ConfigError("search.archive is not set.", "Set it to the folder that find_images searched.")
    archive = ctx.resolve(ctx.conf.search.archive)
    found: dict[str, Wanted] = {}
    for sensor in ("s2", "s1"):
        for pair in pairs["pairs"]:
            for date in ("date1", "date2"):
                for name in pair[date][sensor]["products"]:
                    source = archive / pairs["products"][name]["href"]
                    ending = ".SAFE" if source.is_dir() else ".zip"
                    old = found.get(name) or Wanted(
                        source, ctx.layout.raw / date / f"{name}{ending}", sensor.upper(), ()
                    )
                    found[name] = replace(old, pairs=tuple(dict.fromkeys((*old.pairs, pair["id"]))))
    if ctx.conf.preprocess.dem.path is not None:
        dem = ctx.resolve(ctx.conf.preprocess.dem.path)
        found[dem.stem] = Wanted(dem, ctx.layout.raw / "dem" / dem.name, "DEM", ())
    return found


def _fetch(ctx: Context, item: Any, wanted: Wanted) -> None:
    from utils.io import local_copy as transfer
    from utils.io.safe import MANIFEST
    from utils.workflow.errors import InputError

    if not wanted.source.exists():
        raise InputError(f"{wanted.source}: no such file.", "Run make find_images again: the archive has changed.")
    if wanted.mission == "DEM":
        received = transfer.fetch_file(wanted.source, wanted.target)
    else:
        received = transfer.fetch_local(wanted.source, wanted.target, item.id, ctx.conf.download.link)
    item.output(wanted.target / MANIFEST if wanted.target.is_dir() else wanted.target)
    item.data.update(received.record(), file=wanted.target.relative_to(ctx.layout.raw).as_posix(),
                     mission=wanted.mission, pairs=list(wanted.pairs), provider="local")  # fmt: skip


def _verify(ctx: Context) -> Report:
    """Hash all files of the lock again; writes nothing."""
    from utils.io import download_lock
    from utils.io import local_copy as transfer
    from utils.workflow.errors import VerificationError

    raw = ctx.layout.raw
    records = download_lock.read_lock(raw)
    bad = [r["file"] for _, r in sorted(records.items()) if not transfer.intact(raw / r["file"], r, deep=True)]
    if bad:
        raise VerificationError(
            f"{len(bad)} of {len(records)} files of raw/ differ from {download_lock.NAME}; the first: {bad[0]}.",
            f"Delete it and run: ./s2cr download {ctx.conf_path}",
        )
    ctx.options = replace(ctx.options, dry_run=True)  # a pure look: the manifest stays as it is
    return ctx.report(summary=f"{len(records)} files verified by SHA-256")


if __name__ == "__main__":
    run()
