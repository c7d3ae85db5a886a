"""Provider local: a folder of .SAFE folders and zips. Names by the grammar, facts from the products themselves."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from utils.io import safe_s2, static_stac
from utils.io.safe import MANIFEST, SafeProduct, open_product
from utils.science.grid import Grid
from utils.science.product import NameError_, Product, bare_name, parse_name, parse_time, with_relative_orbit
from utils.workflow.errors import InputError
from utils.workflow.files import atomic_json

INDEX_SCHEMA = "s2cr.local_index/1"


@dataclass(frozen=True)
class Catalogue:
    """products found; unreadable: file name -> reason; other: files that are no products."""

    products: tuple[Product, ...]
    unreadable: dict[str, str]
    other: tuple[str, ...]


def search(folder: Path, cache: Path | None = None) -> Catalogue:
    """All Sentinel-1 and Sentinel-2 products of a folder (not of its subfolders), sorted by name.

    folder   or the catalog.json of a static STAC catalogue
    cache    index file: entries whose path, size and modification time still hold are not opened again
    raises   InputError when the folder does not exist
    """
    if folder.is_file() and folder.suffix == ".json":
        found, broken = static_stac.search(folder)
        return Catalogue(found, broken, ())
    if not folder.is_dir():
        raise InputError(
            f"{folder}: no such folder.", "Set search.archive to a folder of SAFE products or to a catalog.json."
        )
    known = _read_cache(cache)
    entries: dict[str, Any] = {}
    products, unreadable, other = [], {}, []
    for path in sorted(folder.iterdir()):
        if path.suffix not in (".zip", ".SAFE"):
            continue
        key = str(path)
        try:
            mark = _mark(path)
            entry = known.get(key)
            if entry is None or entry["mark"] != mark:
                entry = {"mark": mark, "product": _describe(path).to_json()}
            entries[key] = entry
            products.append(Product.from_json(entry["product"]))
        except NameError_:
            other.append(path.name)
        except InputError as error:
            unreadable[path.name] = str(error)
    if cache is not None and entries != known:
        atomic_json(cache, {"schema": INDEX_SCHEMA, "entries": entries})
    return Catalogue(tuple(sorted(products, key=lambda p: p.name)), unreadable, tuple(other))


def _read_cache(cache: Path | None) -> dict[str, Any]:
    """A cache that cannot be read is no error: it is made again."""
    try:
        data = json.loads(cache.read_text(encoding="utf-8")) if cache else {}
        return dict(data["entries"]) if data.get("schema") == INDEX_SCHEMA else {}
    except (OSError, ValueError, KeyError, AttributeError):
        return {}


def _mark(path: Path) -> list[int]:
    """Size and modification time; of manifest.safe for a folder."""
    stat = (path / MANIFEST if path.is_dir() else path).stat() if (path / MANIFEST).exists() else path.stat()
    return [stat.st_size, stat.st_mtime_ns]


def _describe(path: Path) -> Product:
    """Product record of one file.

    raises  NameError_ when neither the file nor its folder is named like a product; InputError when it is broken
    """
    try:
        named = parse_name(bare_name(path.name))
    except NameError_:
        if path.is_dir():
            raise
        with open_product(path) as product:
            named = parse_name(product.name)
    with open_product(path) as product:
        facts = _s1(named, product) if named.mission == "S1" else _s2(named, product)
    size = path.stat().st_size if path.is_file() else None
    return replace(facts, provider="local", path=str(path), size=size)


def _s1(named: Product, product: SafeProduct) -> Product:
    m = product.manifest()
    if not m.footprint or not m.direction:
        raise InputError(f"{product.path.name}: {MANIFEST} lacks footprint or pass.", "Replace the product.")
    facts = replace(
        with_relative_orbit(named, m.relative_orbit),
        direction=m.direction,
        start=parse_time(m.start),
        stop=parse_time(m.stop),
        pols=m.polarisations or named.pols,
        slice=m.slice_number,
        total_slices=m.total_slices,
        timeliness=m.timeliness,
        footprint=m.footprint,
    )
    return facts


def _s2(named: Product, product: SafeProduct) -> Product:
    """Footprint and cloud figure; of another level only the name is read, the matching refuses it."""
    if named.type != "L2A":
        return replace(named, footprint=product.manifest().footprint)
    meta = safe_s2.metadata(product)
    return replace(
        named,
        footprint=meta.footprint or product.manifest().footprint,
        cloud_tile=meta.cloud_percent,
        baseline="".join(f"{part:02d}" for part in meta.baseline),
    )


def read_scl(products: Sequence[Product], grid: Grid) -> NDArray[np.uint8]:
    """Scene classes of one date on a 20 m grid; several products are mosaicked, the first valid class wins.

    returns  (rows, cols) uint8, 0 = no data
    raises   InputError for a broken product
    """
    out = np.zeros(grid.shape, np.uint8)
    for found in products:
        with open_product(Path(found.path)) as product:
            meta = safe_s2.metadata(product)
            product.verify([meta.member("SCL")], "size")
            scl = safe_s2.read_dn(product, meta, "SCL", grid)
        np.copyto(out, scl, where=out == 0, casting="unsafe")
    return out
