"""A static STAC catalogue on disk (catalog.json), walked from the top downwards only. No network is used.

`child` and `item` links are followed, `parent`, `root` and `self` never: recorded items carry wrong ones. A link or an
asset that leaves the folder of the catalogue, or names a server, is refused.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from utils.io import stac
from utils.science.product import Product
from utils.workflow.errors import InputError

_MAIN_FILES = ("manifest.safe", "MTD_MSIL1C.xml", "MTD_MSIL2A.xml")


def search(catalogue: Path) -> tuple[tuple[Product, ...], dict[str, str]]:
    """All products of a catalogue, sorted by name, and the items that could not be read with the reason.

    A product whose data do not lie below the catalogue has no path and is not online; the others have their path, and
    in `href` the path relative to the catalogue's folder.
    raises  InputError for a catalogue that cannot be read, and for a link to a server or out of the folder
    """
    root = catalogue.resolve()
    products: dict[str, Product] = {}
    unreadable: dict[str, str] = {}
    for path in _items(root):
        try:
            item = _read(path)
            product = product_of(item, path, root.parent)
        except InputError as error:
            unreadable[path.name] = str(error)
            continue
        if product is None:
            unreadable[path.name] = "its item holds no product name"
        else:
            products[product.name] = product
    return tuple(products[name] for name in sorted(products)), unreadable


def product_of(item: Mapping[str, Any], path: Path, root: Path) -> Product | None:
    """Product record of one item file; here the id may be the name, as nothing else holds it in recorded items."""
    told = item.get("properties") or {}
    names = {"s1:product_identifier": item.get("id"), "sat:absolute_orbit": told.get("oseo:orbitNumber")}
    product = stac.product_of({**item, "properties": {**names, **told}}, "local")
    if product is None:
        return None
    data = next((found for asset in (item.get("assets") or {}).values() if (found := _data(asset, path, root))), None)
    if data is None:
        return replace(product, online=False)
    size = data.stat().st_size if data.is_file() else None
    return replace(product, path=str(data), href=data.relative_to(root).as_posix(), size=size)


def _data(asset: Mapping[str, Any], item: Path, root: Path) -> Path | None:
    """The zip or the .SAFE folder that an asset names, when it lies below the catalogue."""
    href = str(asset.get("href") or "")
    if urlsplit(href).scheme or urlsplit(href).netloc:
        return None
    found = (item.parent / unquote(href)).resolve()
    if found.name in _MAIN_FILES:
        found = found.parent
    return found if found.suffix in (".zip", ".SAFE") and found.is_relative_to(root) and found.exists() else None


def _items(root: Path) -> Iterator[Path]:
    """Item files in the order of the links; each once, so that a circle of links ends."""
    seen: set[Path] = set()
    waiting = [root]
    while waiting:
        path = waiting.pop()
        if path in seen:
            continue
        seen.add(path)
        node = _read(path)
        links = [link for link in node.get("links") or [] if isinstance(link, dict)]
        for link in links:
            if link.get("rel") == "item":
                item = _below(link, path, root.parent)
                if item not in seen:
                    seen.add(item)
                    yield item
        waiting += reversed([_below(link, path, root.parent) for link in links if link.get("rel") == "child"])


def _below(link: Mapping[str, Any], path: Path, root: Path) -> Path:
    href = str(link.get("href") or "")
    if urlsplit(href).scheme or urlsplit(href).netloc:
        raise InputError(
            f"{path}: its {link['rel']} link {href} names a server.", "Download that part of the catalogue first."
        )
    found = (path.parent / unquote(href)).resolve()
    if not found.is_relative_to(root):
        raise InputError(
            f"{path}: its {link['rel']} link {href} leaves {root}.", "Put the whole catalogue below one folder."
        )
    return found


def _read(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file.", "Complete the static catalogue.") from error
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: not readable as JSON ({error}).", "Complete the static catalogue.") from error
    if not isinstance(data, dict):
        raise InputError(f"{path}: no STAC object.", "Complete the static catalogue.")
    return data
