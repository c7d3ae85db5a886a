"""Shards: many samples of one set in few files, memory-mappable. docs/adr/0020 says why; docs/formats.md what is inside.

A shard is up to 256 samples: one .npy file for each array (s1_t0, s2_t0, ..., mask), (samples, H, W, C) in C order.
index.json beside them is written last and names every file with its SHA-256.
"""

from __future__ import annotations

import hashlib
import json
import math
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from utils.workflow.errors import InputError
from utils.workflow.files import atomic_json, atomic_write, sha256_file

Arrays = dict[str, NDArray[Any]]

SCHEMA = "s2cr.shards/1"
TILES = 256  # samples of one shard
STEP = 1e-4  # reflectance of one step of a stored optical value
NODATA = 65535  # stored value of an optical pixel without data
MAX_CODE = NODATA - 1
MAX_ERROR = STEP / 2
_REMEDY = "Run: ./s2cr split CONF --force."
_TABLE = np.append(np.arange(NODATA, dtype=np.float64) / round(1 / STEP), math.nan).astype(np.float32)


def encode(reflectance: NDArray[np.floating[Any]]) -> NDArray[np.uint16]:
    """Reflectance to steps of 1e-4; NaN to 65535. Values are cut at 0 and at 6.5534."""
    steps = np.rint(np.asarray(reflectance, np.float64) / STEP)
    return np.where(np.isnan(steps), NODATA, np.clip(np.nan_to_num(steps), 0, MAX_CODE)).astype(np.uint16)


def decode(codes: NDArray[np.uint16]) -> NDArray[np.float32]:
    """Inverse of encode: the float32 next to code / 10000, so that reflectance in whole steps comes back bit for bit."""
    return np.asarray(_TABLE[codes])


def is_optical(part: str) -> bool:
    return part.startswith("s2_")


def write(
    folder: Path,
    set_name: str,
    ids: Sequence[str],
    load: Callable[[str], Arrays],
    bands: Mapping[str, Sequence[str]],
    register: Callable[[Path], Path] = lambda path: path,
    tiles: int = TILES,
) -> dict[str, float]:
    """Write the samples `ids` of one set as shards in `folder`; every file whole or not at all, index.json last.

    load      id -> part -> (H, W, C): s1_t* float32 linear power, s2_t* float32 reflectance, mask uint8
    bands     part -> names of its channels
    register  called with the path of every file, before it is written
    returns   largest change of a reflectance by its storage, and the number of values that were cut
    raises    InputError when samples differ in size or bands, DiskError through the caller when the disk is full
    """
    loss: dict[str, float] = {"largest_error": 0.0, "cut": 0.0}
    parts = sorted(bands)
    shards = []
    for number, first in enumerate(range(0, len(ids), tiles)):
        chosen = list(ids[first : first + tiles])
        names = {part: f"{number:05d}_{part}.npy" for part in parts}
        paths = {part: register(folder / name) for part, name in names.items()}
        found = _write_shard(paths, chosen, load, bands, loss)
        files = {part: {"file": names[part], **found[part]} for part in parts}
        shards.append({"ids": chosen, "files": files})
    index = {
        "schema": SCHEMA, "set": set_name, "tiles": tiles, "parts": {part: _facts(part, bands[part]) for part in parts},
        "optical": {"largest_error": float(f"{loss['largest_error']:.3g}"), "cut": int(loss["cut"])}, "shards": shards,
    }  # fmt: skip
    atomic_json(register(folder / "index.json"), index)
    return loss


def _facts(part: str, bands: Sequence[str]) -> dict[str, Any]:
    """Type, unit and meaning of one array."""
    if part == "mask":
        return {"bands": list(bands), "dtype": "uint8", "units": "code, bits, 0 or 1", "nodata": None}
    if is_optical(part):
        return {"bands": list(bands), "dtype": "uint16", "units": "reflectance", "scale": STEP, "nodata": NODATA}
    return {"bands": list(bands), "dtype": "float32", "units": "linear power", "nodata": "NaN"}


