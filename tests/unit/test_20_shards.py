"""Shards: the same samples as the tiles, whole files, damage noticed."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from utils.io import raster, samples, shards
from utils.io.placing import Digests
from utils.science.grid import Grid
from utils.workflow.errors import InputError
from utils.workflow.files import TEMPORARY_MARK, sha256_file

GRID = Grid(32755, 700000.0, 6100000.0, 10.0, -10.0, 12, 12)
BANDS = {"s1_t0": ("VV", "VH"), "s1_t1": ("VV", "VH"), "s2_t0": ("B04", "B08"), "s2_t1": ("B04", "B08"),
         "mask": samples.mask_bands()}  # fmt: skip


def make_pool(folder: Path, count: int, whole_steps: bool) -> list[str]:
    """Samples as GeoTIFF, with nodata; reflectance in whole steps of 1e-4, or between them."""
    rng = np.random.default_rng(4)
    ids = [f"p001_r{number:04d}_c0000" for number in range(count)]
    for name in ids:
        for part in ("s1_t0", "s1_t1"):
            radar = rng.gamma(4, 0.02, (2, 12, 12)).astype(np.float32)
            radar[:, 0, 0], radar[0, 5, 5] = np.nan, -0.001
            raster.write(samples.sample_path(folder, part, name), radar, GRID)
        for part in ("s2_t0", "s2_t1"):
            steps = rng.integers(0, 12000, (2, 12, 12)) + (0 if whole_steps else rng.uniform(-0.5, 0.5, (2, 12, 12)))
            image = np.maximum(steps, 0).astype(np.float32) / np.float32(10000)
            image[:, 3, 4] = np.nan
            raster.write(samples.sample_path(folder, part, name), image, GRID)
        mask = rng.integers(0, 5, (4, 12, 12)).astype(np.uint8)
        raster.write(samples.sample_path(folder, "mask", name), mask, GRID)
    return ids


def store(root: Path, ids: list[str], tiles: int = 3) -> dict[str, float]:
    return shards.write(
        samples.shards_of(root / "train"),
        "train",
        ids,
        lambda i: samples.read_arrays(root / "all", i),
        BANDS,
        tiles=tiles,
    )


def arrays_of(sample: samples.Sample) -> dict[str, np.ndarray]:
    return {name: value for name, value in vars(sample).items() if isinstance(value, np.ndarray)}


def test_whole_steps_come_back_bit_for_bit(tmp_path: Path) -> None:
    ids = make_pool(tmp_path / "all", 7, whole_steps=True)
    loss = store(tmp_path, ids)
    assert loss == {"largest_error": pytest.approx(0, abs=1e-7), "cut": 0}
    read = samples.reader(tmp_path / "train")
    for name in ids:
        stored, tile = read(name), samples.read_sample(tmp_path / "all", name)
        assert arrays_of(stored).keys() == arrays_of(tile).keys()
        for key, value in arrays_of(tile).items():
            assert arrays_of(stored)[key].dtype == value.dtype
            np.testing.assert_array_equal(arrays_of(stored)[key], value, err_msg=key)


def test_between_steps_the_error_is_half_a_step_in_reflectance_only(tmp_path: Path) -> None:
    ids = make_pool(tmp_path / "all", 4, whole_steps=False)
    loss = store(tmp_path, ids)
    worst = 0.0
    for name in ids:
        stored, tile = samples.reader(tmp_path / "train")(name), samples.read_sample(tmp_path / "all", name)
        for key, value in arrays_of(tile).items():
            if key.startswith("s2_"):
                np.testing.assert_array_equal(np.isnan(arrays_of(stored)[key]), np.isnan(value))
                worst = max(worst, float(np.nanmax(np.abs(arrays_of(stored)[key].astype(np.float64) - value))))
            else:
                np.testing.assert_array_equal(arrays_of(stored)[key], value, err_msg=key)
    print(f"largest error {worst:.4g} (limit {shards.MAX_ERROR:g} and one float32 step)")
    assert 4e-5 < worst <= shards.MAX_ERROR + 6e-8
    assert loss["largest_error"] == pytest.approx(worst, rel=1e-6)
    index = json.loads((tmp_path / "shards/train/index.json").read_text())
    assert index["optical"] == {"largest_error": float(f"{worst:.3g}"), "cut": 0}


def test_all_codes_survive() -> None:
    codes = np.arange(65536, dtype=np.uint16)
    np.testing.assert_array_equal(shards.encode(shards.decode(codes)), codes)
    by_hand = np.arange(65535).astype(np.float32) / np.float32(10000)  # as preprocessing divides
    np.testing.assert_array_equal(shards.decode(codes[:-1]), by_hand)
    imported = (np.arange(65535).astype(np.float64) * 0.0001).astype(np.float32)  # as import_data multiplies
    np.testing.assert_array_equal(shards.decode(codes[:-1]), imported)
    assert np.isnan(shards.decode(codes[-1:]))
    assert shards.encode(np.array([-0.3, 9.0])).tolist() == [0, 65534]


def test_cut_values_are_counted(tmp_path: Path) -> None:
    ids = make_pool(tmp_path / "all", 1, whole_steps=True)
    path = samples.sample_path(tmp_path / "all", "s2_t0", ids[0])
    image = raster.read(path)
    image[0, 1, :3] = 7.0, -0.2, 6.5534
    raster.write(path, image, GRID)
    assert store(tmp_path, ids)["cut"] == 2


def test_index_names_what_the_files_hold(tmp_path: Path) -> None:
    ids = make_pool(tmp_path / "all", 7, whole_steps=True)
    store(tmp_path, ids)
    folder = tmp_path / "shards/train"
    index = json.loads((folder / "index.json").read_text())
    assert [shard["ids"] for shard in index["shards"]] == [ids[:3], ids[3:6], ids[6:]]
    facts = index["parts"]
    assert facts["s2_t1"] == {
        "bands": ["B04", "B08"],
        "dtype": "uint16",
        "units": "reflectance",
        "scale": 1e-4,
        "nodata": 65535,
    }
    assert facts["s1_t0"] == {"bands": ["VV", "VH"], "dtype": "float32", "units": "linear power", "nodata": "NaN"}
    for shard in index["shards"]:
        for part, file in shard["files"].items():
            plain = np.load(folder / file["file"], mmap_mode="r")  # any numpy reads it
            assert list(plain.shape) == file["shape"] == [len(shard["ids"]), 12, 12, len(BANDS[part])]
            assert plain.dtype.name == facts[part]["dtype"] and isinstance(plain, np.memmap)
            assert sha256_file(folder / file["file"]) == file["sha256"]
    assert len(list(folder.iterdir())) == 3 * 5 + 1


def test_same_samples_give_the_same_bytes(tmp_path: Path) -> None:
    ids = make_pool(tmp_path / "all", 5, whole_steps=False)
    store(tmp_path, ids)
    before = {p.name: p.read_bytes() for p in (tmp_path / "shards/train").iterdir()}
    store(tmp_path, ids)
    assert {p.name: p.read_bytes() for p in (tmp_path / "shards/train").iterdir()} == before


@pytest.mark.parametrize(
    ("damage", "text"),
    [
        (lambda folder: (folder / "00001_s2_t0.npy").unlink(), "missing or unreadable"),
        (lambda folder: (folder / "00001_s2_t0.npy").write_bytes(b"short"), "SHA-256"),
        (lambda folder: flip(folder / "00001_s2_t0.npy"), "SHA-256"),
        (lambda folder: exchange(folder, 0, 1), "SHA-256"),
        (lambda folder: (folder / "index.json").write_text("{"), "malformed"),
        (lambda folder: (folder / "index.json").write_text('{"schema": "s2cr.shards/9"}'), "schema is not"),
    ],
)
def test_damage_is_noticed_on_reading(tmp_path: Path, damage: object, text: str) -> None:
    ids = make_pool(tmp_path / "all", 6, whole_steps=True)
    store(tmp_path, ids)
    damage(tmp_path / "shards/train")  # type: ignore[operator]
    with pytest.raises(InputError, match=text) as caught:
        shards.ShardSet(tmp_path / "shards/train").read(ids[4])
    assert "split" in caught.value.remedy


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.write_bytes(bytes(data))


def exchange(folder: Path, first_shard: int, second_shard: int) -> None:
    """Two whole files of the right size in each other's place."""
    one, other = (folder / f"{number:05d}_s2_t0.npy" for number in (first_shard, second_shard))
    first, second = one.read_bytes(), other.read_bytes()
    one.write_bytes(second)
    other.write_bytes(first)


