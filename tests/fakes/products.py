"""Small valid products: a zip with manifest.safe, main metadata file and random bytes, the same on every run."""

from __future__ import annotations

import hashlib
import io
import random
import zipfile
from dataclasses import dataclass

from utils.science.catalogue import Request

_STAMP = (2020, 1, 1, 0, 0, 0)


@dataclass(frozen=True)
class Made:
    """A product and its bytes. middle: a byte position inside the stored data of the largest member."""

    name: str
    data: bytes
    middle: int

    @property
    def md5(self) -> str:
        return hashlib.md5(self.data, usedforsecurity=False).hexdigest()

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.data).hexdigest()

    def request(self, url: str, auth: str = "", **more: object) -> Request:
        facts = {"size": len(self.data), "md5": self.md5, "product": self.name, **more}
        return Request(f"{self.name}.zip", url, "zip", auth, **facts)  # type: ignore[arg-type]


def s2_name(number: int) -> str:
    """A name of the Sentinel-2 grammar for each number below 1,000,000."""
    return f"S2A_MSIL2A_20200101T{number // 3600 % 24:02d}{number // 60 % 60:02d}{number % 60:02d}_N0213_R030_T55HGB_20200102T{number // 86400:06d}"


def s1_name(number: int) -> str:
    """A name of the Sentinel-1 grammar for each number below 65,536."""
    return f"S1A_IW_GRDH_1SDV_20200101T190000_20200101T190025_030622_0381D5_{number:04X}"


def product(name: str, size: int = 100_000, seed: int = 0) -> Made:
    """A product of about `size` bytes."""
    noise = random.Random(f"{name} {seed}").randbytes(size)
    main = {"S2": "MTD_MSIL2A.xml", "S1": "annotation/s1a.xml"}[name[:2]]
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for member, data in (("manifest.safe", b"<xfdu/>"), (main, b"<metadata/>"), ("measurement.bin", noise)):
            entry = zipfile.ZipInfo(f"{name}.SAFE/{member}", _STAMP)
            entry.external_attr = 0o100644 << 16
            archive.writestr(entry, data)
    data = buffer.getvalue()
    return Made(name, data, data.index(noise) + size // 2)


def broken(made: Made) -> Made:
    """The same product with one wrong byte in a member: size and directory are right, its own MD5 fits."""
    data = bytearray(made.data)
    data[made.middle] ^= 1
    return Made(made.name, bytes(data), made.middle)