def _write_shard(
    paths: Mapping[str, Path],
    ids: Sequence[str],
    load: Callable[[str], Arrays],
    bands: Mapping[str, Sequence[str]],
    loss: dict[str, float],
) -> dict[str, dict[str, Any]]:
    """One file a part, filled sample by sample: a memory map of a file that is being written would end the process on a
    full disk."""
    digests = {part: hashlib.sha256() for part in paths}
    shape: tuple[int, ...] = ()
    with ExitStack() as stack:
        streams = {part: stack.enter_context(atomic_write(path)) for part, path in paths.items()}
        for place, name in enumerate(ids):
            arrays = load(name)
            if place == 0:
                shape = arrays["mask"].shape[:2]
            for part, stream in streams.items():
                expected = (*shape, len(bands[part]))
                if arrays[part].shape != expected:
                    raise InputError(
                        f"{name}: {part} is {arrays[part].shape}, the first sample of the shard {expected}.",
                        "Run tile and build_dataset again.",
                    )
                stored = _stored(part, arrays[part], loss)
                head = b"" if place else _header(stored, len(ids))
                for data in (head, stored.tobytes()):
                    stream.write(data)
                    digests[part].update(data)
    size = {part: [len(ids), *shape, len(bands[part])] for part in paths}
    return {part: {"shape": size[part], "sha256": digests[part].hexdigest()} for part in paths}


def _stored(part: str, array: NDArray[Any], loss: dict[str, float]) -> NDArray[Any]:
    if not is_optical(part):
        return np.ascontiguousarray(array, np.uint8 if part == "mask" else "<f4")
    codes = encode(array)
    with np.errstate(invalid="ignore"):
        cut = (array < -MAX_ERROR) | (array > STEP * MAX_CODE + MAX_ERROR)
        error = np.abs(np.where(cut, np.nan, decode(codes).astype(np.float64) - array))
    loss["cut"] += int(cut.sum())
    loss["largest_error"] = max(loss["largest_error"], float(np.nanmax(error, initial=0.0)))
    return np.ascontiguousarray(codes, "<u2")


def _header(first: NDArray[Any], count: int) -> bytes:
    """Head of an .npy file (version 1.0) of `count` arrays like `first`."""
    import io

    stream = io.BytesIO()
    described = np.lib.format.dtype_to_descr(first.dtype)
    head = {"descr": described, "fortran_order": False, "shape": (count, *first.shape)}
    np.lib.format.write_array_header_1_0(stream, head)
    return stream.getvalue()


class ShardSet:
    """Reader of the shards of one set. A file is verified when it is first opened, then mapped; safe between threads.

    raises  InputError when index.json or a file is missing, damaged or does not hold what the index says
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        data = _read_index(folder / "index.json")
        self.bands: dict[str, tuple[str, ...]] = {part: tuple(f["bands"]) for part, f in data["parts"].items()}
        self._shards = data["shards"]
        self._places = {name: (n, i) for n, shard in enumerate(self._shards) for i, name in enumerate(shard["ids"])}
        self._open: dict[tuple[int, str], NDArray[Any]] = {}
        self._lock = threading.Lock()

    @property
    def ids(self) -> tuple[str, ...]:
        return tuple(self._places)

    def __contains__(self, sample_id: object) -> bool:
        return sample_id in self._places

    def read(self, sample_id: str, parts: Iterable[str] | None = None) -> Arrays:
        """Part -> (H, W, C) of one sample as `write` was given it; reflectance to 5e-5, the rest exactly."""
        if sample_id not in self._places:
            raise InputError(f"{self.folder}: no sample {sample_id!r}.", _REMEDY)
        shard, place = self._places[sample_id]
        out = {}
        for part in parts if parts is not None else self.bands:
            stored = self._array(shard, part)[place]
            out[part] = decode(stored) if is_optical(part) else np.array(stored)
        return out

    def verify(self) -> None:
        """Open every file once."""
        for number in range(len(self._shards)):
            for part in self.bands:
                self._array(number, part)

    def _array(self, shard: int, part: str) -> NDArray[Any]:
        with self._lock:
            if (shard, part) not in self._open:
                self._open[shard, part] = self._checked(self._shards[shard]["files"][part])
            return self._open[shard, part]

    def _checked(self, facts: Mapping[str, Any]) -> NDArray[Any]:
        path = self.folder / facts["file"]
        try:
            if sha256_file(path) != facts["sha256"]:
                raise InputError(f"{path}: its SHA-256 is not that of index.json.", _REMEDY)
            array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError) as error:
            raise InputError(f"{path}: missing or unreadable ({error}).", _REMEDY) from error
        if list(array.shape) != list(facts["shape"]):
            raise InputError(f"{path}: shape {array.shape}, index.json says {facts['shape']}.", _REMEDY)
        return array


def _read_index(path: Path) -> dict[str, Any]:
    try:
        data = dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: missing or malformed ({error}).", _REMEDY) from error
    if data.get("schema") != SCHEMA:
        raise InputError(f"{path}: schema is not {SCHEMA}.", _REMEDY)
    return data