def test_a_failing_source_leaves_no_file(tmp_path: Path) -> None:
    ids = make_pool(tmp_path / "all", 5, whole_steps=True)

    def load(name: str) -> shards.Arrays:
        if name == ids[4]:
            raise InputError("gone", "")
        return samples.read_arrays(tmp_path / "all", name)

    with pytest.raises(InputError, match="gone"):
        shards.write(tmp_path / "shards/train", "train", ids, load, BANDS, tiles=3)
    left = [p.name for p in (tmp_path / "shards/train").iterdir()]
    assert sorted(left) == sorted(f"00000_{part}.npy" for part in BANDS)  # the finished shard; no index, no half file
    assert not any(TEMPORARY_MARK in name for name in left)


FULL = """
import resource, sys
from pathlib import Path
from tests.unit.test_20_shards import store
resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
try:
    store(Path(sys.argv[1]), sys.argv[2:])
except OSError as error:
    print(error.errno)
"""


def test_no_room_is_an_error_not_a_crash(tmp_path: Path) -> None:
    """A file that may not grow raises OSError like a full disk: through a memory map it would be a SIGBUS."""
    ids = make_pool(tmp_path / "all", 4, whole_steps=True)
    result = subprocess.run(
        [sys.executable, "-c", FULL, str(tmp_path), *ids], capture_output=True, text=True, check=False,
        cwd=Path(__file__).parents[2], env=dict(os.environ),
    )  # fmt: skip
    assert result.returncode == 0 and result.stdout.strip() == "27", result.stderr  # EFBIG
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 2000
    assert not (tmp_path / "shards/train/index.json").exists()


