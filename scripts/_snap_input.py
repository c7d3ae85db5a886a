"""Checks of a product before gpt runs on it: the same that the native engine makes before it reads a pixel."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from utils.io import safe_s1, safe_s2
from utils.io.safe import open_product
from utils.workflow.errors import InputError


def check(path: Path, pols: Sequence[str] = (), bands: Sequence[str] = (), verify: Any = "size") -> None:
    """A product is complete and of the kind that the graphs are for.

    path  zip or .SAFE folder (or a file directly inside it)
    pols  Sentinel-1 polarisations that it must hold; none = those that it has
    bands Sentinel-2 bands (B02) that it must hold; none = the 10 m bands
    raises  InputError naming what is wrong
    """
    folder = path.parent if path.suffix.lower() in (".safe", ".xml") and path.is_file() else path
    with open_product(folder) as product:
        platform = product.manifest().platform.upper()
        if product.has("MTD_MSIL2A.xml") or product.has("MTD_MSIL1C.xml") or platform.startswith("S2"):
            meta = safe_s2.metadata(product)
            members = [meta.member(band) for band in (bands or safe_s2.BANDS_10M)]
            product.verify(members, verify)
            for member in members:
                if product.size(member) == 0:
                    raise InputError(f"{product.name}: member {member} is empty.", "Download the product again.")
            return
        members_of = safe_s1.find_members(product)
        wanted = list(pols) or sorted(name for name, found in members_of.items() if found.measurement is not None)
        if not wanted:
            raise InputError(f"{product.name}: it holds no measurement.", "Download the product again.")
        for pol, found in safe_s1.require(product, wanted, verify).items():
            safe_s1.read_annotation(product, found.annotation)
            safe_s1.read_calibration(product, str(found.calibration))
            if product.size(str(found.measurement)) == 0:
                raise InputError(f"{product.name}: the measurement of {pol} is empty.", "Download the product again.")