def test_sets_without_rasters_are_read_from_shards(tmp_path: Path) -> None:
    ids = make_pool(tmp_path / "all", 3, whole_steps=True)
    store(tmp_path, ids)
    for name in ids:
        one, other = (samples.read_sample(tmp_path / folder, name) for folder in ("train", "all"))
        np.testing.assert_array_equal(one.s2_t1, other.s2_t1)
        assert Digests().of(tmp_path / "train", name) == Digests().of(tmp_path / "all", name)
    with pytest.raises(InputError, match="no such file"):
        samples.read_sample(tmp_path / "train", "p009_r0000_c0000")
    with pytest.raises(InputError, match="no sample"):
        samples.reader(tmp_path / "train")("p009_r0000_c0000")


def test_samples_of_another_size_are_refused(tmp_path: Path) -> None:
    ids = make_pool(tmp_path / "all", 2, whole_steps=True)
    small = {part: value[:6] for part, value in samples.read_arrays(tmp_path / "all", ids[1]).items()}
    with pytest.raises(InputError, match=r"\(6, 12, 4\)|\(6, 12, 2\)"):
        shards.write(
            tmp_path / "shards/train", "train", ids,
            lambda i: small if i == ids[1] else samples.read_arrays(tmp_path / "all", i), BANDS,
        )  # fmt: skip
